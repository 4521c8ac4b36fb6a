//! What only shows after a hundred thousand operations: leaked descriptors, and listings that lose or repeat names.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{OFlags, RawDir, SeekFrom};

use crate::driver::{Driver, Mounted, Stack, Subject};
use crate::image::{Scratch, make_open};
use crate::repo::Profile;
use crate::rng::Rng;

/// Files of the descriptor soak.
const FILES: u64 = 100_000;
/// Names of the listing soak that exist throughout.
const NAMES: u64 = 100_000;
/// More open files than this a server may not hold to be quick; limits of 20,000 are common.
const CACHE: usize = 400;
/// How long a server may take to close what it does not need.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far the server's count of open files may move: worker threads clone the connection on demand.
const SLACK: usize = 32;

/// Runs both soaks on a fresh mount each.
pub(crate) fn soak(subject: Subject) -> Result<()> {
    let driver = subject.driver(Profile::Dev)?;
    // A dense directory of 200,000 names needs inodes more than space.
    let disk = Scratch::ext4(4096)?;
    on_mount(&driver, &disk.path().join("files"), descriptors)?;
    on_mount(&driver, &disk.path().join("listing"), listing)
}

fn on_mount(driver: &Driver, base: &Path, body: fn(&Path, &Mounted) -> Result<()>) -> Result<()> {
    let stack = Stack::below(base)?;
    // Half of the names that stay come from a lower, so that the listing is a merge.
    let lower = make_open(&stack.lower()?.join("names"))?;
    for number in (0..NAMES).step_by(2) {
        File::create(lower.join(stable(number)))?;
    }
    let point = stack.point();
    let mounted = driver.mount(&stack, &point)?;
    body(&point, &mounted)?;
    mounted.unmount()
}

/// Creates, writes and closes files, from the first request of the connection on.
fn descriptors(point: &Path, mounted: &Mounted) -> Result<()> {
    let count = || mounted.server_pid().map_or(Ok(0), open_files);
    let before = count()?;
    for number in 0..FILES {
        // A thousand a directory, as a build tree has them.
        let dir = point.join(format!("dir{}", number / 1000));
        if number % 1000 == 0 {
            std::fs::create_dir(&dir)?;
        }
        let mut file = File::create(dir.join(format!("file{number}")))?;
        file.write_all(b"data")?;
    }
    let busy = count()?;
    ensure!(
        busy < CACHE,
        "the server has {busy} open files after {FILES} creations"
    );
    // What it keeps open to be quick it closes when nobody asks for anything.
    let start = Instant::now();
    let mut after = busy;
    while after > before.saturating_add(SLACK) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        after = count()?;
    }
    println!(
        "soak: the server's open files: {before} at first, {busy} after {FILES} creations, {after} at rest"
    );
    ensure!(
        after <= before.saturating_add(SLACK),
        "the server's open files grew from {before} to {after}"
    );
    Ok(())
}

fn open_files(pid: u32) -> Result<usize> {
    let dir = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&dir)
        .with_context(|| format!("cannot list {dir}"))?
        .count())
}

fn stable(number: u64) -> String {
    format!("stable{number}")
}

/// Lists a directory again and again, with stops, while two writers change other names of it.
fn listing(point: &Path, _mounted: &Mounted) -> Result<()> {
    let dir = point.join("names");
    for number in (1..NAMES).step_by(2) {
        File::create(dir.join(stable(number)))?;
    }
    let stop = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let (dir, stop, changes) = (&dir, &stop, &changes);
                scope.spawn(move || change_names(dir, seed, stop, changes))
            })
            .collect();
        let result = (0..3).try_for_each(|seed| {
            let lists = list_with_stops(&dir, seed)?;
            println!(
                "soak: listing {seed}: {} names, {} stops",
                lists.names, lists.stops
            );
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        println!(
            "soak: {} changes meanwhile",
            changes.load(Ordering::Relaxed)
        );
        result
    })
}

/// Creates, renames and unlinks names of its own until told to stop.
fn change_names(dir: &Path, seed: u64, stop: &AtomicBool, changes: &AtomicU64) -> Result<()> {
    let mut rng = Rng::new(seed);
    let mut mine: Vec<String> = Vec::new();
    let mut next = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        changes.fetch_add(1, Ordering::Relaxed);
        let fresh = format!("moving{seed}-{next}");
        next = next.saturating_add(1);
        let victim = usize::try_from(rng.below(u64::try_from(mine.len())?))?;
        match rng.below(3) {
            1 if !mine.is_empty() => {
                let old = mine.swap_remove(victim);
                std::fs::rename(dir.join(old), dir.join(&fresh)).context("rename")?;
                mine.push(fresh);
            }
            2 if mine.len() > 100 => {
                std::fs::remove_file(dir.join(mine.swap_remove(victim))).context("unlink")?;
            }
            _ => {
                File::create(dir.join(&fresh)).context("create")?;
                mine.push(fresh);
            }
        }
    }
    Ok(())
}

/// What one listing met.
#[derive(Debug)]
struct Listing {
    names: usize,
    stops: u64,
}

/// Lists `dir` once; stops at random entries, and goes on from the cookie by lseek or in a new open.
fn list_with_stops(dir: &Path, seed: u64) -> Result<Listing> {
    let mut rng = Rng::new(seed);
    let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut fd = open_dir(dir)?;
    let (mut cookie, mut stops) = (0_u64, 0_u64);
    loop {
        let take = rng.below(2000).saturating_add(1);
        let (next, ended) = take_names(&fd, take, cookie, &mut seen)?;
        if ended {
            break;
        }
        cookie = next;
        stops = stops.saturating_add(1);
        if rng.one_in(2) {
            fd = open_dir(dir)?;
        }
        rustix::fs::seek(&fd, SeekFrom::Start(cookie)).context("seek to a cookie")?;
    }
    check(&seen)?;
    Ok(Listing {
        names: seen.len(),
        stops,
    })
}

fn open_dir(dir: &Path) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).context("open the directory")
}

/// Takes at most `count` names; returns the cookie of the last, and whether the listing ended.
fn take_names(
    fd: &std::os::fd::OwnedFd,
    count: u64,
    from: u64,
    seen: &mut HashMap<Vec<u8>, u64>,
) -> Result<(u64, bool)> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(fd, &mut buffer);
    let mut cookie = from;
    for _ in 0..count {
        let Some(entry) = entries.next() else {
            return Ok((cookie, true));
        };
        let entry = entry.context("getdents64")?;
        cookie = entry.next_entry_cookie();
        *seen
            .entry(entry.file_name().to_bytes().to_vec())
            .or_default() += 1;
    }
    Ok((cookie, false))
}

/// Every name that existed throughout was returned exactly once; no other name more than once.
fn check(seen: &HashMap<Vec<u8>, u64>) -> Result<()> {
    let stable: HashSet<Vec<u8>> = (0..NAMES)
        .map(|number| stable(number).into_bytes())
        .collect();
    let lost = stable
        .iter()
        .filter(|name| !seen.contains_key(*name))
        .count();
    let repeated: Vec<_> = seen
        .iter()
        .filter(|(name, count)| **count > 1 && stable.contains(*name))
        .collect();
    if lost > 0 || !repeated.is_empty() {
        let example = repeated
            .first()
            .map(|(name, _)| name.escape_ascii().to_string())
            .unwrap_or_default();
        bail!(
            "of {NAMES} names that existed throughout, {lost} were lost and {} repeated {example}",
            repeated.len()
        );
    }
    Ok(())
}
