//! Files that are open and have no name: many of them, and a server that may open few (OVL-60 to OVL-64).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, StatxFlags, XattrFlags, fallocate, fgetxattr,
    fsetxattr, linkat, openat, statx,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ground::{Ground, can_mount, ok, run};

/// How many files are open and deleted at once.
const FILES: usize = 5000;
/// How many files the server may have open.
const LIMIT: usize = 256;

/// How a file came to have no name.
#[derive(Debug, Clone, Copy)]
enum Fate {
    UpperRemoved,
    CopyRemoved,
    LowerRemoved,
    Replaced,
    CopyReplaced,
    Born,
}

const FATES: [Fate; 6] = [
    Fate::UpperRemoved,
    Fate::CopyRemoved,
    Fate::LowerRemoved,
    Fate::Replaced,
    Fate::CopyReplaced,
    Fate::Born,
];

fn fate(n: usize) -> Fate {
    FATES[n % FATES.len()]
}

fn content(n: usize) -> String {
    format!("content of file {n}")
}

/// Lets this process open what the server may not.
fn can_open(test: &str, files: usize) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let files = u64::try_from(files).unwrap();
    let enough = limit.maximum.is_none_or(|most| most > files);
    if !enough {
        crate::ground::skipped(test, "needs more open files than this user may have");
    }
    enough
}

/// Mounts with a server that may open [`LIMIT`] files.
fn mount_limited(ground: &Ground) {
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script);
    shell.arg(env!("CARGO_BIN_EXE_mica"));
    shell.args(["mount", "-o", "lowerdir=l,upperdir=u,workdir=w,userxattr"]);
    shell.arg("m");
    assert_eq!(run(ground.here(&mut shell)), ok());
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Makes file `n` below `dir` and takes its name away.
fn nameless(dir: &Path, n: usize) -> File {
    let path = dir.join(n.to_string());
    let data = content(n);
    match fate(n) {
        Fate::UpperRemoved => {
            fs::write(&path, &data).unwrap();
            let file = open(&path);
            fs::remove_file(&path).unwrap();
            file
        }
        Fate::CopyRemoved => {
            let file = open(&path);
            file.write_at(b"C", 0).unwrap();
            file.write_at(b"c", 0).unwrap();
            fs::remove_file(&path).unwrap();
            file
        }
        Fate::LowerRemoved => {
            let file = open(&path);
            fs::remove_file(&path).unwrap();
            file
        }
        Fate::Replaced | Fate::CopyReplaced => {
            fs::write(&path, &data).unwrap();
            let file = open(&path);
            let new = dir.join(format!("new{n}"));
            fs::write(&new, "new").unwrap();
            fs::rename(&new, &path).unwrap();
            file
        }
        Fate::Born => {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = File::from(openat(CWD, dir, flags, Mode::from(0o600)).unwrap());
            file.write_at(data.as_bytes(), 0).unwrap();
            file
        }
    }
}

/// Does to a file what its descriptor allows, and checks what it shows.
fn use_fully(n: usize, file: &File) -> io::Result<()> {
    let is = |attr: fs::Metadata, size: usize, mode: u32| {
        let found = (attr.nlink(), attr.size(), attr.mode() & 0o7777);
        assert_eq!(found, (0, u64::try_from(size).unwrap(), mode), "file {n}");
    };
    let data = content(n);
    let mut found = vec![0; data.len()];
    file.read_exact_at(&mut found, 0)?;
    assert_eq!(found, data.as_bytes(), "file {n}");
    assert_eq!(file.metadata()?.nlink(), 0, "file {n}: {:?}", fate(n));
    file.write_all_at(b"more", u64::try_from(data.len()).unwrap())?;
    file.set_permissions(Permissions::from_mode(0o640))?;
    is(file.metadata()?, data.len() + 4, 0o640);
    file.set_len(7)?;
    is(file.metadata()?, 7, 0o640);
    std::os::unix::fs::fchown(file, Some(12), Some(34))?;
    let attr = file.metadata()?;
    assert_eq!((attr.uid(), attr.gid()), (12, 34), "file {n}");
    fsetxattr(file, "user.k", b"value", XattrFlags::empty())?;
    let mut value = [0; 16];
    assert_eq!(fgetxattr(file, "user.k", &mut value)?, 5, "file {n}");
    fallocate(file, FallocateFlags::empty(), 0, 9000)?;
    // Each takes the disk's time.
    if n % 100 < FATES.len() {
        file.sync_all()?;
    }
    is(file.metadata()?, 9000, 0o640);
    let mut end = [1; 4];
    file.read_exact_at(&mut end, 5)?;
    assert_eq!(&end, b"nt\0\0", "file {n}");
    // What the kernel has cached is asked for again.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    let attr = statx(file, "", flags, StatxFlags::BASIC_STATS)?;
    assert_eq!((attr.stx_nlink, attr.stx_size), (0, 9000), "file {n}");
    Ok(())
}

/// Counts the objects in the work directory that are no whiteouts.
fn in_work(ground: &Ground) -> usize {
    let entries = fs::read_dir(ground.at("w/work")).unwrap();
    let kinds = entries.map(|entry| entry.unwrap().file_type().unwrap());
    kinds.filter(|kind| !kind.is_char_device()).count()
}

