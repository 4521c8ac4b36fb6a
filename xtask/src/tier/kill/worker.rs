//! A worker changes its own part of a mount, and repeats what succeeded on a plain filesystem, its *shadow*.
//!
//! When the server is gone, the shadow is the state before the operation that was under way, and the same operation on the
//! shadow gives the state after it. So no model of a filesystem is needed, and nothing is compared but two trees.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::deed::{Deed, Done};
use crate::dump::{self, Dump, Lens};
use crate::rng::Rng;

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its directory in the mount.
    pub(crate) place: PathBuf,
    /// The same tree on a plain filesystem.
    pub(crate) shadow: PathBuf,
    pub(crate) rng: Rng,
}

/// The operation that got no answer.
#[derive(Debug)]
pub(crate) struct InFlight {
    deed: Deed,
    /// So many bytes of a write are known to be there.
    known: usize,
}

/// What became of an operation without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Old,
    New,
    /// A part of a write, or the loss of setuid that comes before an allocation.
    Part,
}

impl Worker {
    /// Changes the tree until the server does not answer; counts each operation that was.
    pub(crate) fn work(&mut self, count: &AtomicU64) -> Result<InFlight> {
        loop {
            let deed = Deed::draw(&mut self.rng);
            let known = match deed.apply(&self.place) {
                Err(Errno::NOTCONN | Errno::CONNABORTED) => Some(0),
                // A server that dies while it copies a message leaves the kernel this answer (fuse_dev_do_read).
                Err(Errno::IO) if self.is_dead() => Some(0),
                // A write of several messages, the first of which were answered.
                Ok(Done::Part(known)) => Some(known),
                Ok(Done::Whole) => {
                    let repeated = deed.apply_to_shadow(&self.shadow);
                    ensure!(
                        repeated == Ok(Done::Whole),
                        "{deed:?} succeeds, but on a plain filesystem it gives {repeated:?}"
                    );
                    None
                }
                // Without redirects a directory of a lower does not move (OVL-27).
                Err(Errno::XDEV) if matches!(deed, Deed::Rename(..)) => None,
                Err(errno) => {
                    let repeated = deed.apply_to_shadow(&self.shadow);
                    ensure!(
                        repeated.is_err(),
                        "{deed:?} fails with {errno}, but not on a plain filesystem"
                    );
                    None
                }
            };
            if let Some(known) = known {
                return Ok(InFlight { deed, known });
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_dead(&self) -> bool {
        let start = Instant::now();
        // The connection ends with the last thread of the server.
        while start.elapsed() < Duration::from_secs(5) {
            if rustix::fs::lstat(self.place.join("no such name"))
                .is_err_and(|errno| errno == Errno::NOTCONN)
            {
                return true;
            }
        }
        false
    }

    /// Decides what became of the operation under way, and brings the shadow to the same state. It fails if the tree is
    /// neither the old nor the new one.
    pub(crate) fn settle(&self, in_flight: &InFlight, seen: &Dump, now: i64) -> Result<Fate> {
        let before = self.differences(seen, now)?;
        if before.is_empty() && in_flight.known == 0 {
            return Ok(Fate::Old);
        }
        let fate = match in_flight.deed.as_write(&self.shadow) {
            Some((name, offset, bytes)) => {
                let written = self.written(&name, offset, &bytes)?;
                ensure!(
                    written >= in_flight.known,
                    "{:?} had {} bytes answered, of which {written} are there",
                    in_flight.deed,
                    in_flight.known
                );
                let part = bytes.get(..written).context("a write longer than itself")?;
                let file = std::fs::File::options()
                    .write(true)
                    .open(self.shadow.join(name))?;
                file.write_all_at(part, offset)?;
                // The time comes before the data: a write that was killed in between has this much of an effect.
                file.set_modified(SystemTime::now())?;
                if written < bytes.len() {
                    Fate::Part
                } else {
                    Fate::New
                }
            }
            None => {
                let dropped = in_flight.deed.drop_privileges(&self.shadow).is_ok();
                if dropped && self.differences(seen, now)?.is_empty() {
                    return Ok(Fate::Part);
                }
                // An operation that cannot succeed has no new state; the comparison below says so.
                let _ = in_flight.deed.apply_to_shadow(&self.shadow);
                Fate::New
            }
        };
        let after = self.differences(seen, now)?;
        if !after.is_empty() {
            bail!(
                "neither old nor new after {:?}; from the old:\n  {}\nfrom the new:\n  {}",
                in_flight.deed,
                before.join("\n  "),
                after.join("\n  ")
            );
        }
        Ok(fate)
    }

    /// Returns how many of `bytes` stand in the file of the mount.
    fn written(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<usize> {
        let seen = std::fs::read(self.place.join(name)).context("reading what was written")?;
        let start = usize::try_from(offset)?.min(seen.len());
        let there = seen.get(start..).unwrap_or_default();
        Ok(there.iter().zip(bytes).take_while(|(a, b)| a == b).count())
    }

    /// Names what differs between the shadow and a tree.
    pub(crate) fn differences(&self, seen: &Dump, now: i64) -> Result<Vec<String>> {
        let mut shadow = dump::read(&self.shadow)?;
        dump::plain(&mut shadow);
        let lens = Lens { now, upper: false };
        Ok(dump::compare(
            &shadow,
            seen,
            ("the shadow", "the mount"),
            lens,
        ))
    }
}
