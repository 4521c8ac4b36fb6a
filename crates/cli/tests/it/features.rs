//! Options and features: what the kernel's overlayfs, fuse-overlayfs and Mica do with each, live, and what the page says.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use mica_vfs::Errno;
use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, RenameFlags, XattrFlags};

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

/// Mounts, looks and unmounts: one cell of the table.
fn cell(probe: &Probe, mount: &[&str]) -> String {
    let ground = Ground::new();
    fs::create_dir(ground.at("l/d")).unwrap();
    for name in ["l/f", "l/g", "l/d/f"] {
        fs::write(ground.at(name), vec![b'x'; usize::try_from(SIZE).unwrap()]).unwrap();
    }
    fs::write(ground.at("l/a"), "old").unwrap();
    fs::hard_link(ground.at("l/a"), ground.at("l/b")).unwrap();
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

#[test]
fn what_three_overlays_do_with_options_and_features_is_in_the_table() {
    let test = "what_three_overlays_do_with_options_and_features_is_in_the_table";
    if !can_mount(test) || !has_program(test, "fuse-overlayfs") {
        return;
    }
    let version = run(Command::new("fuse-overlayfs").arg("--version")).stdout;
    let kernel = rustix::system::uname();
    if !kernel.release().to_string_lossy().starts_with("6.18.") || !version.contains("version 1.10")
    {
        skipped(test, "the table is of Linux 6.18 and fuse-overlayfs 1.10");
        return;
    }
    let drivers: [&[&str]; 3] = [
        &["mount", "-i", "-t", "overlay", "o"],
        &["fuse-overlayfs"],
        &[env!("CARGO_BIN_EXE_mica"), "mount"],
    ];
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(page).unwrap();
    let section = page.split(BEGIN).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut live = String::new();
    for probe in PROBES {
        let [kernel, other, mica] = drivers.map(|driver| cell(probe, driver));
        live += &format!(
            "| {} | {kernel} | {other} | {mica} | `{test}` |\n",
            probe.name
        );
    }
    let told: String = section
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(test))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(told, live, "the table, as it is:\n{live}");
}
