//! A million nodes: what they cost, that the memory comes back, and that a low limit of open files costs nothing else.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::driver::{Driver, Mounted, Server, Stack, Subject};
use crate::image::Scratch;
use crate::repo::Profile;

/// Directories of the lower, and files in each.
const DIRS: u64 = 1000;
const FILES: u64 = 1000;
/// One of so many files has data: the others are read, too, but have nothing to send.
const WITH_DATA: u64 = 10;
const ROUNDS: usize = 3;
/// Bytes that a node may take.
const NODE: u64 = 400;
/// Nodes that may be left when the kernel has dropped its caches.
const LEFT: u64 = 100;
/// Open files that a server may have, as its limit says nothing.
const FDS: usize = 1024;
/// A limit of open files, and what a server may have under it.
const LIMIT: u64 = 256;
const FDS_LIMITED: usize = 200;
/// How long a server may take to give memory back.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile: more than the pause of the server's housekeeping.
const LOOK_EVERY: Duration = Duration::from_millis(2500);
/// How often files are counted in a walk.
const COUNT_EVERY: u64 = 20_000;

/// Runs the rounds, and then reads everything under a low limit.
pub(crate) fn nodes(subject: Subject) -> Result<()> {
    // As users get it: what the checks of a debug build take is not a node's.
    let driver = subject.driver(Profile::Release)?;
    let Driver::Mica(_) = &driver else {
        bail!("only Mica says how many nodes it has");
    };
    let disk = Scratch::ext4_of(8192, DIRS * FILES + DIRS + 10_000)?;
    let stack = Stack::below(disk.path())?;
    let point = stack.point();
    let start = Instant::now();
    fill(stack.lower()?)?;
    println!("nodes: lower made in {:?}", start.elapsed());

    let stats = disk.path().join("stats");
    let server = Server {
        stats: Some(&stats),
        ..Server::default()
    };
    let mounted = driver.mount_as(&stack, &point, server)?;
    rounds(&Watched::new(&mounted, &stats)?, &point)?;
    mounted.unmount()?;

    let server = Server {
        open_files: Some(LIMIT),
        ..Server::default()
    };
    let mounted = driver.mount_as(&stack, &point, server)?;
    limited(&Watched::new(&mounted, &stats)?, &stack.lowers[..], &point)?;
    mounted.unmount()
}

/// Makes the files of the lower.
fn fill(lower: &Path) -> Result<()> {
    for dir in 0..DIRS {
        let path = lower.join(format!("dir{dir:04}"));
        std::fs::create_dir(&path)?;
        for number in 0..FILES {
            let path = path.join(format!("file{number:06}"));
            let mut file = File::create(&path).context("cannot make a file of the lower")?;
            if number % WITH_DATA == 0 {
                write!(file, "{dir} {number}")?;
            }
        }
    }
    Ok(())
}

/// Learns everything, has the kernel forget it, and looks at the server's memory before and after.
fn rounds(server: &Watched<'_>, point: &Path) -> Result<()> {
    let at_start = server.resident()?;
    println!("nodes: {} KiB at the start", at_start / 1024);
    let mut kept = Vec::new();
    for round in 1..=ROUNDS {
        let start = Instant::now();
        let walk = walk(point, What::Attributes, &mut server.fd_counter())?;
        let walked = start.elapsed();
        let (live, full) = (server.nodes()?, server.resident()?);
        let each = full.saturating_sub(at_start) / live.max(1);
        println!(
            "nodes: round {round}: {live} nodes of {each} bytes in {} KiB, at most {} fds, walked in {walked:?}",
            full / 1024,
            walk.most_fds
        );
        ensure!(
            walk.names == DIRS * FILES + DIRS,
            "{} names were listed",
            walk.names
        );
        ensure!(live >= DIRS * FILES, "only {live} nodes are live");
        ensure!(each <= NODE, "a node takes {each} bytes");
        ensure!(
            walk.most_fds <= FDS,
            "the server has {} open files",
            walk.most_fds
        );
        std::fs::write("/proc/sys/vm/drop_caches", "2").context("cannot drop caches")?;
        let (left, rest) = server.at_rest(at_start)?;
        println!(
            "nodes: round {round}: {left} nodes left in {} KiB, {:.2} of the start",
            rest / 1024,
            ratio(rest, at_start)
        );
        kept.push((full, rest));
    }
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return Ok(());
    };
    // A page here and there is not growth.
    ensure!(
        ratio(last.0, first.0) <= 1.05 && ratio(last.1, first.1) <= 1.15,
        "the server grows from round to round: {kept:?}"
    );
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for a comparison within a few percent"
)]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// Lists and reads everything through a server with a low limit, and compares it with the lower.
fn limited(server: &Watched<'_>, lowers: &[PathBuf], point: &Path) -> Result<()> {
    let mut expected = Walk::default();
    for lower in lowers {
        expected = walk(lower, What::Data, &mut || Ok(0))?;
    }
    let start = Instant::now();
    let found = walk(point, What::Data, &mut server.fd_counter())?;
    println!(
        "nodes: under a limit of {LIMIT} fds: {} names, at most {} fds, read in {:?}",
        found.names,
        found.most_fds,
        start.elapsed()
    );
    ensure!(
        (found.names, found.hash) == (expected.names, expected.hash),
        "the lower has {} names, the mount {}, or their data differs",
        expected.names,
        found.names
    );
    ensure!(
        found.most_fds <= FDS_LIMITED,
        "the server has {} open files under a limit of {LIMIT}",
        found.most_fds
    );
    Ok(())
}

