//! One operation on a mounted tree: its script line, and its execution by raw system calls.
//!
//! Every open for writing changes something at once: the kernel copies up at the open, Mica at the first change (OVL-20).
//! Otherwise an operation knows nothing of overlays. What it returns is all that a program could see of it: an errno, or
//! what was read.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec,
    Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    Root,
    /// User and group 1000, without capabilities.
    User,
}

/// How many files may be open at once.
pub(crate) const SLOTS: usize = 3;

/// The files that the operations of one sequence hold open.
pub(crate) type Slots = [Option<OwnedFd>; SLOTS];

/// An operation and who does it.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) actor: Actor,
    pub(crate) call: Call,
}

type Name = &'static str;

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Create(Name, u32),
    /// `O_CREAT | O_EXCL`.
    CreateNew(Name, u32),
    Write(Name, u64, &'static str),
    Append(Name, &'static str),
    OpenTruncate(Name),
    Truncate(Name, u64),
    Read(Name),
    Mkdir(Name, u32),
    Rmdir(Name),
    Unlink(Name),
    Symlink(&'static str, Name),
    Readlink(Name),
    Link(Name, Name),
    Rename(Name, Name),
    RenameNew(Name, Name),
    Exchange(Name, Name),
    RenameWhiteout(Name, Name),
    Mknod(Name, char, u64),
    Chmod(Name, u32),
    Chown(Name, Option<u32>, Option<u32>),
    Utimens(Name, i64),
    Setxattr(Name, &'static str, &'static [u8], XattrFlags),
    Getxattr(Name, &'static str),
    Listxattr(Name),
    Removexattr(Name, &'static str),
    Stat(Name),
    Access(Name, u32),
    List(Name),
    Fallocate(Name, FallocateFlags, u64, u64),
    SeekHole(Name),
    CopyRange(Name, Name),
    Fsync(Name),
    TmpfileLink(Name, Name),
    /// Opens for reading into a slot.
    Hold(usize, Name),
    /// Opens for reading and writing into a slot, and writes.
    HoldWrite(usize, Name),
    ReadHeld(usize),
    WriteHeld(usize, &'static str),
    ChmodHeld(usize, u32),
    StatHeld(usize),
    Release(usize),
    /// Not a call: the harness unmounts and mounts again.
    Remount,
}

impl Op {
    /// Acts on the tree at `root`; the result is what a program would see.
    pub(crate) fn apply(&self, root: &Path, slots: &mut Slots) -> Result<String, Errno> {
        match self.actor {
            Actor::Root => self.call.apply(root, slots),
            // Credentials belong to a thread when they are set by raw system calls, so they end with the thread.
            Actor::User => std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        become_user()?;
                        self.call.apply(root, slots)
                    })
                    .join()
                    .unwrap_or(Err(Errno::IO))
            }),
        }
    }
}

fn become_user() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(1000), Gid::from_raw(1000));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn open(path: PathBuf, flags: OFlags, bits: u32) -> Result<OwnedFd, Errno> {
    // A FIFO must not block the harness.
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, mode(bits))
}

/// Takes setuid and setgid from a file before an operation that a FUSE server must take them for, whoever asks (OVL-43): the
/// kernel leaves them to root, and the difference would hide every other.
fn drop_privileges(fd: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o6000 != 0
    {
        rustix::fs::fchmod(fd, mode(stat.st_mode & 0o1777))?;
    }
    Ok(())
}

fn done(result: Result<(), Errno>) -> Result<String, Errno> {
    result.map(|()| "ok".to_owned())
}

fn read_at(fd: &OwnedFd) -> Result<String, Errno> {
    let mut data = [0; 256];
    let count = rustix::io::pread(fd, &mut data, 0)?;
    Ok(data
        .get(..count)
        .unwrap_or_default()
        .escape_ascii()
        .to_string())
}

impl Call {
    fn apply(&self, root: &Path, slots: &mut Slots) -> Result<String, Errno> {
        let at = |name: &str| root.join(name);
        match *self {
            Self::Create(..)
            | Self::CreateNew(..)
            | Self::Write(..)
            | Self::Append(..)
            | Self::OpenTruncate(_)
            | Self::Truncate(..)
            | Self::Read(_)
            | Self::Fallocate(..)
            | Self::SeekHole(_)
            | Self::CopyRange(..)
            | Self::Fsync(_)
            | Self::TmpfileLink(..) => self.apply_to_data(&at),
            Self::Hold(..)
            | Self::HoldWrite(..)
            | Self::ReadHeld(_)
            | Self::WriteHeld(..)
            | Self::ChmodHeld(..)
            | Self::StatHeld(_)
            | Self::Release(_) => self.apply_to_slot(&at, slots),
            Self::Remount => Ok("ok".to_owned()),
            _ => self.apply_to_name(&at),
        }
    }

