//! `cargo xtask test`: runs every tier that this machine can run, and names each one that it cannot, and why.
//!
//! Each tier is a process of its own with a time limit. A test that leaves itself out prints a line
//! `SKIPPED name: reason`; these are counted, and with `--require-all` they fail, as a missing tier does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::driver::Subject;
use crate::need::{Need, install};
use crate::private;
use crate::tier::{self, Place, Tier};

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Install the Debian packages and crates that the tiers need first
    #[arg(long)]
    install: bool,
    /// Fail if a tier cannot run here or a test leaves itself out
    #[arg(long)]
    require_all: bool,
    /// Run this tier alone (can be repeated)
    #[arg(long = "tier", value_name = "NAME")]
    tiers: Vec<String>,
    /// Test this instead of Mica, in the tiers that mount
    #[arg(long, value_enum, default_value_t = Subject::Mica)]
    subject: Subject,
    /// List the tiers and whether they can run here
    #[arg(long)]
    list: bool,
}

/// Arguments of the hidden `tier`.
#[derive(Debug, Args)]
pub(crate) struct TierArgs {
    name: String,
    subject: Subject,
}

/// What became of a tier.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    /// It cannot run on this machine.
    Missing(String),
}

/// One line of the summary.
#[derive(Debug)]
struct Report {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    skipped: usize,
}

/// Runs the tiers.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    let tiers = select(&args.tiers)?;
    if args.install {
        let needs: Vec<Need> = tiers.iter().flat_map(|tier| tier.needs).copied().collect();
        install(&needs)?;
    }
    if args.list {
        for tier in tiers {
            let state =
                missing(tier).map_or("can run".to_owned(), |why| format!("cannot run: {why}"));
            println!("{:<10} {} ({state})", tier.name, tier.about);
        }
        return Ok(());
    }
    let reports: Vec<Report> = tiers.into_iter().map(|tier| run_one(tier, args)).collect();
    print_summary(&reports);
    let failed: Vec<_> = reports
        .iter()
        .filter(|report| match report.outcome {
            Outcome::Passed => args.require_all && report.skipped > 0,
            Outcome::Failed(_) => true,
            Outcome::Missing(_) => args.require_all,
        })
        .map(|report| report.name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs the body of one tier, as the child of [`test()`].
pub(crate) fn run_tier(args: &TierArgs) -> Result<()> {
    let tier = find(&args.name)?;
    if tier.place == Place::Private && !private::inside() {
        bail!(
            "this tier mounts things; run `cargo xtask test --tier {}`",
            tier.name
        );
    }
    (tier.run)(args.subject)
}

fn find(name: &str) -> Result<&'static Tier> {
    tier::ALL
        .iter()
        .find(|tier| tier.name == name)
        .with_context(|| {
            let names: Vec<_> = tier::ALL.iter().map(|tier| tier.name).collect();
            format!("no tier `{name}`; there are {}", names.join(", "))
        })
}

fn select(names: &[String]) -> Result<Vec<&'static Tier>> {
    if names.is_empty() {
        return Ok(tier::ALL.iter().collect());
    }
    names.iter().map(|name| find(name)).collect()
}

/// Returns why `tier` cannot run here.
fn missing(tier: &Tier) -> Option<String> {
    let missing: Vec<(Need, String)> = tier
        .needs
        .iter()
        .filter_map(|need| need.missing().map(|why| (*need, why)))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let installable = missing.iter().any(|(need, _)| need.is_installable());
    let hint = if installable {
        " (try `cargo xtask test --install`)"
    } else {
        ""
    };
    let reasons: Vec<_> = missing.into_iter().map(|(_, why)| why).collect();
    Some(format!("{}{hint}", reasons.join("; ")))
}

fn run_one(tier: &'static Tier, args: &TestArgs) -> Report {
    let start = Instant::now();
    let mut skipped = 0;
    let outcome = match missing(tier) {
        Some(why) => Outcome::Missing(why),
        None => {
            println!("=== tier {}: {}", tier.name, tier.about);
            match start_tier(tier, args).and_then(|child| watch(child, tier.limit, &mut skipped)) {
                Ok(()) => Outcome::Passed,
                Err(error) => Outcome::Failed(format!("{error:#}")),
            }
        }
    };
    Report {
        name: tier.name,
        outcome,
        took: start.elapsed(),
        skipped,
    }
}

fn start_tier(tier: &Tier, args: &TestArgs) -> Result<Child> {
    let private = match tier.place {
        Place::Here => false,
        Place::PrivateIfRoot => private::is_root(),
        Place::Private => true,
    };
    let words = ["tier", tier.name, args.subject.word()];
    let mut command = if private {
        private::command(&words)?
    } else {
        let mut command =
            Command::new(std::env::current_exe().context("cannot find my own program")?);
        command.args(words);
        command
    };
    if args.require_all {
        command.env("MICA_REQUIRE_ALL", "1");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the tier")
}

/// Passes the child's output on, counts its skipped tests, and kills it when its time is over.
fn watch(mut child: Child, limit: Duration, skipped: &mut usize) -> Result<()> {
    let count = AtomicUsize::new(0);
    let start = Instant::now();
    let status = std::thread::scope(|scope| {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        scope.spawn(|| stdout.map(|pipe| pass_on(pipe, &mut std::io::stdout(), &count)));
        scope.spawn(|| stderr.map(|pipe| pass_on(pipe, &mut std::io::stderr(), &count)));
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                bail!("killed after {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    })?;
    *skipped = count.into_inner();
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

fn pass_on(pipe: impl Read, to: &mut dyn Write, skipped: &AtomicUsize) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        if line.trim_ascii_start().starts_with(b"SKIPPED ") {
            skipped.fetch_add(1, Ordering::Relaxed);
        }
        // A closed terminal must not stop the tier.
        drop(to.write_all(&line).and_then(|()| to.write_all(b"\n")));
    }
}

fn print_summary(reports: &[Report]) {
    println!(
        "\n{:<10} {:<8} {:>7} {:>8}  remark",
        "tier", "result", "seconds", "skipped"
    );
    for report in reports {
        let (result, remark) = match &report.outcome {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
            Outcome::Missing(why) => ("left out", why.as_str()),
        };
        let seconds = report.took.as_secs_f64();
        println!(
            "{:<10} {result:<8} {seconds:>7.1} {:>8}  {remark}",
            report.name, report.skipped
        );
    }
}