/// A server that is looked at while it runs.
#[derive(Debug)]
struct Watched<'a> {
    pid: u32,
    stats: &'a Path,
}

impl<'a> Watched<'a> {
    fn new(mounted: &Mounted, stats: &'a Path) -> Result<Self> {
        let pid = mounted.server_pid().context("the mount has no server")?;
        Ok(Self { pid, stats })
    }

    /// Returns `VmRSS` in bytes.
    fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        let kib: u64 = kib.context("a status without VmRSS")?.parse()?;
        Ok(kib * 1024)
    }

    fn fds(&self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.pid);
        let dir = std::fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?;
        Ok(dir.count())
    }

    fn fd_counter(&self) -> impl FnMut() -> Result<usize> {
        || self.fds()
    }

    /// Has the server write its statistics, and returns how many nodes they say.
    fn nodes(&self) -> Result<u64> {
        let snapshots = || -> Result<Vec<u64>> {
            let text = std::fs::read_to_string(self.stats).context("cannot read the statistics")?;
            let nodes = text.lines().filter_map(|line| line.strip_prefix("nodes "));
            Ok(nodes.map(str::parse).collect::<Result<_, _>>()?)
        };
        let before = snapshots()?.len();
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.context("the server's process id is none")?;
        rustix::process::kill_process(pid, Signal::USR1).context("cannot signal the server")?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(nodes) = snapshots()?.get(before) {
                return Ok(*nodes);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server wrote no statistics")
    }

    /// Waits until the server has let go of what the kernel forgot, and of no more; returns its nodes and memory.
    fn at_rest(&self, at_start: u64) -> Result<(u64, u64)> {
        let start = Instant::now();
        let mut before = u64::MAX;
        loop {
            let (nodes, resident) = (self.nodes()?, self.resident()?);
            let falls = resident < std::mem::replace(&mut before, resident);
            if !falls && nodes < LEFT && ratio(resident, at_start) <= 1.5 {
                return Ok((nodes, resident));
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{PATIENCE:?} after the kernel dropped its caches, {nodes} nodes are left in {} KiB, {:.2} of the start",
                    resident / 1024,
                    ratio(resident, at_start)
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// What a walk asks of each name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Attributes,
    /// Attributes and what is in it.
    Data,
}

/// What a walk met.
#[derive(Debug, Default)]
struct Walk {
    names: u64,
    /// The sum of a hash for each name: listings have no order.
    hash: u64,
    /// The most files that the server had open.
    most_fds: usize,
}

/// Walks `root`, and counts the server's open files now and then.
fn walk(root: &Path, what: What, fds: &mut dyn FnMut() -> Result<usize>) -> Result<Walk> {
    let mut walk = Walk::default();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", dir.display()))?;
            let path = entry.path();
            let shown = || path.display().to_string();
            let attributes = entry.metadata().with_context(shown)?;
            let mut hasher = DefaultHasher::new();
            hasher.write(path.strip_prefix(root)?.as_os_str().as_encoded_bytes());
            if attributes.is_dir() {
                dirs.push(path.clone());
            } else if what == What::Data {
                let mut data = Vec::new();
                let mut file = File::open(&path).with_context(shown)?;
                file.read_to_end(&mut data).with_context(shown)?;
                hasher.write(&data);
                hasher.write_u64(attributes.len());
            }
            walk.hash = walk.hash.wrapping_add(hasher.finish());
            walk.names += 1;
            if walk.names % COUNT_EVERY == 0 {
                walk.most_fds = walk.most_fds.max(fds()?);
            }
        }
    }
    Ok(walk)
}
