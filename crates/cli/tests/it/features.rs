//! Options and features: what the kernel's overlayfs, fuse-overlayfs and Mica do with each, live, and what the page says.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use mica_vfs::Errno;
use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, RenameFlags, XattrFlags};

use crate::features_scripted::{SCRIPTED, SHOWN, Scripted};
use crate::ground::{Ground, can_mount, has_program, run, skipped};

/// The page, and what begins and ends the table in it.
const PAGE: &str = "../../docs/semantics.md";
const BEGIN: &str = "## Options and features";

/// Of each lower file, in bytes.
const SIZE: u64 = 65_536;

/// An option or a feature.
struct Probe {
    /// What the page calls it.
    name: &'static str,
    /// More options of the mount.
    options: &'static str,
    /// Looks at the mount; `m` is mounted over `l` with `u`.
    look: fn(&Ground) -> String,
}

macro_rules! probes {
    ($($name:literal, $options:literal => $look:expr;)*) => {
        &[$(Probe { name: $name, options: $options, look: $look }),*]
    };
}

const PROBES: &[Probe] = probes! {
    "a lower directory is renamed, by default", "" => rename_dir;
    "`redirect_dir=on`: the same", "redirect_dir=on" => rename_dir;
    "`redirect_dir=off`: the same", "redirect_dir=off" => rename_dir;
    "`userxattr`: a directory is made again, and is empty", "userxattr" => made_again;
    "`metacopy=on`: chmod of a lower file", "metacopy=on" => metacopy;
    "two names of a lower file after a write to one", "" => together;
    "`index=on`: the same", "index=on" => together;
    "`nfs_export=on` is taken", "nfs_export=on" => mounted;
    "`uuid=on` is taken", "uuid=on" => mounted;
    "`xino=on` is taken", "xino=on" => mounted;
    "`verity=on` is taken", "verity=on" => mounted;
    "`volatile`: the mark in the work directory", "volatile" => |g| yes(g.at("w/work/incompat/volatile").exists());
    "`squash_to_uid=1000`: the owner that is shown", "squash_to_uid=1000" => |g| g.at("m/f").metadata().unwrap().uid().to_string();
    "a whiteout is", "" => whiteout;
    "`st_ino` stays at the copy-up", "" => |g| same(g, |g| g.at("m/f").metadata().unwrap().ino());
    "a file that is open to be read shows what is written after", "" => coherent;
    "opening a lower file to be written copies it up", "" => |g| {
        drop(OpenOptions::new().write(true).open(g.at("m/f")).unwrap());
        yes(g.at("u/f").exists())
    };
    "`RENAME_NOREPLACE`", "" => |g| renamed(g, RenameFlags::NOREPLACE, "new");
    "`RENAME_EXCHANGE` of lower files", "" => |g| renamed(g, RenameFlags::EXCHANGE, "g");
    "`RENAME_WHITEOUT`", "" => |g| renamed(g, RenameFlags::WHITEOUT, "new");
    "`O_TMPFILE`", "" => |g| answer(rustix::fs::open(g.at("m"), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR));
    "file flags: append-only", "" => append_only;
    "mknod(2) of a device 0:0", "" => |g| answer(rustix::fs::mknodat(CWD, g.at("m/n"), FileType::CharacterDevice, Mode::RUSR, 0));
    "setting `trusted.overlay.x`", "" => |g| attribute(g, "trusted.overlay.x");
    "setting `user.x`", "" => |g| attribute(g, "user.x");
    "`statfs(2)` shows the type", "" => |g| format!("{:#x}", rustix::fs::statfs(g.at("m")).unwrap().f_type);
};

fn yes(holds: bool) -> String {
    String::from(if holds { "yes" } else { "no" })
}

/// Says `yes`, or the name of the error.
fn answer<T>(done: Result<T, Errno>) -> String {
    match done {
        Ok(_) => yes(true),
        Err(errno) => {
            let known = [
                (Errno::XDEV, "EXDEV"),
                (Errno::NOENT, "ENOENT"),
                (Errno::PERM, "EPERM"),
                (Errno::INVAL, "EINVAL"),
                (Errno::OPNOTSUPP, "EOPNOTSUPP"),
                (Errno::NOSYS, "ENOSYS"),
                (Errno::NOTTY, "ENOTTY"),
                (Errno::ISDIR, "EISDIR"),
                (Errno::IO, "EIO"),
            ];
            let name = known.iter().find(|(known, _)| *known == errno);
            name.map_or_else(|| errno.to_string(), |(_, name)| (*name).to_owned())
        }
    }
}

fn mounted(_: &Ground) -> String {
    yes(true)
}

fn rename_dir(ground: &Ground) -> String {
    answer(rustix::fs::rename(ground.at("m/d"), ground.at("m/e")))
}

