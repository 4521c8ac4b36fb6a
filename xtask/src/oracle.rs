//! The oracle: the same operations on kernel overlayfs and on a subject, over identical layers.
//!
//! Compared are the result of each operation, the merged tree, the upper on disk, which inode numbers stayed, and
//! what each of the two makes of the other's upper. Differences that docs/semantics.md allows are listed, with
//! their rules, in `oracle/known.txt`; any other fails, with the shortest sequence that shows it.

mod arena;
pub(crate) mod layout;
mod op;
mod random;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::driver::{Driver, Subject};
use crate::dump::{self, Lens};
use crate::image::Scratch;
use crate::need::Need;
use crate::private;
use crate::repo::Profile;
use crate::rng::Rng;
use crate::run::run;
use arena::Trace;
use layout::{LAYOUTS, Layout};
use op::Op;

/// Arguments of `oracle`.
#[derive(Debug, Args)]
pub(crate) struct OracleArgs {
    /// What is compared with kernel overlayfs
    #[arg(long, value_enum, default_value_t = Subject::Mica)]
    subject: Subject,
    /// Random sequences per filesystem
    #[arg(long, default_value_t = 300)]
    sequences: u64,
    /// The first random sequence's seed; the others follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on after a difference, to see them all
    #[arg(long)]
    keep_going: bool,
}

/// Runs the oracle, in private namespaces.
pub(crate) fn main(args: &OracleArgs) -> Result<()> {
    if private::inside() {
        return compare_all(args);
    }
    let needs = [Need::Root, Need::Fuse, Need::Loop, Need::KernelOverlay];
    if let Some(why) = needs.into_iter().find_map(Need::missing) {
        bail!("cannot compare: {why}");
    }
    let (sequences, seed) = (args.sequences.to_string(), args.seed.to_string());
    let mut words = vec![
        "oracle",
        "--subject",
        args.subject.word(),
        "--sequences",
        &sequences,
        "--seed",
        &seed,
    ];
    if args.keep_going {
        words.push("--keep-going");
    }
    run(&mut private::command(&words)?)
}

/// Compares `subject` with the kernel, as the test tier does.
pub(crate) fn tier(subject: Subject) -> Result<()> {
    compare_all(&OracleArgs {
        subject,
        sequences: 300,
        seed: 1,
        keep_going: false,
    })
}

/// The two sides, and where they work.
struct Match {
    kernel: Driver,
    subject: Driver,
    base: PathBuf,
    known: Vec<Known>,
    /// Operations that were compared, and those of them that succeeded.
    operations: Cell<(u64, u64)>,
}

/// An allowed difference.
struct Known {
    rule: &'static str,
    words: &'static str,
}

/// What one sequence showed.
enum Verdict {
    Same,
    /// Stopped at an allowed difference, of this rule.
    Known(&'static str),
    Different(Vec<String>),
}

fn compare_all(args: &OracleArgs) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let subject = args.subject.driver(Profile::Dev)?;
    let known = known()?;
    let mut failures = 0_u64;
    for (on, scratch) in [("tmpfs", Scratch::tmpfs()?), ("ext4", Scratch::ext4(256)?)] {
        let contest = Match {
            kernel: Driver::Kernel,
            subject: subject.clone(),
            base: scratch.path().to_path_buf(),
            known: known
                .iter()
                .map(|k| Known {
                    rule: k.rule,
                    words: k.words,
                })
                .collect(),
            operations: Cell::default(),
        };
        let mut stopped = 0_u64;
        let mut count = 0_u64;
        for (label, layout, ops) in cases(args.seed, args.sequences) {
            count = count.saturating_add(1);
            match contest.run(&layout, &ops)? {
                Verdict::Same => {}
                Verdict::Known(rule) => {
                    stopped = stopped.saturating_add(1);
                    println!("{label} on {on}: known difference {rule}");
                }
                Verdict::Different(lines) => {
                    failures = failures.saturating_add(1);
                    contest.report(&format!("{label} on {on}"), &layout, ops, lines)?;
                    if !args.keep_going {
                        bail!("{} differs from kernel overlayfs", contest.subject.name());
                    }
                }
            }
        }
        let (all, good) = contest.operations.get();
        println!(
            "oracle on {on}: {count} sequences of {all} operations, {good} of which succeed; {stopped} sequences \
             stopped at a known difference"
        );
    }
    if failures > 0 {
        bail!("{failures} sequences differ from kernel overlayfs");
    }
    Ok(())
}

