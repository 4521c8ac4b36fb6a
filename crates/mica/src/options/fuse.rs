//! The options of FUSE and of libfuse that have an effect.

use std::ffi::OsString;
use std::time::Duration;

use mica_fuse::{CacheTimes, SecurityLabel, Threads};
use mica_vfs::Coherence;

use super::libfuse::Pages;
use super::{Effect, Entry, FuseSpec, Given, MountFlags, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("allow_other", Effect::Flags(ALLOW_OTHER, ALLOW_ROOT)),
    Entry("allow_root", Effect::Flags(ALLOW_ROOT, ALLOW_OTHER)),
    Entry("auto_unmount", Effect::set(MountFlags::AUTO_UNMOUNT)),
    Entry("no_sandbox", Effect::set(MountFlags::NO_SANDBOX)),
    Entry("debug", Effect::set(MountFlags::DEBUG)),
    Entry("fsname", Effect::Call(fsname)),
    Entry("subtype", Effect::Call(subtype)),
    Entry("max_read", Effect::Call(max_read)),
    Entry("max_threads", Effect::Call(max_threads)),
    Entry("max_idle_threads", Effect::Call(max_idle_threads)),
    Entry("timeout", Effect::Call(timeout)),
    Entry("entry_timeout", Effect::Call(entry_timeout)),
    Entry("negative_timeout", Effect::Call(negative_timeout)),
    Entry("attr_timeout", Effect::Call(attr_timeout)),
];

const ALLOW_OTHER: MountFlags = MountFlags::ALLOW_OTHER;
const ALLOW_ROOT: MountFlags = MountFlags::ALLOW_ROOT;

/// Most threads that a mount can be asked to have; more were a mistake.
const THREADS_MAX: u32 = 1000;
/// Least bytes in a request to read: the kernel takes a page for anything below.
const READ_MIN: u32 = 4096;

/// What was given so far.
#[derive(Debug, Default)]
pub(super) struct Fuse {
    subtype: Option<String>,
    entry: Option<Duration>,
    negative: Option<Duration>,
    attr: Option<Duration>,
    /// Options that say what becomes of pages when a file is opened, as they were written.
    pub(super) pages: Vec<(OsString, Pages)>,
    pub(super) threads_most: Option<u32>,
    pub(super) threads_idle: Option<u32>,
    max_read: Option<u32>,
}

impl Fuse {
    /// Adds what was not given; `name` is that of the program.
    pub(super) fn finish(
        self,
        name: &str,
        coherence: Coherence,
        labels: Vec<SecurityLabel>,
    ) -> FuseSpec {
        let times = match coherence {
            Coherence::Exclusive => CacheTimes::default(),
            Coherence::Shared => CacheTimes::SHARED,
        };
        let threads = Threads::default();
        let count = |given: u32| usize::try_from(given).unwrap_or(usize::MAX);
        let most = self.threads_most.map_or(threads.most, count);
        let least = self.threads_idle.map_or(threads.least, count);
        FuseSpec {
            subtype: self.subtype.unwrap_or_else(|| name.into()),
            cache: CacheTimes {
                entry: self.entry.unwrap_or(times.entry),
                negative: self.negative.unwrap_or(times.negative),
                attr: self.attr.unwrap_or(times.attr),
            },
            threads: Threads {
                least: least.min(most),
                most,
            },
            max_read: self.max_read,
            labels,
        }
    }
}

fn fsname(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.source = Some(option.utf8_value()?);
    Ok(())
}

fn subtype(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.subtype = Some(option.utf8_value()?);
    Ok(())
}

fn max_read(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.max_read = match option.number(0, u32::MAX)? {
        // mount.fuse3(8): no limit.
        0 => None,
        bytes if bytes < READ_MIN => {
            let expected = format!("0 for no limit, or at least {READ_MIN}");
            return Err(option.bad_value(expected, READ_MIN));
        }
        bytes => Some(bytes),
    };
    Ok(())
}

fn max_threads(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.threads_most = Some(option.number(1, THREADS_MAX)?);
    Ok(())
}

fn max_idle_threads(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.threads_idle = Some(option.number(1, THREADS_MAX)?);
    Ok(())
}

/// `timeout=` of fuse-overlayfs: for all that the kernel caches.
fn timeout(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let all = Some(seconds(option)?);
    (given.fuse.entry, given.fuse.negative, given.fuse.attr) = (all, all, all);
    Ok(())
}

fn entry_timeout(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.entry = Some(seconds(option)?);
    Ok(())
}

fn negative_timeout(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.negative = Some(seconds(option)?);
    Ok(())
}

fn attr_timeout(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.attr = Some(seconds(option)?);
    Ok(())
}

/// Reads a number of seconds, whole or not.
fn seconds(option: RawOption<'_>) -> Result<Duration, OptionError> {
    let number = std::str::from_utf8(option.required_value()?);
    let number = number.ok().and_then(|text| text.parse().ok());
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| option.bad_value("a number of seconds, 0 or more", "1.5"))
}
