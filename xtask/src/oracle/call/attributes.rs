//! Operations that change owner, mode, times, extended attributes and ACLs.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{At, NONSENSE, Said, done, id, mode, number};

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>) -> Option<Said> {
    Some(match *words {
        ["chmod", path, bits] => {
            mode(bits).and_then(|bits| done(rustix::fs::chmod(at(path), bits)))
        }
        ["chown", path, uid, gid] => chown(&at(path), uid, gid, AtFlags::empty()),
        ["lchown", path, uid, gid] => chown(&at(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        ["utimens", path, time] => times(time).and_then(|times| {
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            done(rustix::fs::utimensat(CWD, at(path), &times, nofollow))
        }),
        ["setx", path, name, value, how] => set(&at(path), name, value, how),
        ["delx", path, name] => done(rustix::fs::lremovexattr(at(path), name)),
        _ => return None,
    })
}

fn chown(path: &Path, uid: &str, gid: &str, flags: AtFlags) -> Said {
    let (uid, gid) = (id(uid)?.map(Uid::from_raw), id(gid)?.map(Gid::from_raw));
    done(rustix::fs::chownat(CWD, path, uid, gid, flags))
}

/// Reads a time: seconds, `now`, or `mtime` to leave the access time alone.
pub(super) fn times(word: &str) -> Result<Timestamps, Errno> {
    /// As `UTIME_NOW` and `UTIME_OMIT` of utimensat(2).
    const NOW: i64 = (1 << 30) - 1;
    const OMIT: i64 = (1 << 30) - 2;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let (last_access, last_modification) = match word {
        "now" => (time(0, NOW), time(0, NOW)),
        "mtime" => (time(0, OMIT), time(1_300_000_000, 7)),
        "atime" => (time(1_300_000_000, 7), time(0, OMIT)),
        "none" => (time(0, OMIT), time(0, OMIT)),
        seconds => {
            let seconds = number(seconds)?;
            (time(seconds, 5), time(seconds, 5))
        }
    };
    Ok(Timestamps {
        last_access,
        last_modification,
    })
}

fn set(path: &Path, name: &str, value: &str, how: &str) -> Said {
    let flags = match how {
        "any" => XattrFlags::empty(),
        "new" => XattrFlags::CREATE,
        "old" => XattrFlags::REPLACE,
        _ => return Err(NONSENSE),
    };
    done(rustix::fs::lsetxattr(path, name, &value_of(value), flags))
}

/// Returns the bytes of a named value; other words are their own bytes.
pub(super) fn value_of(word: &str) -> Vec<u8> {
    const NOBODY: [u8; 4] = [255; 4];
    let entry = |tag: u8, bits: u8, id: [u8; 4]| {
        let mut entry = vec![tag, 0, bits, 0];
        entry.extend(id);
        entry
    };
    let acl = |entries: &[Vec<u8>]| [vec![2, 0, 0, 0], entries.concat()].concat();
    match word {
        "@none" => Vec::new(),
        "@long" => vec![b'l'; 300],
        // Owner rw-, user 1000 rwx, group r--, mask rwx, other ---.
        "@acl" => acl(&[
            entry(1, 6, NOBODY),
            entry(2, 7, 1000_u32.to_le_bytes()),
            entry(4, 4, NOBODY),
            entry(16, 7, NOBODY),
            entry(32, 0, NOBODY),
        ]),
        // As chmod 751.
        "@aclmode" => acl(&[
            entry(1, 7, NOBODY),
            entry(4, 5, NOBODY),
            entry(32, 1, NOBODY),
        ]),
        // Group 1000 rw-, mask r-x.
        "@aclgroup" => acl(&[
            entry(1, 7, NOBODY),
            entry(4, 7, NOBODY),
            entry(8, 6, 1000_u32.to_le_bytes()),
            entry(16, 5, NOBODY),
            entry(32, 4, NOBODY),
        ]),
        // cap_net_raw, permitted and effective, revision 2.
        "@cap" => vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        text => text.as_bytes().to_vec(),
    }
}
