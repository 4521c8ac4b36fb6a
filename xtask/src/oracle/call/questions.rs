//! Operations that only look: attributes, rights, links, listings.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::{At, Said, done, number, show_data};

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>) -> Option<Said> {
    Some(match *words {
        ["stat", path] => rustix::fs::lstat(at(path)).map(|stat| show_stat(&stat)),
        ["statfollow", path] => rustix::fs::stat(at(path)).map(|stat| show_stat(&stat)),
        ["statfs", path] => rustix::fs::statfs(at(path)).map(|fs| {
            // What f_type says is FUSE's (D-9); what is free depends on what temporaries there are.
            format!(
                "bsize {} names {} blocks {}",
                fs.f_bsize, fs.f_namelen, fs.f_blocks
            )
        }),
        ["access", path, bits] => number(bits).and_then(|bits| {
            let access = Access::from_bits_truncate(bits);
            done(rustix::fs::accessat(
                CWD,
                at(path),
                access,
                AtFlags::EACCESS,
            ))
        }),
        ["readlink", path] => rustix::fs::readlink(at(path), Vec::new())
            .map(|target| target.to_string_lossy().into_owned()),
        ["list", path] => open_dir(&at(path)).and_then(|fd| list(&fd)),
        ["listseek", path, count] => {
            number(count).and_then(|count| list_again(&open_dir(&at(path))?, count))
        }
        ["getx", path, name] => get(&at(path), name),
        ["listx", path] => list_xattrs(&at(path)),
        _ => return None,
    })
}

/// Writes all of a stat that two implementations must agree on; `#` starts an inode number.
pub(super) fn show_stat(stat: &Stat) -> String {
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let size = if directory { 0 } else { stat.st_size };
    format!(
        "{:o} {}:{} links {} size {size} device {:x} #{}",
        stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink, stat.st_rdev, stat.st_ino
    )
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Lists a directory from its start, by name, with types.
pub(super) fn list(fd: &OwnedFd) -> Said {
    rustix::fs::seek(fd, SeekFrom::Start(0))?;
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        names.push(format!(
            "{}:{:?}",
            show_data(entry.file_name().to_bytes()),
            entry.file_type()
        ));
    }
    names.sort();
    Ok(names.join(" "))
}

/// Lists a directory, then again from the offset after `count` names. Offsets and order are each implementation's own
/// (D-7), that the two ends are the same is not.
fn list_again(fd: &OwnedFd, count: usize) -> Said {
    let mut first = Vec::new();
    let mut dir = Dir::read_from(fd)?;
    let mut from = 0;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        first.push(show_data(entry.file_name().to_bytes()));
        if first.len() == count {
            from = entry.offset();
        }
    }
    let end = first.get(count.min(first.len())..).unwrap_or_default();
    if !end.is_empty() {
        dir.seek(from)?;
        let mut again = Vec::new();
        while let Some(entry) = dir.read() {
            again.push(show_data(entry?.file_name().to_bytes()));
        }
        if again != end {
            return Ok(format!("{end:?} at first, {again:?} from offset {from}"));
        }
    }
    first.sort();
    Ok(first.join(" "))
}

fn get(path: &Path, name: &str) -> Said {
    let mut buffer = [0; 4096];
    let count = rustix::fs::lgetxattr(path, name, &mut buffer)?;
    Ok(show_data(buffer.get(..count).unwrap_or_default()))
}

fn list_xattrs(path: &Path) -> Said {
    let mut buffer = [0; 4096];
    let count = rustix::fs::llistxattr(path, &mut buffer)?;
    Ok(show_list(buffer.get(..count).unwrap_or_default()))
}

/// Writes a list of attributes by name. Who may not read those of `trusted.` is told of them by a FUSE mount (D-6).
fn show_list(list: &[u8]) -> String {
    let root = rustix::thread::capabilities(None).is_ok_and(|sets| {
        sets.effective
            .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
    });
    let mut names: Vec<_> = list
        .split(|byte| *byte == 0)
        .filter(|name| root || !name.starts_with(b"trusted."))
        .map(show_data)
        .collect();
    names.sort();
    names.join(" ")
}
