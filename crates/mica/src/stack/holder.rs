//! Who uses a directory: another mount, named so that it can be found and ended.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::namespaces::{MountTable, mount_tables};
use super::place::DirId;
use crate::Escaped;
use crate::mountinfo::mounts;

/// Which program overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlayer {
    /// Mica.
    Mica,
    /// The kernel's overlayfs.
    Kernel,
    /// fuse-overlayfs.
    FuseOverlayfs,
}

/// A mount that uses a directory of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who overlays there.
    pub program: Overlayer,
    /// Where it is mounted, if that can be seen.
    pub mountpoint: Option<PathBuf>,
    /// A process in whose mount namespace that is; `None`: it is in this one's.
    pub namespace: Option<u32>,
    /// The server, if there is one and it can be seen.
    pub server: Option<u32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mountpoint) = &self.mountpoint else {
            return match self.server {
                Some(pid) => write!(f, "process {pid}, whose mount is not in sight"),
                None => f.write_str("another mount"),
            };
        };
        f.write_str(match self.program {
            Overlayer::Mica => "the mount of Mica at ",
            Overlayer::Kernel => "the kernel's overlay at ",
            Overlayer::FuseOverlayfs => "the fuse-overlayfs mount at ",
        })?;
        Escaped::new(mountpoint).fmt(f)?;
        match self.namespace {
            Some(pid) => write!(f, " in the mount namespace of process {pid}"),
            None => Ok(()),
        }
    }
}

impl Holder {
    /// Returns the command that ends the mount, or shows who it is.
    pub(crate) fn command(&self) -> String {
        let (Some(mountpoint), namespace) = (&self.mountpoint, self.namespace) else {
            return match self.server {
                Some(pid) => format!("`ps -fp {pid}` shows it"),
                None => "`findmnt -t fuse.mica` lists the mounts".into(),
            };
        };
        let at = Escaped::new(mountpoint);
        match namespace {
            None if self.program == Overlayer::Mica => format!("`mica umount {at:#}` ends it"),
            None => format!("`umount {at:#}` ends it"),
            Some(pid) if rustix::process::geteuid().is_root() => {
                format!("`nsenter -t {pid} -m umount {at:#}` ends it")
            }
            Some(pid) => {
                format!("`nsenter -t {pid} -U --preserve-credentials -m umount {at:#}` ends it")
            }
        }
    }
}

/// Finds who has locked directory `id`, which is how Mica marks an upper and a work directory.
pub(crate) fn of_lock(id: DirId) -> Holder {
    let mut holder = Holder {
        program: Overlayer::Mica,
        mountpoint: None,
        namespace: None,
        server: locked_by(id),
    };
    let device = holder.server.and_then(device_of);
    let Some(device) = device else { return holder };
    if let Some((table, mountpoint)) = mounted_where(&mount_tables(), &device) {
        holder.mountpoint = Some(mountpoint);
        holder.namespace = table;
    }
    holder
}

/// Finds the process that has the lock; the kernel numbers it 0 if it is of another PID namespace.
fn locked_by(id: DirId) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    lock_holder(&locks, &id.as_in_locks())
}

/// Finds in the text of /proc/locks who has a flock(2) on a file, `major:minor:inode`.
fn lock_holder(locks: &str, file: &str) -> Option<u32> {
    let mut holders = locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // `->` begins the line of one who waits.
        let flock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok()?;
        (flock && fields.next()? == file && pid != 0).then_some(pid)
    });
    holders.next()
}

/// Returns the numbers of the descriptors by which a process serves FUSE; none if this process may not see.
fn fuse_fds(pid: u32) -> impl Iterator<Item = OsString> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd"));
    let fds = fds.into_iter().flatten().flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new("/dev/fuse")))
        .map(|fd| fd.file_name())
}

/// Tells whether a process has `/dev/fuse` open; false if this process may not see.
pub(crate) fn serves_fuse(pid: u32) -> bool {
    fuse_fds(pid).next().is_some()
}

/// Returns the device number of the filesystem that process `pid` serves, as mountinfo(5) writes it. Before Linux 6.13
/// nothing tells.
pub(crate) fn device_of(pid: u32) -> Option<String> {
    let mut devices = fuse_fds(pid).filter_map(|number| {
        let info = format!("/proc/{pid}/fdinfo/{}", number.to_str()?);
        let info = fs::read_to_string(info).ok()?;
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix("fuse_connection:"))?;
        Some(format!("0:{}", line.trim()))
    });
    devices.next()
}

/// Finds where the filesystem `device` is mounted, and in whose namespace.
pub(super) fn mounted_where(tables: &[MountTable], device: &str) -> Option<(Option<u32>, PathBuf)> {
    tables.iter().find_map(|table| {
        let mut all = mounts(&table.text);
        let found = all.find(|mount| mount.dev == device.as_bytes())?;
        Some((table.process, found.point()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_flock_is_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 fe:00:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 0 fe:00:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 fe:00:7 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 fe:00:8 0 EOF\n";
        assert_eq!(lock_holder(locks, "fe:00:7"), Some(12));
        assert_eq!(lock_holder(locks, "fe:00:8"), None);
    }

    #[test]
    fn a_filesystem_is_found_in_the_first_table_that_shows_it() {
        let table = |process, text: &str| MountTable {
            process,
            text: text.as_bytes().to_vec(),
        };
        let tables = [
            table(None, "9 1 0:3 / /a rw - fuse.mica m rw\n"),
            table(Some(7), "9 1 0:31 / /b\\040c rw - fuse.mica m rw\n"),
        ];
        assert_eq!(
            mounted_where(&tables, "0:31"),
            Some((Some(7), "/b c".into()))
        );
        assert_eq!(mounted_where(&tables, "0:1"), None);
    }

    #[test]
    fn a_holder_is_named_with_a_command_that_ends_it() {
        let mut holder = Holder {
            program: Overlayer::Kernel,
            mountpoint: Some("/m".into()),
            namespace: None,
            server: None,
        };
        assert_eq!(holder.to_string(), "the kernel's overlay at `/m`");
        assert_eq!(holder.command(), "`umount /m` ends it");
        holder.namespace = Some(12);
        assert_eq!(
            holder.to_string(),
            "the kernel's overlay at `/m` in the mount namespace of process 12"
        );
        assert!(holder.command().starts_with("`nsenter -t 12 "));
        holder.mountpoint = None;
        holder.server = Some(5);
        assert_eq!(holder.to_string(), "process 5, whose mount is not in sight");
        assert_eq!(holder.command(), "`ps -fp 5` shows it");
    }
}
