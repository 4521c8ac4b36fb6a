//! Whether the oracle can see: a server is made to err in one way, and the oracle has to find that.
//!
//! The faults are those of the test kit (`mica_testkit::plant`), in a build of its own of the server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::crew::{say, start_job};
use super::{JobArgs, OracleArgs};
use crate::driver::PLANT;
use crate::run::quiet;

/// How long the oracle may take to find a fault.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// How one fault was found, if it was.
#[derive(Debug)]
struct Hunt {
    name: String,
    time: Duration,
    found: Option<String>,
}

/// Plants the fault called `name`, or each of them for `all`, and finds it.
///
/// # Errors
///
/// If a fault is not found in time.
pub(super) fn run(args: &OracleArgs, program: &Path, name: &str) -> Result<()> {
    let names = names(program)?;
    let all = name == "all";
    let wanted: Vec<String> = names
        .iter()
        .filter(|known| all || *known == name)
        .cloned()
        .collect();
    ensure!(
        !wanted.is_empty(),
        "there is no fault `{name}`; there are all, {}",
        names.join(", ")
    );
    let queue = Mutex::new(wanted.into_iter());
    let hunts = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.job_count())
            .map(|_| scope.spawn(|| work(args, program, all, &queue, &hunts)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a hunt panicked"))?
        })
    })?;
    let hunts = hunts.into_inner().context("a hunt panicked")?;
    let missed: Vec<&str> = hunts
        .iter()
        .filter(|hunt| hunt.found.is_none())
        .map(|hunt| hunt.name.as_str())
        .collect();
    let longest = hunts.iter().map(|hunt| hunt.time).max().unwrap_or_default();
    println!(
        "planted faults: {} of {} found, in {:.1} s at most; {} s in all, first seed {}",
        hunts.len().saturating_sub(missed.len()),
        hunts.len(),
        longest.as_secs_f64(),
        start.elapsed().as_secs(),
        args.seed
    );
    if !missed.is_empty() {
        bail!("not found: {}", missed.join(", "));
    }
    Ok(())
}

/// Lists the faults that `program` can make.
fn names(program: &Path) -> Result<Vec<String>> {
    let list = quiet(Command::new(program).env(PLANT, "list"))?;
    let names: Vec<String> = list
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    ensure!(!names.is_empty(), "{} knows no faults", program.display());
    Ok(names)
}

/// Hunts one fault after the other.
fn work(
    args: &OracleArgs,
    program: &Path,
    all: bool,
    queue: &Mutex<impl Iterator<Item = String>>,
    hunts: &Mutex<Vec<Hunt>>,
) -> Result<()> {
    loop {
        let next = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some(name) = next else {
            return Ok(());
        };
        let hunt = hunt(args, program, all, name)?;
        let seconds = hunt.time.as_secs_f64();
        match &hunt.found {
            Some(how) => println!("{:22} {seconds:6.1} s  {how}", hunt.name),
            None => println!("{:22} {seconds:6.1} s  NOT FOUND", hunt.name),
        }
        if let Ok(mut hunts) = hunts.lock() {
            hunts.push(hunt);
        }
    }
}

fn hunt(args: &OracleArgs, program: &Path, all: bool, name: String) -> Result<Hunt> {
    let limit = args.seconds.map_or(PATIENCE, Duration::from_secs);
    let job = JobArgs {
        all: OracleArgs {
            plant: Some(name.clone()),
            seconds: Some(limit.as_secs()),
            jobs: Some(1),
            keep_going: false,
            ..args.clone()
        },
        job: 0,
        from: 0,
        program: program.to_path_buf(),
        base: None,
        brief: all,
    };
    let start = Instant::now();
    let mut child = start_job(&job)?;
    let pipe = child.stdout.take().context("a job without a pipe")?;
    let mut found = None;
    let mut time = limit;
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        if let Some(how) = line.strip_prefix(say::FOUND) {
            found = Some(how.to_owned());
            time = start.elapsed();
        } else if !line.starts_with('@') && !all {
            println!("{line}");
        }
    }
    // A job that found something fails; that is what is wanted here.
    child.wait().context("cannot wait for a job")?;
    Ok(Hunt { name, time, found })
}
