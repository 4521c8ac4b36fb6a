//! The server is killed at random points, and what it left behind is looked at by Mica and by the kernel.
//!
//! Nothing is lost but the server: what it had answered must be there, of what it was doing all or nothing.

mod debian;
pub(crate) mod deed;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::worker::{Fate, InFlight, Worker};
use crate::driver::{Driver, Mounted, Stack, Subject};
use crate::dump::{self, Dump, Lens};
use crate::image::Scratch;
use crate::oracle::layout;
use crate::repo::Profile;
use crate::rng::Rng;
use crate::run::quiet;

/// Kills of a run of many small operations.
const KILLS: u64 = 180;
/// What the lives are mounted with, in turn. Without an index the names of a lower file part when the mount ends (OVL-32), so
/// only with one does the lower have such files.
const OPTIONS: [&str; 3] = ["", "index=on", "redirect_dir=on,metacopy=on"];
/// Kills of one life of the layers: later ones meet what earlier ones left, but lowers are used up.
const LIFE: u64 = 12;
/// Workers, each with a directory of its own.
const WORKERS: [&str; 2] = ["w0", "w1"];
/// How long a caller may take to learn that the server is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kills the server of small operations, then that of a Debian system.
pub(crate) fn kill(subject: Subject) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    ensure!(subject != Subject::Kernel, "the kernel cannot be killed");
    let driver = subject.driver(Profile::Release)?;
    let mut rng = Rng::of_this_run("kill")?;
    let start = Instant::now();
    small(&driver, &mut rng)?;
    println!("kill: {KILLS} kills in {} s", start.elapsed().as_secs());
    debian::debian(&driver, &mut rng)
}

/// What the kills met.
#[derive(Debug, Default)]
struct Tally {
    operations: u64,
    old: u64,
    new: u64,
    part: u64,
    /// Times that the work directory held something.
    work: u64,
}

fn small(driver: &Driver, rng: &mut Rng) -> Result<()> {
    let disk = Scratch::ext4(1024)?;
    let plain = Scratch::tmpfs()?;
    let mut tally = Tally::default();
    for life in 0..KILLS.div_ceil(LIFE) {
        let base = disk.path().join(format!("life{life}"));
        let turn = usize::try_from(life)?;
        let options = OPTIONS
            .iter()
            .cycle()
            .nth(turn)
            .copied()
            .unwrap_or_default();
        let shadow = plain.path().join(format!("life{life}"));
        let mut layers = Layers::new((&base, &shadow), options, rng)?;
        for round in 0..LIFE {
            layers
                .round(driver, rng, round, &mut tally)
                .with_context(|| format!("life {life}, kill {round}, options `{options}`"))?;
        }
        layers.check_lower()?;
        std::fs::remove_dir_all(&base).context("cannot remove the layers")?;
    }
    println!(
        "kill: {} operations were answered; of those under way {} did not happen, {} did, {} in part; the work \
         directory had leftovers {} times",
        tally.operations, tally.old, tally.new, tally.part, tally.work
    );
    ensure!(
        tally.old > 0 && tally.new > 0,
        "no kill struck an operation before and after its effect"
    );
    Ok(())
}

/// The layers of one life, and who works on them.
struct Layers {
    stack: Stack,
    point: PathBuf,
    pristine: Dump,
    workers: Vec<Worker>,
    /// Times from here on are "now".
    now: i64,
}

impl Layers {
    fn new((base, shadow): (&Path, &Path), options: &str, rng: &mut Rng) -> Result<Self> {
        let mut stack = Stack::below(base)?;
        options.clone_into(&mut stack.options);
        let now = dump::now()?;
        let (lower, point) = (stack.lower()?, stack.point());
        let mut text = lower_text();
        if options.contains("index=on") {
            text.push_str(&links_text());
        }
        layout::write(&text, lower)?;
        std::fs::create_dir_all(shadow)?;
        let from = lower.join(".");
        quiet(Command::new("cp").arg("-a").arg(from).arg(shadow))?;
        let workers = WORKERS.map(|name| Worker {
            place: point.join(name),
            shadow: shadow.join(name),
            rng: Rng::new(rng.next()),
        });
        Ok(Self {
            pristine: dump::read(lower)?,
            stack,
            point,
            workers: Vec::from(workers),
            now,
        })
    }

    /// Lets the workers work, kills the server, and looks at what is left: by the kernel first, or by the subject first.
    fn round(
        &mut self,
        driver: &Driver,
        rng: &mut Rng,
        round: u64,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut mounted = driver.mount(&self.stack, &self.point)?;
        let in_flight = self.work_and_kill(&mut mounted, rng, tally)?;
        mounted
            .remove_dead(driver)
            .context("removing the dead mount")?;
        if !self.leftovers()?.is_empty() {
            tally.work = tally.work.saturating_add(1);
        }
        let readers = if round.is_multiple_of(2) {
            [driver, &Driver::Kernel]
        } else {
            [&Driver::Kernel, driver]
        };
        let mut first = None;
        for reader in readers {
            let mounted = reader
                .mount(&self.stack, &self.point)
                .with_context(|| format!("mounting by {} after the kill", reader.name()))?;
            if reader == driver {
                let left = self.leftovers()?;
                ensure!(left.is_empty(), "left in the work directory: {left:?}");
            }
            let seen = self.look(reader)?;
            match &first {
                None => {
                    self.settle(&in_flight, &seen, tally)
                        .with_context(|| format!("seen by {}", reader.name()))?;
                    first = Some(seen);
                }
                Some(first) => self.expect_same(first, &seen, readers)?,
            }
            mounted.unmount()?;
        }
        self.check(driver)
    }