fn made_again(ground: &Ground) -> String {
    fs::remove_dir_all(ground.at("m/d")).unwrap();
    fs::create_dir(ground.at("m/d")).unwrap();
    yes(fs::read_dir(ground.at("m/d")).unwrap().next().is_none())
}

fn metacopy(ground: &Ground) -> String {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(ground.at("m/f"), mode).unwrap();
    let copied = ground.at("u/f").metadata().unwrap().blocks() * 512 >= SIZE;
    String::from(if copied {
        "data is copied"
    } else {
        "no data is copied"
    })
}

fn together(ground: &Ground) -> String {
    fs::write(ground.at("m/a"), "new").unwrap();
    let other = fs::read(ground.at("m/b")).unwrap();
    String::from(if other == b"new" { "together" } else { "apart" })
}

fn whiteout(ground: &Ground) -> String {
    fs::remove_file(ground.at("m/f")).unwrap();
    let device = |path: &Path| {
        path.symlink_metadata()
            .is_ok_and(|f| f.file_type().is_char_device())
    };
    String::from(if device(&ground.at("u/f")) {
        "a device 0:0"
    } else {
        "another object"
    })
}

fn same<T: PartialEq>(ground: &Ground, look: impl Fn(&Ground) -> T) -> String {
    let before = look(ground);
    fs::write(ground.at("m/f"), "new").unwrap();
    yes(look(ground) == before)
}

fn coherent(ground: &Ground) -> String {
    let reader = File::open(ground.at("m/f")).unwrap();
    fs::write(ground.at("m/f"), "new").unwrap();
    let mut start = [0; 3];
    std::os::unix::fs::FileExt::read_exact_at(&reader, &mut start, 0).unwrap();
    yes(&start == b"new")
}

fn renamed(ground: &Ground, flags: RenameFlags, to: &str) -> String {
    let (from, to) = (ground.at("m/f"), ground.at("m").join(to));
    answer(rustix::fs::renameat_with(CWD, from, CWD, to, flags))
}

fn append_only(ground: &Ground) -> String {
    let file = OpenOptions::new()
        .write(true)
        .open(ground.at("m/f"))
        .unwrap();
    let known = match rustix::fs::ioctl_getflags(&file) {
        Ok(known) => known,
        refused => return answer(refused),
    };
    let set = rustix::fs::ioctl_setflags(&file, known | IFlags::APPEND);
    if set.is_err() {
        return answer(set);
    }
    let refused = File::options().write(true).open(ground.at("m/f")).is_err()
        || fs::write(ground.at("m/f"), "new").is_err();
    rustix::fs::ioctl_setflags(&file, known).unwrap();
    yes(refused)
}

fn attribute(ground: &Ground, name: &str) -> String {
    answer(rustix::fs::setxattr(
        ground.at("m/f"),
        name,
        b"1",
        XattrFlags::empty(),
    ))
}

/// Makes what a probe looks at, in the lower.
fn fill(ground: &Ground) {
    fs::create_dir(ground.at("l/d")).unwrap();
    for name in ["l/f", "l/g", "l/d/f"] {
        fs::write(ground.at(name), vec![b'x'; usize::try_from(SIZE).unwrap()]).unwrap();
    }
    fs::write(ground.at("l/a"), "old").unwrap();
    fs::hard_link(ground.at("l/a"), ground.at("l/b")).unwrap();
}

/// Mounts, looks and unmounts: one cell of the table.
fn cell(probe: &Probe, mount: &[&str]) -> String {
    let ground = Ground::new();
    fill(&ground);
    let at = |name: &str| ground.at(name).display().to_string();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("l"),
        at("u"),
        at("w")
    );
    if !probe.options.is_empty() {
        options = format!("{options},{}", probe.options);
    }
    let mut command = Command::new(mount[0]);
    command.args(&mount[1..]).args(["-o", &options, "m"]);
    // A server that stays would hold what it inherits open.
    command.stderr(File::create(ground.at("said")).unwrap());
    let done = ground.here(&mut command).stdin(std::process::Stdio::null());
    let done = done.stdout(std::process::Stdio::null()).status().unwrap();
    if !done.success() {
        return String::from("refused");
    }
    let found = (probe.look)(&ground);
    let ended = run(Command::new("umount").arg(ground.at("m")));
    assert_eq!(ended.status, Some(0), "{}: {}", probe.name, ended.stderr);
    found
}

