//! Reading `base.log`: of each path what is known of it last.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use mica_overlay::Fate;
use mica_vfs::{Attr, DevId, FileType, Time};
use rustix::fs::makedev;

use super::END;

/// What an object of the machine was when a session first changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) fate: Fate,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) dev: DevId,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) ctime: Time,
    pub(crate) moment: Time,
}

/// The records of a session by path, which begins with `/`.
#[derive(Debug, Default)]
pub(crate) struct Base {
    records: HashMap<PathBuf, Recorded>,
    /// Those of files by device and number: that of a copy, if there is one.
    files: HashMap<(DevId, u64), Recorded>,
}

impl Base {
    /// Reads the log; that there is none is no error.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.iter().rposition(|&byte| byte == END).unwrap_or(0);
        let records = bytes.get(..end).unwrap_or_default().split(|&b| b == END);
        let mut base = Self::default();
        for (path, recorded) in records.filter_map(record) {
            if FileType::from_mode(recorded.mode) != Some(FileType::Directory) {
                let key = (recorded.dev, recorded.ino);
                if recorded.fate == Fate::Copied || !base.files.contains_key(&key) {
                    base.files.insert(key, recorded);
                }
            }
            base.records.insert(path, recorded);
        }
        base
    }

    /// Returns what the object was that `path` led to.
    pub(crate) fn get(&self, path: &Path) -> Option<&Recorded> {
        self.records.get(path)
    }

    /// Returns the same of an object that is at `path` now: what has several names is recorded by one of them.
    pub(crate) fn of(&self, path: &Path, there: &Attr) -> Option<&Recorded> {
        self.get(path).or_else(|| {
            let several = there.kind != FileType::Directory && there.nlink > 1;
            // The number of the mount is above that of the device.
            let dev = DevId(there.dev.0 & u64::from(u32::MAX));
            self.files.get(&(dev, there.ino.0)).filter(|_| several)
        })
    }
}

/// Takes a record apart; `None` if it is none.
fn record(bytes: &[u8]) -> Option<(PathBuf, Recorded)> {
    let mut fields = bytes.splitn(10, |&byte| byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let fate = match next()? {
        "copied" => Fate::Copied,
        "hidden" => Fate::Hidden,
        "moved" => Fate::Moved,
        _ => return None,
    };
    let mode = u32::from_str_radix(next()?, 8).ok()?;
    let (uid, gid) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let (major, minor) = next()?.split_once(':')?;
    let dev = DevId(makedev(major.parse().ok()?, minor.parse().ok()?));
    let (ino, size) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let (ctime, moment) = (time(next()?)?, time(next()?)?);
    let path = PathBuf::from(OsString::from_vec(fields.next()?.to_vec()));
    let path = Path::new("/").join(path);
    Some((
        path,
        Recorded {
            fate,
            mode,
            uid,
            gid,
            dev,
            ino,
            size,
            ctime,
            moment,
        },
    ))
}

fn time(text: &str) -> Option<Time> {
    let (secs, nanos) = text.split_once('.')?;
    Some(Time {
        secs: secs.parse().ok()?,
        nanos: nanos.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_path_counts_and_what_is_none_is_left_out() {
        let log = b"copied 100644 0 7 254:1 12 5 3.000000004 9.5 a b\0junk\0\
                    hidden 100600 0 7 254:1 12 6 4.0 10.000000001 /a b\0copied 100644 0 0 1:1 1 1 1.0 1.0 /torn";
        let base = Base::parse(log);
        assert_eq!(base.records.len(), 1);
        let found = base.get(Path::new("/a b")).unwrap();
        let (secs, nanos) = (10, 1);
        assert_eq!(
            (found.fate, found.mode, found.size, found.moment),
            (Fate::Hidden, 0o100_600, 6, Time { secs, nanos })
        );
        assert_eq!(
            (found.gid, found.ino, found.dev),
            (7, 12, DevId(makedev(254, 1)))
        );
    }
}
