//! The oracle: the same operations on kernel overlayfs and on a subject, over identical layers.
//!
//! Compared are the result of each operation, the merged tree, upper and work directory on disk, and which inode numbers
//! are the same as others. Every so often the two drivers change places and each goes on with what the other left.
//! What docs/semantics.md allows to differ is named, by number, where it is let through (see `difference`); anything else
//! fails, with the shortest script that shows it.
//!
//! The parent starts jobs, each in namespaces of its own with a filesystem of its own. A job draws a script from each
//! of its seeds; its workers do the operations.

mod arena;
mod call;
mod difference;
mod draw;
mod ground;
mod handle;
mod job;
pub(crate) mod layout;
mod regress;
mod set;
mod shrink;
mod side;
mod watch;
mod worker;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::driver::Subject;
use crate::need::Need;
use crate::private;
use crate::repo::Profile;
use ground::{Disk, Userns};
use layout::Rights;
use set::Set;

pub(crate) use difference::DIFFERENCES;
pub(crate) use job::{run as run_job, sit as sit_down};
pub(crate) use worker::{Who, serve};

/// Arguments of `oracle`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
A difference is printed as a case for xtask/src/oracle/regress.rs: option set, layout and the shortest script that shows
it. `--script FILE --options SET --layout NAME` runs the lines of such a script alone; `--script -` reads them from
standard input. A line is `WORKER OPERATION`, with worker 0 root, 1 root with umask 077, 2 user 1000, 3 user 1001 who is in
group 1000, or `remount`, `swap` (each driver goes on with what the other left) or `look PATH`. The operations are
those of xtask/src/oracle/call/*.rs; the layouts are in xtask/src/oracle/layout.rs, each of them at the root and once more
in the directories 0 to 5.

  cargo xtask oracle --seconds 60 --options redirect --keep-going
  cargo xtask oracle --seed 7 --sequences 1 --jobs 1 --options index
  printf '0 rename d new\\n2 stat new/a\\n' | cargo xtask oracle --script - --options redirect --layout plain")]
pub(crate) struct OracleArgs {
    /// What is compared with kernel overlayfs
    #[arg(long, value_enum, default_value_t = Subject::Mica)]
    subject: Subject,
    /// Stop after so long (60, if no number of sequences is given)
    #[arg(long)]
    seconds: Option<u64>,
    /// Stop after so many sequences in all
    #[arg(long)]
    sequences: Option<u64>,
    /// So many sequences of: made by one driver, changed by the other, changed back
    #[arg(long, conflicts_with = "sequences")]
    rounds: Option<u64>,
    /// The first sequence's seed; the others follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Option sets, separated by commas (default: all that fit)
    #[arg(long)]
    options: Option<String>,
    /// The filesystem of the layers
    #[arg(long = "fs", value_enum, default_value_t = Disk::Tmpfs)]
    disk: Disk,
    /// Both sides inside an unprivileged user namespace, with ranges of ids, one id only, or both in turn
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "both")]
    userns: Option<Userns>,
    /// Jobs side by side (default: one for each processor)
    #[arg(long)]
    jobs: Option<u64>,
    /// This layout only
    #[arg(long)]
    layout: Option<String>,
    /// Run this script instead of random ones
    #[arg(long, value_name = "FILE", requires = "options", requires = "layout")]
    script: Option<String>,
    /// Go on after a difference, to see more
    #[arg(long)]
    keep_going: bool,
    /// Replay the sequences that once showed a difference first
    #[arg(long)]
    replay: bool,
    /// Build the subject as users get it: faster, and without its own assertions
    #[arg(long)]
    release: bool,
    /// Tell the server to make this fault, if it was built with faults
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
}

/// Arguments of the hidden `oracle-job`, which are those of its parent and more.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    all: OracleArgs,
    /// Which of the jobs this is
    #[arg(long)]
    job: u64,
    /// The program of the subject
    #[arg(long)]
    program: std::path::PathBuf,
    /// Where the layers go, once there is a place
    #[arg(long)]
    base: Option<std::path::PathBuf>,
}

/// Under which conditions two sides are compared.
#[derive(Debug, Clone)]
struct Options {
    set: Set,
    rights: Rights,
    plant: Option<String>,
}

impl Options {
    /// Returns what layers can hold, in which the marks are where these options look for them.
    fn layer_rights(&self) -> Rights {
        if self.rights == Rights::All && self.set.uses_user_xattrs() {
            Rights::Mapped
        } else {
            self.rights
        }
    }
}

/// Compares `subject` with the kernel for a minute, as the test tier does.
pub(crate) fn tier(subject: Subject) -> Result<()> {
    main(&OracleArgs {
        subject,
        seconds: Some(60),
        sequences: None,
        rounds: None,
        seed: 1,
        options: None,
        disk: Disk::Tmpfs,
        userns: None,
        jobs: None,
        layout: None,
        script: None,
        keep_going: false,
        replay: true,
        release: false,
        plant: None,
    })
}

/// Runs the oracle.
pub(crate) fn main(args: &OracleArgs) -> Result<()> {
    let needs = [Need::Root, Need::Fuse, Need::Loop, Need::KernelOverlay];
    if let Some(why) = needs.into_iter().find_map(Need::missing) {
        bail!("cannot compare: {why}");
    }
    let profile = if args.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let program = args
        .subject
        .driver(profile)?
        .program()
        .unwrap_or_else(|| "-".into());
    let jobs = if args.script.is_some() {
        1
    } else {
        args.job_count()
    };
    println!("oracle: {jobs} jobs, first seed {}", args.seed);
    let counts = Mutex::new(vec![Count::default(); usize::try_from(jobs)?]);
    let start = Instant::now();
    let mut children = Vec::new();
    for job in 0..jobs {
        children.push(start_job(args, job, &program)?);
    }
    let result = std::thread::scope(|scope| {
        for (index, child) in children.iter_mut().enumerate() {
            let pipe = child.stdout.take();
            let counts = &counts;
            scope.spawn(move || pipe.map(|pipe| follow(BufReader::new(pipe), index, counts)));
        }
        wait_all(&mut children, args.keep_going, &|| {
            print_progress(&counts, start)
        })
    });
    print_progress(&counts, start);
    result
}

/// Starts one job, in private namespaces.
fn start_job(args: &OracleArgs, job: u64, program: &std::path::Path) -> Result<Child> {
    let mut words = vec!["oracle-job".to_owned()];
    words.extend(args.words());
    words.extend(["--job".to_owned(), job.to_string()]);
    words.extend(["--program".to_owned(), program.display().to_string()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    private::command(&words)?
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a job")
}

/// Waits for all jobs; ends the others when one fails, unless they are to go on.
fn wait_all(children: &mut [Child], keep_going: bool, progress: &dyn Fn()) -> Result<()> {
    let mut failed = 0_usize;
    let mut left: Vec<&mut Child> = children.iter_mut().collect();
    let mut said = Instant::now();
    while !left.is_empty() {
        std::thread::sleep(Duration::from_millis(50));
        let mut running = Vec::new();
        for child in left {
            match child.try_wait()? {
                None => running.push(child),
                Some(status) if status.success() => {}
                Some(_) => failed = failed.saturating_add(1),
            }
        }
        left = running;
        if failed > 0 && !keep_going {
            for child in &mut left {
                child.kill()?;
                child.wait()?;
            }
            break;
        }
        if said.elapsed() > Duration::from_secs(10) {
            progress();
            said = Instant::now();
        }
    }
    if failed > 0 {
        bail!("{failed} jobs saw a difference from kernel overlayfs");
    }
    Ok(())
}

/// What a job has done so far.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    sequences: u64,
    operations: u64,
    succeeded: u64,
    differences: u64,
}

/// Passes on what a job prints, but for its counts.
fn follow(pipe: impl BufRead, index: usize, counts: &Mutex<Vec<Count>>) {
    for line in pipe.lines().map_while(Result::ok) {
        let Some(rest) = line.strip_prefix("@ ") else {
            println!("{line}");
            continue;
        };
        let numbers: Vec<u64> = rest
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        if let [sequences, operations, succeeded, differences] = *numbers.as_slice()
            && let Ok(mut counts) = counts.lock()
            && let Some(count) = counts.get_mut(index)
        {
            *count = Count {
                sequences,
                operations,
                succeeded,
                differences,
            };
        }
    }
}

fn print_progress(counts: &Mutex<Vec<Count>>, start: Instant) {
    let Ok(counts) = counts.lock() else {
        return;
    };
    let sum = |of: fn(&Count) -> u64| counts.iter().map(of).sum::<u64>();
    let seconds = start.elapsed().as_secs().max(1);
    let (sequences, operations) = (sum(|c| c.sequences), sum(|c| c.operations));
    println!(
        "oracle: {seconds} s, {sequences} sequences ({} a minute), {operations} operations ({} a second), {} of which \
         succeed; {} differences",
        sequences.saturating_mul(60) / seconds,
        operations / seconds,
        sum(|c| c.succeeded),
        sum(|c| c.differences),
    );
}

impl OracleArgs {
    fn job_count(&self) -> u64 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs
            .unwrap_or_else(|| u64::try_from(processors).unwrap_or(1))
            .max(1)
    }

    /// Returns the command line of these arguments, for a job.
    fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--subject={}", self.subject.word()),
            format!("--seed={}", self.seed),
            format!("--fs={}", self.disk.word()),
            format!("--jobs={}", self.job_count()),
        ];
        let numbers = [
            ("seconds", self.seconds),
            ("sequences", self.sequences),
            ("rounds", self.rounds),
        ];
        for (name, value) in numbers {
            words.extend(value.map(|value| format!("--{name}={value}")));
        }
        let texts = [
            ("options", &self.options),
            ("layout", &self.layout),
            ("script", &self.script),
            ("plant", &self.plant),
        ];
        for (name, value) in texts {
            words.extend(value.as_ref().map(|value| format!("--{name}={value}")));
        }
        words.extend(
            self.userns
                .map(|userns| format!("--userns={}", userns.word())),
        );
        for (name, is_set) in [("keep-going", self.keep_going), ("replay", self.replay)] {
            if is_set {
                words.push(format!("--{name}"));
            }
        }
        words
    }
}