/// The same by scripts.
fn scripted_cell(probe: &Scripted, mount: &[&str]) -> String {
    let ground = Ground::alone();
    fill(&ground);
    let here = ground.root().display().to_string();
    let options = (probe.options)().replace("$/", &format!("{here}/"));
    let script = format!(
        "mica() {{ '{}' \"$@\"; }}\n{SHOWN}\nprepare() {{ {}\n}}\nset -e\nif [ \"$1\" = prepare ]; then prepare; exit; fi; shift\n\
         \"$@\" </dev/null >/dev/null 2>&1 || {{ echo refused; exit 0; }}\nset +e\n{{ {}\n}} 2>said\ncd /\numount '{here}/m'",
        env!("CARGO_BIN_EXE_mica"),
        probe.prepare,
        probe.look
    );
    let bash = |before: &[&str], arguments: &[&str]| {
        let mut command = Command::new(before[0]);
        command.args(&before[1..]);
        command.args(["-c", &script, "bash"]).args(arguments);
        run(ground.here(&mut command))
    };
    let made = bash(&["bash"], &["prepare"]);
    assert_eq!(made.status, Some(0), "{}: {}", probe.name, made.stderr);
    let before: &[&str] = if probe.is_in_namespace() {
        &["unshare", "-Urm", "bash"]
    } else {
        &["bash"]
    };
    let mounted = [&["look"], mount, &["-o", &options, "m"]].concat();
    let looked = bash(before, &mounted);
    assert_eq!(looked.status, Some(0), "{}: {looked:?}", probe.name);
    looked.stdout.trim_end().replace('\n', " ")
}

/// Finds fuse-overlayfs of a version, of which distributions have one or the other; `None`: it is not here.
pub(crate) fn fuse_overlayfs(version: &str) -> Option<String> {
    let home = std::env::var("CARGO_HOME").ok();
    let home = home.or_else(|| Some(format!("{}/.cargo", std::env::var("HOME").ok()?)));
    let known = [
        std::env::var("MICA_FUSE_OVERLAYFS").ok(),
        Some(String::from("/usr/bin/fuse-overlayfs")),
        home.map(|home| format!("{home}/bin/fuse-overlayfs")),
    ];
    let mut known = known
        .into_iter()
        .flatten()
        .filter(|path| Path::new(path).is_file());
    known.find(|path| {
        let said = run(Command::new(path).arg("--version")).stdout;
        said.contains(&format!("version {version}"))
    })
}

/// Compares a column of the page with what a driver does. Columns are numbered from the first of the drivers.
#[track_caller]
fn compare(column: usize, mount: &[&str]) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(page).unwrap();
    let section = page.split(BEGIN).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let told: Vec<String> = rows[2..]
        .iter()
        .map(|cells| format!("{}: {}", cells[0], cells[column + 1]))
        .collect();
    let live = PROBES
        .iter()
        .map(|probe| format!("{}: {}", probe.name, cell(probe, mount)));
    let scripted = SCRIPTED
        .iter()
        .map(|probe| format!("{}: {}", probe.name, scripted_cell(probe, mount)));
    let live: Vec<String> = live.chain(scripted).collect();
    let differ: Vec<_> = told.iter().zip(&live).filter(|(a, b)| a != b).collect();
    assert!(
        differ.is_empty() && told.len() == live.len(),
        "the page, and what is: {differ:#?}\nall: {}",
        live.join("\n")
    );
    for (cells, probe) in rows[2 + PROBES.len()..].iter().zip(SCRIPTED) {
        let named = cells.last().unwrap();
        assert!(named.contains(probe.also), "{}: {named}", probe.name);
    }
}

fn is_on_linux_6_18(test: &str) -> bool {
    let kernel = rustix::system::uname();
    let right = kernel.release().to_string_lossy().starts_with("6.18.");
    if !right {
        skipped(test, "the table is of Linux 6.18");
    }
    right
}

fn can_compare(test: &str) -> bool {
    let programs = ["setfacl", "python3", "perl"];
    can_mount(test)
        && is_on_linux_6_18(test)
        && programs.iter().all(|program| has_program(test, program))
}

#[test]
fn the_kernel_does_what_the_table_of_features_says() {
    if can_compare("the_kernel_does_what_the_table_of_features_says") {
        compare(0, &["mount", "-i", "-t", "overlay", "o"]);
    }
}

#[test]
fn mica_does_what_the_table_of_features_says() {
    if can_compare("mica_does_what_the_table_of_features_says") {
        compare(3, &[env!("CARGO_BIN_EXE_mica"), "mount"]);
    }
}

#[track_caller]
fn compare_fuse_overlayfs(test: &str, column: usize, version: &str) {
    if !can_compare(test) {
        return;
    }
    match fuse_overlayfs(version) {
        Some(program) => compare(column, &[&program]),
        None => skipped(test, &format!("needs fuse-overlayfs {version}")),
    }
}

#[test]
fn fuse_overlayfs_1_does_what_the_table_of_features_says() {
    let test = "fuse_overlayfs_1_does_what_the_table_of_features_says";
    compare_fuse_overlayfs(test, 1, "1.10");
}

#[test]
fn fuse_overlayfs_2_does_what_the_table_of_features_says() {
    let test = "fuse_overlayfs_2_does_what_the_table_of_features_says";
    compare_fuse_overlayfs(test, 2, "2.0.0");
}
