//! `mica commit` is killed at random moments: what was not sealed is undone, what was is finished, and never is there a third.
//!
//! Each round has a tree and a session of its own, as a commit compares numbers and times of objects. What comes of it is
//! compared with the tree before, and with what the same commands make of a copy without a session.

mod round;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use self::round::{Fate, Ground};
use crate::driver::Subject;
use crate::image::Scratch;
use crate::repo::Profile;
use crate::rng::Rng;

/// Kills that strike a commit that runs.
const KILLS: u64 = 200;

/// How many kills there were of each kind.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    /// Nothing had been begun, or nothing that shows.
    before: u64,
    /// Something was made or kept, and the journal was not sealed.
    begun: u64,
    sealed: u64,
    /// All was done but for what is left of the session.
    over: u64,
    /// The one that goes on was killed, too.
    again: u64,
}

impl Tally {
    fn kills(&self) -> u64 {
        [self.before, self.begun, self.sealed, self.over]
            .iter()
            .sum()
    }

    fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.before += other.before;
        self.begun += other.begun;
        self.sealed += other.sealed;
        self.over += other.over;
        self.again += other.again;
    }
}

/// Kills commits.
pub(crate) fn commit(subject: Subject) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let program = subject.with_sessions(Profile::Release)?;
    let mut rng = Rng::of_this_run("commit")?;
    let start = Instant::now();
    // One waits for the disk at each fsync, the other for nothing: kills strike other places.
    let disks = [Scratch::ext4(1024)?, Scratch::tmpfs()?];
    let disks = disks.iter().map(|disk| (disk, rng.next()));
    let kills = AtomicU64::new(0);
    let tallies = std::thread::scope(|scope| {
        let workers: Vec<_> = disks
            .map(|(disk, seed)| {
                let (program, kills) = (&program, &kills);
                scope.spawn(move || work(program, disk.path(), kills, Rng::new(seed)))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut all = Tally::default();
    for tally in &tallies {
        all.add(tally);
    }
    println!(
        "commit: {} kills in {} rounds, {} s: {} before anything was made, {} before the seal, {} after it, {} when all \
         was done; {} times the next one was killed, too",
        all.kills(),
        all.rounds,
        start.elapsed().as_secs(),
        all.before,
        all.begun,
        all.sealed,
        all.over,
        all.again
    );
    ensure!(
        all.begun > 30 && all.sealed > 30,
        "too few kills struck before the seal, or after it"
    );
    Ok(())
}

/// Plays rounds until there were enough `kills`.
fn work(program: &Path, disk: &Path, kills: &AtomicU64, mut rng: Rng) -> Result<Tally> {
    let mut ground = Ground::new(program, disk)?;
    let mut tally = Tally::default();
    while kills.load(Ordering::Relaxed) < KILLS {
        let number = tally.rounds;
        let ended = ground
            .round(number, &mut rng)
            .with_context(|| format!("round {number}"))?;
        tally.rounds += 1;
        tally.again += ended.again;
        if ended.fate.is_some() {
            kills.fetch_add(1, Ordering::Relaxed);
        }
        match ended.fate {
            None => {}
            Some(Fate::Before) => tally.before += 1,
            Some(Fate::Begun) => tally.begun += 1,
            Some(Fate::Sealed) => tally.sealed += 1,
            Some(Fate::Over) => tally.over += 1,
        }
    }
    Ok(tally)
}
