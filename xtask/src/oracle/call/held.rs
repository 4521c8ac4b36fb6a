//! Operations on files that a process holds open.

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{FileType, FlockOperation, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::names::link_fd;
use super::{
    At, NONSENSE, SLOTS, Said, Slot, attributes, data, done, flags, id, mode, number, open,
    questions,
};
use super::{drop_privileges, open_to_write, show_file};

/// Does `words`, if they are one of these operations. The second word is the slot.
pub(super) fn apply(
    words: &[&str],
    at: At<'_>,
    files: &mut [Option<OwnedFd>; SLOTS],
) -> Option<Said> {
    let [call, slot, rest @ ..] = words else {
        return None;
    };
    let slot = files.get_mut(slot.parse::<Slot>().ok()?)?;
    let opened = match (*call, rest) {
        ("hold", [path]) => hold(at, path),
        ("holdwrite", [path]) => open_to_write(at(path)),
        ("holddir", [path]) => open(at(path), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()),
        ("holdpath", [path]) => open(at(path), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()),
        ("holdtmp", [dir]) => {
            let bits = Mode::from_raw_mode(0o600);
            open(at(dir), OFlags::TMPFILE | OFlags::RDWR, bits)
        }
        ("release", []) => {
            return Some(match slot.take() {
                Some(_) => Ok("ok".to_owned()),
                None => Err(Errno::BADF),
            });
        }
        _ => {
            let held = slot.as_ref().ok_or(Errno::BADF);
            return use_held(call, rest, held, at);
        }
    };
    Some(opened.map(|fd| {
        *slot = Some(fd);
        "ok".to_owned()
    }))
}

/// Opens for reading; no pipe or device, which would be made anew if they were changed after their removal (D-24).
fn hold(at: At<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let fd = open(at(path), OFlags::RDONLY, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        Ok(fd)
    } else {
        Err(Errno::NXIO)
    }
}

fn use_held(call: &str, rest: &[&str], held: Result<&OwnedFd, Errno>, at: At<'_>) -> Option<Said> {
    let with = |act: &dyn Fn(&OwnedFd) -> Said| held.and_then(act);
    let change = |act: &dyn Fn(&OwnedFd) -> Said| {
        with(&|fd| {
            if has_lost_its_name(fd) && !is_for_writing(fd)? {
                return Err(Errno::STALE);
            }
            act(fd)
        })
    };
    let write = |act: &dyn Fn(&OwnedFd) -> Said| {
        with(&|fd| {
            // The kernel lets those go on who opened it before (D-19).
            if !flags::protection(fd).is_empty() {
                return Err(Errno::PERM);
            }
            act(fd)
        })
    };
    Some(match (call, rest) {
        ("heldread", []) => with(&show_file),
        ("heldwrite", [offset, text]) => write(&|fd| {
            rustix::io::pwrite(fd, text.as_bytes(), number(offset)?).map(|count| count.to_string())
        }),
        ("heldtruncate", [len]) => write(&|fd| done(rustix::fs::ftruncate(fd, number(len)?))),
        ("heldfalloc", [how, offset, len]) => write(&|fd| {
            drop_privileges(fd)?;
            let how = data::falloc_flags(how)?;
            done(rustix::fs::fallocate(
                fd,
                how,
                number(offset)?,
                number(len)?,
            ))
        }),
        ("heldchmod", [bits]) => change(&|fd| done(rustix::fs::fchmod(fd, mode(bits)?))),
        ("heldchown", [uid, gid]) => change(&|fd| {
            let (uid, gid) = (id(uid)?.map(Uid::from_raw), id(gid)?.map(Gid::from_raw));
            done(rustix::fs::fchown(fd, uid, gid))
        }),
        ("heldutimens", [time]) => {
            change(&|fd| done(rustix::fs::futimens(fd, &attributes::times(time)?)))
        }
        ("heldsetx", [name, value]) => change(&|fd| {
            let value = attributes::value_of(value);
            done(rustix::fs::fsetxattr(
                fd,
                *name,
                &value,
                XattrFlags::empty(),
            ))
        }),
        ("heldgetx", [name]) => with(&|fd| {
            let mut buffer = [0; 4096];
            let count = rustix::fs::fgetxattr(fd, *name, &mut buffer)?;
            Ok(super::show_data(buffer.get(..count).unwrap_or_default()))
        }),
        ("heldstat", []) => with(&|fd| {
            let mut stat = rustix::fs::fstat(fd)?;
            if has_lost_its_name(fd) {
                stat.st_nlink = 0;
            }
            Ok(questions::show_stat(&stat))
        }),
        ("heldflags", []) => with(&flags::show),
        ("heldsetflags", [letters]) => change(&|fd| flags::set(fd, letters)),
        ("heldlist", []) => with(&|fd| {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
            if kind != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            questions::list(fd)
        }),
        ("heldsync", []) => with(&|fd| done(rustix::fs::fsync(fd))),
        ("heldlink", [path]) => with(&|fd| done(link_fd(fd, at, path))),
        ("heldmkdir", [name, bits]) => {
            with(&|fd| done(rustix::fs::mkdirat(fd, *name, mode(bits)?)))
        }
        ("heldcreat", [name, bits]) => with(&|fd| {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = rustix::fs::openat(fd, *name, flags, mode(bits)?)?;
            rustix::io::write(&file, b"h").map(|count| count.to_string())
        }),
        ("flock", [how]) => with(&|fd| done(rustix::fs::flock(fd, lock(how)?))),
        ("posixlock", [how]) => with(&|fd| done(rustix::fs::fcntl_lock(fd, lock(how)?))),
        _ => return None,
    })
}

/// Says whether what is open went by a name that is gone: the links that it has then are not compared (D-32).
fn has_lost_its_name(fd: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new());
    path.is_ok_and(|path| path.to_bytes().ends_with(b" (deleted)"))
}

/// Says whether a file was opened by [`open_to_write`], which copied it up; a device that is opened is not. What is copied up by
/// the kernel after its name went fails, or takes the place of what has the name since (D-24).
fn is_for_writing(fd: &OwnedFd) -> Result<bool, Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    let writes = rustix::fs::fcntl_getfl(fd)?.contains(OFlags::RDWR);
    Ok(writes && kind == FileType::RegularFile)
}

fn lock(how: &str) -> Result<FlockOperation, Errno> {
    Ok(match how {
        "shared" => FlockOperation::NonBlockingLockShared,
        "exclusive" => FlockOperation::NonBlockingLockExclusive,
        "none" => FlockOperation::NonBlockingUnlock,
        _ => return Err(NONSENSE),
    })
}
