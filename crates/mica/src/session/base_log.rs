//! `base.log`: what the objects of the machine were that a session changed, hid or moved. docs/do.md describes it.
//!
//! The server appends a record before it makes the change. The session's lock keeps others from writing to it.

mod read;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use mica_host::HostFs;
use mica_overlay::{Fate, Witness};
use mica_vfs::{Attr, Errno, FileType, NodeId, Time};
use rustix::fs::{major, minor};
use rustix::time::{ClockId, clock_gettime};

use super::error::DoError;
use super::unlisted::UnlistedLog;
pub(crate) use read::{Base, Recorded};

/// How many sockets and FIFOs are told of.
const MET_MAX: u32 = 100;

/// What ends a record: no path has it.
const END: u8 = 0;

/// The log of a session, open to append to.
#[derive(Debug)]
pub(super) struct BaseLog(File);

impl BaseLog {
    /// Opens it, or makes it. What a server that was killed has begun to write is cut off.
    pub(super) fn open(path: &Path) -> Result<Self, DoError> {
        let open = || -> io::Result<File> {
            let mut file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?;
            let whole = whole(&mut file)?;
            if file.metadata()?.len() != whole {
                file.set_len(whole)?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self(file)),
            Err(source) => Err(DoError::Store {
                action: "open",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Lets it tell of the objects of `fs`.
    pub(super) fn of(self, unlisted: UnlistedLog, fs: Arc<HostFs>) -> Keeper {
        Keeper {
            log: self,
            fs,
            unlisted,
            met: AtomicU32::new(0),
        }
    }
}

/// Finds where the last record ends that is whole.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let from = end.saturating_sub(4096);
        let len = usize::try_from(end - from).unwrap_or(block.len());
        let bytes = block.get_mut(..len).unwrap_or_default();
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(bytes)?;
        if let Some(at) = bytes.iter().rposition(|&byte| byte == END) {
            return Ok(from + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = from;
    }
    Ok(0)
}

/// Who writes to the log.
#[derive(Debug)]
pub(super) struct Keeper {
    log: BaseLog,
    fs: Arc<HostFs>,
    unlisted: UnlistedLog,
    /// How many sockets and FIFOs were looked up.
    met: AtomicU32,
}

impl Witness for Keeper {
    fn see(&self, object: NodeId, fate: Fate) -> Result<(), Errno> {
        let (path, attr) = self.fs.original(object)?;
        // Of the clocks of the kernel that of file times: nothing that changes later has an earlier ctime.
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let moment = Time {
            secs: now.tv_sec,
            nanos: u32::try_from(now.tv_nsec).unwrap_or(0),
        };
        let record = record(fate, &path, &attr, moment);
        // One call: records of several threads do not mix.
        let written = (&self.log.0).write(&record);
        match written {
            Ok(count) if count == record.len() => Ok(()),
            Ok(_) => Err(self.cut(record.len())),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    fn miss(&self, object: NodeId) {
        if let Ok((path, _)) = self.fs.original(object) {
            self.unlisted.note(path);
        }
    }

    fn meet(&self, object: NodeId, kind: FileType) {
        if self.met.fetch_add(1, Relaxed) >= MET_MAX {
            return;
        }
        if let Ok((path, _)) = self.fs.original(object) {
            let path = path.escape_ascii();
            let what = match kind {
                FileType::Fifo => "FIFO",
                _ => "socket",
            };
            tracing::warn!(
                "`{path}` is a {what} of the machine, at which nobody is met (hint: `mica do --write {path}`)"
            );
        }
    }
}

impl Keeper {
    /// Ends a record that was not written as a whole, and is none, so that the next one begins anew. Says why it was not.
    fn cut(&self, wanted: usize) -> Errno {
        tracing::warn!(wanted, "base.log: no room for a record");
        match (&self.log.0).write_all(&[END]) {
            Ok(()) => Errno::NOSPC,
            Err(error) => Errno::from_io_error(&error).unwrap_or(Errno::NOSPC),
        }
    }
}

fn record(fate: Fate, path: &[u8], attr: &Attr, moment: Time) -> Vec<u8> {
    let fate = match fate {
        Fate::Copied => "copied",
        Fate::Hidden => "hidden",
        Fate::Moved => "moved",
    };
    let mode = attr.kind.bits() | attr.mode.bits();
    let (major, minor) = (major(attr.dev.0), minor(attr.dev.0));
    let Attr {
        uid,
        gid,
        ino,
        size,
        ctime,
        ..
    } = attr;
    let mut record = format!(
        "{fate} {mode:o} {uid} {gid} {major}:{minor} {} {size} {} {} ",
        ino.0,
        shown(*ctime),
        shown(moment)
    )
    .into_bytes();
    record.extend_from_slice(if path.is_empty() { b"/" } else { path });
    record.push(END);
    record
}

fn shown(time: Time) -> String {
    format!("{}.{:09}", time.secs, time.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_begun_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.log");
        let long = [b"x".repeat(5000), b"\0".to_vec(), b"y".repeat(9000)].concat();
        for (text, whole) in [
            (&b""[..], 0),
            (b"a b c", 0),
            (b"a\0", 2),
            (b"a\0b\0torn", 4),
            (&long, 5001),
        ] {
            std::fs::write(&path, text).unwrap();
            drop(BaseLog::open(&path).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), text[..whole]);
        }
    }
}