    /// Lets `mica check` look at what was left; notes do not count.
    fn check(&self, driver: &Driver) -> Result<()> {
        let Driver::Mica(program) = driver else {
            return Ok(());
        };
        let mut check = Command::new(program);
        check.args(["check", "-o", &self.stack.mount_options()]);
        quiet(&mut check)
            .map(drop)
            .context("`mica check` after the kill")
    }

    /// Starts the workers, kills the server in their midst, and waits for them: none may hang.
    fn work_and_kill(
        &mut self,
        mounted: &mut Mounted,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<Vec<InFlight>> {
        let count = Arc::new(AtomicU64::new(0));
        let (send, receive) = mpsc::channel();
        for (number, mut worker) in self.workers.drain(..).enumerate() {
            let (send, count) = (send.clone(), Arc::clone(&count));
            std::thread::spawn(move || {
                let result = worker.work(&count);
                // Nobody waits any more if the tier has failed.
                drop(send.send((number, worker, result)));
            });
        }
        drop(send);
        let goal = rng.below(150);
        let start = Instant::now();
        while count.load(Ordering::Relaxed) < goal && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(50));
        }
        std::thread::sleep(Duration::from_micros(rng.below(3000)));
        mounted.kill_server()?;
        let mut ended = Vec::new();
        for _ in WORKERS {
            match receive.recv_timeout(PATIENCE) {
                Ok(end) => ended.push(end),
                Err(_) => bail!("a caller still hangs {PATIENCE:?} after the server was killed"),
            }
        }
        ended.sort_by_key(|(number, ..)| *number);
        tally.operations = tally
            .operations
            .saturating_add(count.load(Ordering::Relaxed));
        let mut in_flight = Vec::new();
        for (_, worker, result) in ended {
            self.workers.push(worker);
            in_flight.push(result?);
        }
        Ok(in_flight)
    }

    /// Reads the mounted tree, one dump for each worker.
    fn look(&self, reader: &Driver) -> Result<Vec<Dump>> {
        let mut dumps = Vec::new();
        for worker in &self.workers {
            let mut dump = reader.read(&worker.place)?;
            dump::plain(&mut dump);
            dumps.push(dump);
        }
        Ok(dumps)
    }

    fn settle(&self, in_flight: &[InFlight], seen: &[Dump], tally: &mut Tally) -> Result<()> {
        for ((worker, in_flight), seen) in self.workers.iter().zip(in_flight).zip(seen) {
            let count = match worker.settle(in_flight, seen, self.now)? {
                Fate::Old => &mut tally.old,
                Fate::New => &mut tally.new,
                Fate::Part => &mut tally.part,
            };
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn expect_same(&self, left: &[Dump], right: &[Dump], readers: [&Driver; 2]) -> Result<()> {
        let names = (readers[0].name(), readers[1].name());
        for (left, right) in left.iter().zip(right) {
            let lines = dump::compare(left, right, names, Lens::default());
            dump::expect_none("two readers", &lines)?;
        }
        Ok(())
    }

    /// Lists the work directory's own names.
    fn leftovers(&self) -> Result<Vec<String>> {
        let dir = self.stack.work.join("work");
        std::fs::read_dir(&dir)
            .with_context(|| format!("cannot list {}", dir.display()))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn check_lower(&self) -> Result<()> {
        for lower in &self.stack.lowers {
            let names = ("the lower before", "the lower after");
            let lines = dump::compare(&self.pristine, &dump::read(lower)?, names, Lens::default());
            ensure!(lines.is_empty(), "{}", lines.join("\n"));
        }
        Ok(())
    }
}

/// Writes further names of some of the files.
fn links_text() -> String {
    let link = |worker: &str| {
        format!(
            "h {worker}/f {worker}/a\nh {worker}/d2/g {worker}/a\nh {worker}/d1/y {worker}/d0/b\n"
        )
    };
    WORKERS.map(link).concat()
}

/// Writes a lower with a directory for each worker, all names of which their operations draw.
fn lower_text() -> String {
    let mut text = String::new();
    for worker in WORKERS {
        text.push_str(&format!("d {worker}\n"));
        for dir in ["d0", "d1 2775 0:1000", "d2 0750 1000:1000", "d2/sub"] {
            text.push_str(&format!("d {worker}/{dir}\n"));
        }
        for dir in ["", "d0/", "d1/", "d2/", "d2/sub/"] {
            let at = format!("{worker}/{dir}");
            text.push_str(&format!(
                "f {at}a 0644 0:0 lower-a\nf {at}b 0600 1000:1000 lower-b\nf {at}c 4755 0:0 setuid\n\
                 x {at}a user.note hello\nx {at}a trusted.note secret\nl {at}l a\np {at}p\n"
            ));
        }
        text.push_str(&format!(
            "sparse {worker}/d0/e\nbig {worker}/big\nbig {worker}/d2/sub/big\n"
        ));
    }
    text
}