/// Returns all sequences with a label that finds them again.
fn cases(seed: u64, sequences: u64) -> Vec<(String, Layout, Vec<Op>)> {
    let mut cases = Vec::new();
    for layout in LAYOUTS {
        for (number, script) in random::scripts().into_iter().enumerate() {
            cases.push((
                format!("script {number} on layout `{}`", layout.name),
                *layout,
                script,
            ));
        }
    }
    for seed in seed..seed.saturating_add(sequences) {
        let mut rng = Rng::new(seed);
        let layout = rng.pick(
            LAYOUTS,
            Layout {
                name: "empty",
                lowers: &[""],
                upper: "",
            },
        );
        let len = rng.below(20).saturating_add(4);
        let ops = random::sequence(&mut rng, len);
        cases.push((
            format!("seed {seed} on layout `{}`", layout.name),
            layout,
            ops,
        ));
    }
    cases
}

fn known() -> Result<Vec<Known>> {
    let mut known = Vec::new();
    for line in include_str!("oracle/known.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (rule, words) = line
            .split_once(" | ")
            .with_context(|| format!("known.txt: `{line}` is not RULE | WORDS"))?;
        known.push(Known { rule, words });
    }
    Ok(known)
}

impl Match {
    fn run(&self, layout: &Layout, ops: &[Op]) -> Result<Verdict> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let names = ("kernel", self.subject.name());
        let kernel = arena::run(&Driver::Kernel, layout, ops, &self.arena("a"))?;
        let subject = match arena::run(&self.subject, layout, ops, &self.arena("b")) {
            Ok(trace) => trace,
            Err(error) => {
                return Ok(Verdict::Different(vec![format!(
                    "the sequence broke off: {error:#}"
                )]));
            }
        };
        let (all, good) = self.operations.get();
        let succeeded = kernel
            .results
            .iter()
            .filter(|result| result.is_ok())
            .count();
        self.operations.set((
            all.saturating_add(u64::try_from(kernel.results.len())?),
            good.saturating_add(u64::try_from(succeeded)?),
        ));
        for (op, (left, right)) in ops.iter().zip(kernel.results.iter().zip(&subject.results)) {
            if left != right {
                let line = format!(
                    "{op}: {} on kernel, {} on {}",
                    op::show(left),
                    op::show(right),
                    names.1
                );
                return Ok(
                    match self.known.iter().find(|known| line.contains(known.words)) {
                        Some(known) => Verdict::Known(known.rule),
                        None => Verdict::Different(vec![line]),
                    },
                );
            }
        }
        let mut lines = subject.faults.clone();
        lines.extend(dump::compare(
            &kernel.merged,
            &subject.merged,
            names,
            Lens { now, upper: false },
        ));
        let upper = dump::compare(
            &kernel.upper,
            &subject.upper,
            names,
            Lens { now, upper: true },
        );
        lines.extend(upper.into_iter().map(|line| format!("upper: {line}")));
        for path in kernel
            .kept_numbers
            .iter()
            .filter(|path| !subject.kept_numbers.contains(path))
        {
            lines.push(format!(
                "{}: st_ino stayed on kernel, not on {}",
                path.display(),
                names.1
            ));
        }
        lines.extend(self.swap(
            "kernel reads the subject's upper",
            &self.kernel,
            &subject,
            now,
        )?);
        lines.extend(self.swap(
            "the subject reads the kernel's upper",
            &self.subject,
            &kernel,
            now,
        )?);
        lines.retain(|line| !self.known.iter().any(|known| line.contains(known.words)));
        Ok(if lines.is_empty() {
            Verdict::Same
        } else {
            Verdict::Different(lines)
        })
    }

    /// Names what `reader` sees otherwise in the layers that `trace` left behind.
    fn swap(&self, label: &str, reader: &Driver, trace: &Trace, now: i64) -> Result<Vec<String>> {
        let seen = match arena::reread(reader, &trace.stack) {
            Ok(seen) => seen,
            Err(error) => return Ok(vec![format!("{label}: {error:#}")]),
        };
        let lines = dump::compare(
            &trace.merged,
            &seen,
            ("the writer", "the reader"),
            Lens { now, upper: false },
        );
        Ok(lines
            .into_iter()
            .map(|line| format!("{label}: {line}"))
            .collect())
    }

    fn arena(&self, side: &str) -> PathBuf {
        Path::new(&self.base).join(side)
    }

    /// Prints a difference with the shortest sequence that still shows one.
    fn report(
        &self,
        label: &str,
        layout: &Layout,
        mut ops: Vec<Op>,
        mut lines: Vec<String>,
    ) -> Result<()> {
        let mut index = ops.len();
        while index > 0 {
            index = index.saturating_sub(1);
            let mut fewer = ops.clone();
            fewer.remove(index);
            if let Verdict::Different(found) = self.run(layout, &fewer)? {
                (ops, lines) = (fewer, found);
            }
        }
        println!("DIFFERENT: {label}; shortest:");
        ops.iter().for_each(|op| println!("    {op}"));
        lines.iter().for_each(|line| println!("  -> {line}"));
        Ok(())
    }
}
