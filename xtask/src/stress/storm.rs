//! One tree that many threads change at once: nothing hangs, no error is a strange one, and afterwards every reader of the
//! layers sees one tree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::io::Errno;

use super::{ground::Ground, side_by_side};
use crate::driver::Driver;
use crate::rng::Rng;
use crate::tier::Deed;

/// Threads; more than processors, so that they interrupt one another.
const THREADS: u64 = 6;
/// One storm; then the layers are looked at.
const SPELL: Duration = Duration::from_secs(5);

/// What an operation on a name that somebody else changes may answer. All others are a failure.
const EXPECTED: &[Errno] = &[
    Errno::NOENT,
    Errno::EXIST,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::NOTEMPTY,
    Errno::LOOP,
    Errno::INVAL,
    Errno::PERM,
    Errno::XDEV,
    Errno::NODATA,
    Errno::NXIO,
    Errno::SPIPE,
    Errno::OPNOTSUPP,
    Errno::BUSY,
    Errno::NODEV,
    // Of a FIFO.
    Errno::PIPE,
    Errno::AGAIN,
];

/// Lets storms go over both drivers until `time` is over.
pub(super) fn storm(subject: &Driver, time: Duration, seed: u64) -> Result<()> {
    let (kernel, subject) = side_by_side(subject, |driver| one(driver, time, seed))?;
    let only: Vec<_> = subject
        .iter()
        .filter(|(errno, _)| !kernel.contains_key(*errno))
        .collect();
    println!(
        "stress: storm, seed {seed}: how often which errno came, on kernel overlayfs {kernel:?}, on the \
         subject {subject:?}"
    );
    // Rare ones may be missing on one side by chance.
    ensure!(
        only.iter().all(|(_, count)| **count < 100),
        "answers that kernel overlayfs does not give: {only:?}"
    );
    Ok(())
}

/// How often each errno came; 0 is success.
type Tally = BTreeMap<i32, u64>;

fn one(driver: &Driver, time: Duration, seed: u64) -> Result<Tally> {
    let mut rng = Rng::new(seed);
    let mut tally = Tally::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let mut ground = Ground::new(driver, LOWER)?;
        let seeds: Vec<u64> = (0..THREADS).map(|_| rng.next()).collect();
        let spell = SPELL.min(time);
        let ends = std::thread::scope(|scope| {
            let threads: Vec<_> = seeds
                .into_iter()
                .map(|seed| {
                    let ground = &ground;
                    scope.spawn(move || blow(ground, Rng::new(seed), spell))
                })
                .collect();
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        for end in ends {
            let Ok(counts) = end else {
                bail!("a thread panicked");
            };
            for (answer, count) in counts? {
                let sum = tally.entry(answer).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        let seen = driver.read(&ground.point)?;
        ground.settle(driver, &seen)?;
    }
    Ok(tally)
}

/// Changes the tree until the time is over.
fn blow(ground: &Ground, mut rng: Rng, time: Duration) -> Result<Tally> {
    let start = Instant::now();
    let mut tally = Tally::new();
    while start.elapsed() < time {
        let deed = Deed::draw(&mut rng);
        let answer = match deed.apply(&ground.point) {
            Ok(_) => 0,
            Err(errno) if EXPECTED.contains(&errno) => errno.raw_os_error(),
            Err(errno) => bail!("{deed:?} answers {errno}"),
        };
        let count = tally.entry(answer).or_default();
        *count = count.saturating_add(1);
    }
    Ok(tally)
}

/// Names that operations draw. No file has two names: those are one file for the life of one mount only, so that two readers
/// may differ.
const LOWER: &str = "
    d d0
    d d1 2775 0:1000
    d d2 0750 1000:1000
    d d2/sub
    d d1/empty
    f a 0644 0:0 lower-a
    f b 0600 1000:1000 lower-b
    f c 4755 0:0 setuid
    f d0/a 0644 0:0 lower-a
    x d0/a user.note hello
    f d1/a 0644 0:0 lower-a
    x d1/a trusted.note secret
    f d2/c 4755 0:0 setuid
    f d2/sub/b 0600 1000:1000 lower-b
    l d0/l a
    p d2/p
    sparse d0/e
    big big
    big d2/sub/big
";
