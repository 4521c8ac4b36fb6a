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
mod coverage;
mod crew;
mod difference;
mod draw;
mod ground;
mod handle;
mod job;
pub(crate) mod layout;
mod plants;
mod protected;
mod purity;
mod regress;
mod set;
mod shrink;
mod side;
mod watch;
mod worker;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::driver::Subject;
use crate::need::Need;
use crate::repo::Profile;
use crew::Crew;
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
those of xtask/src/oracle/call/*.rs; the layouts are in xtask/src/oracle/layout/shapes.rs, each at the root and once more
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
    /// Make the server err in this way, or in each for `all`, and find that within 5 minutes
    #[arg(long, value_name = "NAME", conflicts_with_all = ["script", "rounds"])]
    plant: Option<String>,
    /// Fail if no sequence came to a rule that could be compared
    #[arg(long)]
    require_coverage: bool,
}

/// Arguments of the hidden `oracle-job`, which are those of its parent and more.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    all: OracleArgs,
    /// Which of the jobs this is
    #[arg(long)]
    job: u64,
    /// The number of its first sequence
    #[arg(long)]
    from: u64,
    /// The program of the subject
    #[arg(long)]
    program: std::path::PathBuf,
    /// Where the layers go, once there is a place
    #[arg(long)]
    base: Option<std::path::PathBuf>,
    /// A difference is not made shorter
    #[arg(long)]
    brief: bool,
}

impl JobArgs {
    /// Returns the command line of these arguments.
    fn words(&self) -> Vec<String> {
        let mut words = self.all.words();
        words.extend([
            format!("--job={}", self.job),
            format!("--from={}", self.from),
        ]);
        words.push(format!("--program={}", self.program.display()));
        words.extend(
            self.base
                .iter()
                .map(|base| format!("--base={}", base.display())),
        );
        if self.brief {
            words.push("--brief".to_owned());
        }
        words
    }
}

/// Under which conditions two sides are compared.
#[derive(Debug, Clone)]
struct Options {
    set: Set,
    rights: Rights,
    plant: Option<String>,
    /// Where servers note which rules took effect.
    met: Option<std::path::PathBuf>,
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
        require_coverage: false,
    })
}

/// Runs the oracle.
pub(crate) fn main(args: &OracleArgs) -> Result<()> {
    let needs = [Need::Root, Need::Fuse, Need::Loop, Need::KernelOverlay];
    if let Some(why) = needs.into_iter().find_map(Need::missing) {
        bail!("cannot compare: {why}");
    }
    let profile = if args.release {
        ensure!(
            args.plant.is_none() && !args.require_coverage,
            "a release neither makes faults nor counts rules"
        );
        Profile::Release
    } else {
        Profile::Planted
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
    if let Some(name) = &args.plant {
        return plants::run(args, &program, name);
    }
    println!("oracle: {jobs} jobs, first seed {}", args.seed);
    let crew = Crew::new(args, &program, jobs);
    let result = crew.run();
    if args.subject == Subject::Mica && !args.release && args.script.is_none() {
        let rights = args.userns.map_or(Rights::All, |_| Rights::Mapped);
        let covered = coverage::report(&crew.met(), rights, args.require_coverage);
        return result.and(covered);
    }
    result
}

impl OracleArgs {
    /// Returns after how many seconds it ends, if it ends by time.
    fn time_limit(&self) -> Option<u64> {
        let is_counted = self.sequences.or(self.rounds).is_some() || self.script.is_some();
        self.seconds.or((!is_counted).then_some(60))
    }

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