    fn apply_to_data(&self, at: &dyn Fn(&str) -> PathBuf) -> Result<String, Errno> {
        match *self {
            Self::Create(name, bits) => {
                let fd = open(at(name), OFlags::CREATE | OFlags::WRONLY, bits)?;
                rustix::io::pwrite(&fd, b"c", 0).map(|count| count.to_string())
            }
            Self::CreateNew(name, bits) => {
                open(at(name), OFlags::CREATE | OFlags::EXCL | OFlags::RDWR, bits)
                    .map(|_| "ok".to_owned())
            }
            Self::Write(name, offset, text) => {
                let fd = open(at(name), OFlags::RDWR, 0)?;
                rustix::io::pwrite(&fd, text.as_bytes(), offset).map(|count| count.to_string())
            }
            Self::Append(name, text) => {
                let fd = open(at(name), OFlags::WRONLY | OFlags::APPEND, 0)?;
                rustix::io::write(&fd, text.as_bytes()).map(|count| count.to_string())
            }
            Self::OpenTruncate(name) => {
                open(at(name), OFlags::WRONLY | OFlags::TRUNC, 0).map(|_| "ok".to_owned())
            }
            Self::Truncate(name, len) => done(rustix::fs::ftruncate(
                open(at(name), OFlags::WRONLY, 0)?,
                len,
            )),
            Self::Read(name) => read_at(&open(at(name), OFlags::RDONLY, 0)?),
            Self::Fallocate(name, flags, offset, len) => {
                let fd = open(at(name), OFlags::RDWR, 0)?;
                rustix::io::pwrite(&fd, b"f", 0)?;
                drop_privileges(&fd)?;
                done(rustix::fs::fallocate(&fd, flags, offset, len))
            }
            Self::SeekHole(name) => {
                let fd = open(at(name), OFlags::RDONLY, 0)?;
                // What a hole of a directory is each filesystem decides for itself.
                if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Directory {
                    return Err(Errno::ISDIR);
                }
                rustix::fs::seek(&fd, rustix::fs::SeekFrom::Hole(0))
                    .map(|offset| offset.to_string())
            }
            Self::CopyRange(from, to) => {
                let from = open(at(from), OFlags::RDONLY, 0)?;
                let to = open(at(to), OFlags::WRONLY, 0)?;
                rustix::io::pwrite(&to, b"r", 200)?;
                drop_privileges(&to)?;
                rustix::fs::copy_file_range(&from, None, &to, None, 100)
                    .map(|count| count.to_string())
            }
            Self::Fsync(name) => done(rustix::fs::fsync(open(at(name), OFlags::RDONLY, 0)?)),
            Self::TmpfileLink(dir, name) => {
                let fd = open(at(dir), OFlags::TMPFILE | OFlags::RDWR, 0o640)?;
                rustix::io::write(&fd, b"tmp")?;
                let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                done(rustix::fs::linkat(
                    CWD,
                    proc,
                    CWD,
                    at(name),
                    AtFlags::SYMLINK_FOLLOW,
                ))
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn apply_to_slot(
        &self,
        at: &dyn Fn(&str) -> PathBuf,
        slots: &mut Slots,
    ) -> Result<String, Errno> {
        let (Self::Hold(slot, _)
        | Self::HoldWrite(slot, _)
        | Self::ReadHeld(slot)
        | Self::WriteHeld(slot, _)
        | Self::ChmodHeld(slot, _)
        | Self::StatHeld(slot)
        | Self::Release(slot)) = *self
        else {
            return Err(Errno::NOSYS);
        };
        let held = slots.get_mut(slot).ok_or(Errno::BADF)?;
        match *self {
            Self::Hold(_, name) => {
                *held = Some(open(at(name), OFlags::RDONLY, 0)?);
                Ok("ok".to_owned())
            }
            Self::HoldWrite(_, name) => {
                let fd = open(at(name), OFlags::RDWR, 0)?;
                let count = rustix::io::pwrite(&fd, b"H", 0)?;
                *held = Some(fd);
                Ok(count.to_string())
            }
            Self::ReadHeld(_) => read_at(held.as_ref().ok_or(Errno::BADF)?),
            Self::WriteHeld(_, text) => {
                let fd = held.as_ref().ok_or(Errno::BADF)?;
                rustix::io::pwrite(fd, text.as_bytes(), 1).map(|count| count.to_string())
            }
            Self::ChmodHeld(_, bits) => done(rustix::fs::fchmod(
                held.as_ref().ok_or(Errno::BADF)?,
                mode(bits),
            )),
            Self::StatHeld(_) => show_stat(&rustix::fs::fstat(held.as_ref().ok_or(Errno::BADF)?)?),
            Self::Release(_) => {
                *held = None;
                Ok("ok".to_owned())
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn apply_to_name(&self, at: &dyn Fn(&str) -> PathBuf) -> Result<String, Errno> {
        let rename = |from: &str, to: &str, flags| {
            done(rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags))
        };
        match *self {
            Self::Mkdir(name, bits) => done(rustix::fs::mkdir(at(name), mode(bits))),
            Self::Rmdir(name) => done(rustix::fs::rmdir(at(name))),
            Self::Unlink(name) => done(rustix::fs::unlink(at(name))),
            Self::Symlink(target, name) => done(rustix::fs::symlink(target, at(name))),
            Self::Readlink(name) => rustix::fs::readlink(at(name), Vec::new())
                .map(|target| target.to_string_lossy().into_owned()),
            Self::Link(from, to) => done(rustix::fs::link(at(from), at(to))),
            Self::Rename(from, to) => rename(from, to, RenameFlags::empty()),
            Self::RenameNew(from, to) => rename(from, to, RenameFlags::NOREPLACE),
            Self::Exchange(from, to) => rename(from, to, RenameFlags::EXCHANGE),
            Self::RenameWhiteout(from, to) => rename(from, to, RenameFlags::WHITEOUT),
            Self::Mknod(name, kind, device) => {
                let kind = match kind {
                    'p' => FileType::Fifo,
                    's' => FileType::Socket,
                    'b' => FileType::BlockDevice,
                    'f' => FileType::RegularFile,
                    _ => FileType::CharacterDevice,
                };
                done(rustix::fs::mknodat(
                    CWD,
                    at(name),
                    kind,
                    mode(0o640),
                    device,
                ))
            }
            Self::Chmod(name, bits) => done(rustix::fs::chmod(at(name), mode(bits))),
            Self::Chown(name, uid, gid) => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                done(rustix::fs::chownat(
                    CWD,
                    at(name),
                    uid,
                    gid,
                    AtFlags::SYMLINK_NOFOLLOW,
                ))
            }
            Self::Utimens(name, seconds) => {
                let time = Timespec {
                    tv_sec: seconds,
                    tv_nsec: 5,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                done(rustix::fs::utimensat(
                    CWD,
                    at(name),
                    &times,
                    AtFlags::SYMLINK_NOFOLLOW,
                ))
            }
            Self::Stat(name) => show_stat(&rustix::fs::lstat(at(name))?),
            Self::Access(name, bits) => {
                let access = Access::from_bits_truncate(bits);
                done(rustix::fs::accessat(
                    CWD,
                    at(name),
                    access,
                    AtFlags::EACCESS,
                ))
            }
            Self::List(name) => list(at(name)),
            _ => self.apply_to_xattr(at),
        }
    }

    fn apply_to_xattr(&self, at: &dyn Fn(&str) -> PathBuf) -> Result<String, Errno> {
        let mut buffer = [0; 4096];
        match *self {
            Self::Setxattr(name, attr, value, flags) => {
                done(rustix::fs::lsetxattr(at(name), attr, value, flags))
            }
            Self::Removexattr(name, attr) => done(rustix::fs::lremovexattr(at(name), attr)),
            Self::Getxattr(name, attr) => {
                let count = rustix::fs::lgetxattr(at(name), attr, &mut buffer)?;
                Ok(buffer
                    .get(..count)
                    .unwrap_or_default()
                    .escape_ascii()
                    .to_string())
            }
            Self::Listxattr(name) => {
                let count = rustix::fs::llistxattr(at(name), &mut buffer)?;
                let list = buffer.get(..count).unwrap_or_default();
                let mut names: Vec<_> = list
                    .split(|b| *b == 0)
                    .map(|name| name.escape_ascii().to_string())
                    .collect();
                names.sort();
                Ok(names.join(" "))
            }
            _ => Err(Errno::NOSYS),
        }
    }
}

fn show_stat(stat: &rustix::fs::Stat) -> Result<String, Errno> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let size = if kind == FileType::Directory {
        0
    } else {
        stat.st_size
    };
    Ok(format!(
        "{:o} {}:{} links {} size {size}",
        stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink
    ))
}

fn list(path: PathBuf) -> Result<String, Errno> {
    let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?;
        names.push(format!(
            "{}:{:?}",
            entry.file_name().to_bytes().escape_ascii(),
            entry.file_type()
        ));
    }
    names.sort();
    Ok(names.join(" "))
}

/// Writes a result as a report shows it.
pub(crate) fn show(result: &Result<String, Errno>) -> String {
    match result {
        Ok(text) => text.clone(),
        Err(errno) => {
            let error = std::io::Error::from(*errno);
            format!("errno {} ({error})", errno.raw_os_error())
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = match self.actor {
            Actor::Root => "root",
            Actor::User => "user",
        };
        write!(f, "{actor} {:?}", self.call)
    }
}
