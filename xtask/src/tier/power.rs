//! The power fails: the disk is cut off at random moments of a run heavy in copy-ups and fsyncs, and each state of it is
//! checked, mounted by Mica and by the kernel, and looked at file by file.
//!
//! What a cut may show is known: what was synced before it must be there, what began after it must not, and a file that is
//! copied up is never without its data, mode, owner and attributes (OVL-22). With `--subject fuse-overlayfs`, which does not
//! sync its copies, the tier fails, as it should.

mod disk;
mod files;
mod run;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use self::disk::{Cache, Cut, Disk};
use self::files::{FILES, Span};
use self::run::Book;
use crate::driver::{Driver, Stack, Subject};
use crate::dump::{self, Lens};
use crate::image::Scratch;
use crate::repo::Profile;
use crate::rng::Rng;

/// Cuts of the disk.
const CUTS: u64 = 50;
/// Threads that work on the mount.
const WORKERS: usize = 3;

/// A cut, and what each file may be in it.
struct Moment {
    cut: Cut,
    spans: Vec<Span>,
}

/// Runs, cuts and checks.
pub(crate) fn power(subject: Subject) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let driver = subject.driver(Profile::Release)?;
    let mut rng = Rng::of_this_run("power")?;
    // The lower is on another disk, which loses nothing.
    let plain = Scratch::tmpfs()?;
    let lower = plain.path().join("lower");
    let point = plain.path().join("merged");
    std::fs::create_dir(&point)?;
    files::write_lower(&lower)?;
    let pristine = dump::read(&lower)?;
    let disk = Disk::new()?;
    let start = Instant::now();
    let moments = run_and_cut(&driver, &disk, &lower, &point, &mut rng)?;
    println!("power: the run took {} ms", start.elapsed().as_millis());
    let disk = disk.end()?;
    let mut faults = Vec::new();
    let (mut certain, mut open) = (0_usize, 0_usize);
    for (number, moment) in moments.into_iter().enumerate() {
        certain += moment.spans.iter().filter(|span| span.durable > 0).count();
        open += moment
            .spans
            .iter()
            .filter(|span| span.durable < span.started)
            .count();
        let cache = moment.cut.cache;
        let found = check(&driver, &disk, moment, &lower, &point)
            .with_context(|| format!("cut {number}, cache {cache:?}"))?;
        faults.extend(
            found
                .into_iter()
                .map(|line| format!("cut {number}, cache {cache:?}: {line}")),
        );
    }
    println!(
        "power: {CUTS} cuts; in all of them together {certain} synced files, and {open} that may be older or newer"
    );
    let names = ("the lower before", "the lower after");
    let lines = dump::compare(&pristine, &dump::read(&lower)?, names, Lens::default());
    ensure!(lines.is_empty(), "{}", lines.join("\n"));
    if !faults.is_empty() {
        let shown: Vec<_> = faults.iter().take(30).cloned().collect();
        bail!(
            "{} files are neither old nor new:\n  {}",
            faults.len(),
            shown.join("\n  ")
        );
    }
    Ok(())
}

/// Lets the workers work on a mount, and cuts the disk off meanwhile.
fn run_and_cut(
    driver: &Driver,
    disk: &Disk,
    lower: &Path,
    point: &Path,
    rng: &mut Rng,
) -> Result<Vec<Moment>> {
    let stack = Stack::over(vec![lower.to_path_buf()], disk.path())?;
    disk.sync()?;
    let mounted = driver.mount(&stack, point)?;
    let book = Mutex::new(Book::new());
    let stop = AtomicBool::new(false);
    let moments = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (book, stop, rng) = (&book, &stop, Rng::new(rng.next()));
                scope.spawn(move || run::work(point, number, rng, book, stop))
            })
            .collect();
        let moments = cut_all(disk, &book, rng);
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let ended = worker.join().map_err(|_| anyhow!("a worker panicked"))?;
            ended.context("on the mount")?;
        }
        moments
    })?;
    let operations = book
        .lock()
        .map_err(|_| anyhow!("a worker panicked"))?
        .operations;
    println!("power: {operations} operations on {FILES} files");
    mounted.unmount()?;
    Ok(moments)
}

fn cut_all(disk: &Disk, book: &Mutex<Book>, rng: &mut Rng) -> Result<Vec<Moment>> {
    let read = || {
        book.lock()
            .map(|book| book.spans())
            .map_err(|_| anyhow!("a worker panicked"))
    };
    let mut moments = Vec::new();
    for number in 0..CUTS {
        std::thread::sleep(Duration::from_millis(rng.below(150)));
        let cache = rng.pick(&[Cache::Lost, Cache::Torn, Cache::Kept], Cache::Lost);
        // What is durable before the cut must be there; what begins after it cannot be.
        let before = read()?;
        let cut = disk.cut(number, cache, rng)?;
        let after = read()?;
        let spans = before
            .iter()
            .zip(&after)
            .map(|(before, after)| Span {
                durable: before.durable,
                started: after.started,
            })
            .collect();
        moments.push(Moment { cut, spans });
    }
    Ok(moments)
}

/// Returns what is wrong in one cut.
fn check(
    driver: &Driver,
    disk: &disk::Room,
    moment: Moment,
    lower: &Path,
    point: &Path,
) -> Result<Vec<String>> {
    let Moment { cut, spans } = moment;
    let seen = disk.open(&cut)?;
    let stack = Stack::over(vec![lower.to_path_buf()], seen.path())?;
    let mut faults = Vec::new();
    let mut first = None;
    for reader in [driver, &Driver::Kernel] {
        let mounted = reader.mount(&stack, point)?;
        if matches!(reader, Driver::Mica(_)) {
            let left = std::fs::read_dir(stack.work.join("work"))?.count();
            ensure!(left == 0, "{left} names are left in the work directory");
        }
        let looked = files::look(point);
        let found = files::check(point, lower, &looked, &spans);
        faults.extend(
            found
                .into_iter()
                .map(|line| format!("{}: {line}", reader.name())),
        );
        mounted.unmount()?;
        match &first {
            None => first = Some(looked),
            Some(first) => faults.extend(
                first
                    .iter()
                    .zip(&looked)
                    .enumerate()
                    .filter(|(_, (first, second))| first != second)
                    .map(|(number, _)| format!("file {number}: two readers differ")),
            ),
        }
    }
    drop(seen);
    disk.remove(&cut)?;
    Ok(faults)
}