/// Waits until the kernel has told the server that it forgot them.
#[track_caller]
fn work_empties(ground: &Ground) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while in_work(ground) > 0 {
        assert!(Instant::now() < deadline, "{} stay", in_work(ground));
        std::thread::yield_now();
    }
}

fn fill_lower(ground: &Ground, files: usize) {
    for n in 0..files {
        if matches!(
            fate(n),
            Fate::CopyRemoved | Fate::LowerRemoved | Fate::CopyReplaced
        ) {
            fs::write(ground.at("l").join(n.to_string()), content(n)).unwrap();
        }
    }
}

/// The names that the mount shows, and those that it has to.
fn assert_names(ground: &Ground, files: usize, more: usize) {
    let found = fs::read_dir(ground.at("m")).unwrap().count();
    let replaced = |n: &usize| matches!(fate(*n), Fate::Replaced | Fate::CopyReplaced);
    assert_eq!(found, (0..files).filter(replaced).count() + more);
}

#[test]
fn ovl_61_five_thousand_files_without_names_under_a_limit_of_256() {
    let test = "ovl_61_five_thousand_files_without_names_under_a_limit_of_256";
    if !can_mount(test) || !can_open(test, FILES + 500) {
        return;
    }
    let ground = Ground::new();
    fill_lower(&ground, FILES);
    mount_limited(&ground);
    let server = ground.server();
    let open_files = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        fds.count()
    };
    let dir = ground.at("m");
    let files: Vec<_> = (0..FILES).map(|n| nameless(&dir, n)).collect();
    assert!(open_files() < LIMIT, "{} are open", open_files());
    assert_names(&ground, FILES, 0);
    for (n, file) in files.iter().enumerate() {
        use_fully(n, file).unwrap_or_else(|error| panic!("file {n}, {:?}: {error}", fate(n)));
    }
    assert!(open_files() < LIMIT, "{} are open", open_files());
    assert!(in_work(&ground) > FILES / 2);
    // New files, whatever is open.
    fs::write(dir.join("another"), "another").unwrap();
    fs::remove_file(dir.join("another")).unwrap();
    drop(files);
    work_empties(&ground);
    assert_names(&ground, FILES, 0);
    ground.unmount("m");
    server.ends();
    assert_eq!(fs::read_dir(ground.at("w/work")).unwrap().count(), 0);
}

#[test]
fn ovl_63_a_file_born_without_a_name_is_given_one_however_many_there_are() {
    let test = "ovl_63_a_file_born_without_a_name_is_given_one_however_many_there_are";
    let count = 600;
    if !can_mount(test) || !can_open(test, count + 500) {
        return;
    }
    let ground = Ground::new();
    mount_limited(&ground);
    let dir = ground.at("m");
    let born = FATES.len() - 1;
    let files: Vec<_> = (0..count).map(|_| nameless(&dir, born)).collect();
    for (n, file) in files.iter().enumerate() {
        assert_eq!(file.metadata().unwrap().nlink(), 0, "file {n}");
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        for (links, name) in [(1, format!("a{n}")), (2, format!("b{n}"))] {
            let to = dir.join(name);
            linkat(CWD, &*from, CWD, &to, AtFlags::SYMLINK_FOLLOW).unwrap();
            assert_eq!(file.metadata().unwrap().nlink(), links, "file {n}");
            assert_eq!(fs::read_to_string(&to).unwrap(), content(born));
        }
        fs::remove_file(dir.join(format!("a{n}"))).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 1, "file {n}");
    }
    drop(files);
    work_empties(&ground);
    ground.unmount("m");
    let names = fs::read_dir(ground.at("u")).unwrap();
    let links = names.map(|entry| entry.unwrap().metadata().unwrap().nlink());
    assert_eq!(links.collect::<Vec<_>>(), vec![1; count]);
}

#[test]
fn ovl_61_a_killed_server_leaves_them_to_the_next_mount() {
    let test = "ovl_61_a_killed_server_leaves_them_to_the_next_mount";
    let count = 600;
    if !can_mount(test) || !can_open(test, count + 500) {
        return;
    }
    let ground = Ground::new();
    fill_lower(&ground, count);
    mount_limited(&ground);
    let server = ground.server();
    let files: Vec<_> = (0..count).map(|n| nameless(&ground.at("m"), n)).collect();
    assert!(in_work(&ground) > 0);
    server.dies();
    drop(files);
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    let left = in_work(&ground);
    assert!(left > 0);
    let said = format!(
        "mica: recovered `w`: removed {left} unfinished objects of a mount that ended without unmounting\n"
    );
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let mounted = ground.run(&["mount", "-o", options, "m"]);
    assert_eq!((mounted.status, mounted.stderr), (Some(0), said));
    assert_eq!(in_work(&ground), 0);
    assert_names(&ground, count, 0);
    for n in 0..count {
        if matches!(fate(n), Fate::Replaced | Fate::CopyReplaced) {
            let path = ground.at("m").join(n.to_string());
            assert_eq!(fs::read_to_string(path).unwrap(), "new");
        }
    }
}
