//! Operations that make, remove and move names.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{At, Said, done, mode, number, open};

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>) -> Option<Said> {
    let rename = |from: &str, to: &str, flags| {
        done(rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags))
    };
    Some(match *words {
        ["creat", path, bits] => creat(at, path, bits),
        ["excl", path, bits] => mode(bits).and_then(|bits| {
            open(at(path), OFlags::CREATE | OFlags::EXCL | OFlags::RDWR, bits)
                .map(|_| "ok".to_owned())
        }),
        ["mkdir", path, bits] => {
            mode(bits).and_then(|bits| done(rustix::fs::mkdir(at(path), bits)))
        }
        ["rmdir", path] => done(rustix::fs::rmdir(at(path))),
        ["unlink", path] => done(rustix::fs::unlink(at(path))),
        ["symlink", target, path] => done(rustix::fs::symlink(target, at(path))),
        ["link", from, to] => done(rustix::fs::link(at(from), at(to))),
        ["linkfollow", from, to] => done(rustix::fs::linkat(
            CWD,
            at(from),
            CWD,
            at(to),
            AtFlags::SYMLINK_FOLLOW,
        )),
        ["rename", from, to] => rename(from, to, RenameFlags::empty()),
        ["renamenew", from, to] => rename(from, to, RenameFlags::NOREPLACE),
        ["exchange", from, to] => rename(from, to, RenameFlags::EXCHANGE),
        ["renamewhiteout", from, to] => rename(from, to, RenameFlags::WHITEOUT),
        ["mknod", path, kind, device, bits] => mknod(at, path, kind, device, bits),
        ["tmplink", dir, path] => tmplink(at, dir, path),
        _ => return None,
    })
}

fn creat(at: At<'_>, path: &str, bits: &str) -> Said {
    let fd = open(at(path), OFlags::CREATE | OFlags::WRONLY, mode(bits)?)?;
    rustix::io::pwrite(&fd, b"c", 0).map(|count| count.to_string())
}

fn mknod(at: At<'_>, path: &str, kind: &str, device: &str, bits: &str) -> Said {
    let kind = match kind {
        "p" => FileType::Fifo,
        "s" => FileType::Socket,
        "b" => FileType::BlockDevice,
        "f" => FileType::RegularFile,
        "c" => FileType::CharacterDevice,
        _ => return Err(super::NONSENSE),
    };
    let device = number(device)?;
    done(rustix::fs::mknodat(
        CWD,
        at(path),
        kind,
        mode(bits)?,
        device,
    ))
}

/// Makes a file without a name, and gives it one.
fn tmplink(at: At<'_>, dir: &str, path: &str) -> Said {
    let bits = Mode::from_raw_mode(0o640);
    let fd = open(at(dir), OFlags::TMPFILE | OFlags::RDWR, bits)?;
    rustix::io::write(&fd, b"tmp")?;
    done(link_fd(&fd, at, path))
}

/// Gives an open file a name.
pub(super) fn link_fd(fd: &std::os::fd::OwnedFd, at: At<'_>, path: &str) -> Result<(), Errno> {
    let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
    rustix::fs::linkat(CWD, proc, CWD, at(path), AtFlags::SYMLINK_FOLLOW)
}
