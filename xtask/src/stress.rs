//! Stress: one file by all means, one tree by many threads, and the filesystem class of stress-ng.
//!
//! Kernel overlayfs and the subject run side by side, so a failure that both have is the test's or the machine's own, and
//! what one leaves out must be what the other leaves out.

mod fsx;
mod ground;
mod storm;
mod stress_ng;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::driver::{Driver, Subject};
use crate::need::Need;
use crate::need::Source::Debian;
use crate::private;
use crate::repo::Profile;
use crate::rng::Rng;
use crate::run::run;

/// Arguments of `stress`.
#[derive(Debug, Args)]
pub(crate) struct StressArgs {
    /// What is compared with kernel overlayfs
    #[arg(long, value_enum, default_value_t = Subject::Mica)]
    subject: Subject,
    /// How long each part goes on; stress-ng: each of its programs, for a twentieth of it
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Repeats a run
    #[arg(long)]
    seed: Option<u64>,
    /// One part alone
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One file, compared with a copy in memory
    Fsx,
    /// One tree changed by many threads, compared by both drivers afterwards
    Storm,
    /// The filesystem class of stress-ng, with --verify
    StressNg,
}

/// What every part needs.
pub(crate) const NEEDS: &[Need] = &[
    Need::Root,
    Need::Fuse,
    Need::Loop,
    Need::KernelOverlay,
    Need::Program("mkfs.ext4", Debian("e2fsprogs")),
    Need::Program("python3", Debian("python3")),
    Need::Program("stress-ng", Debian("stress-ng")),
];

/// Runs the parts, in private namespaces.
pub(crate) fn main(args: &StressArgs) -> Result<()> {
    if private::inside() {
        return inside(args);
    }
    if let Some(why) = NEEDS.iter().find_map(|need| need.missing()) {
        bail!("cannot run: {why}");
    }
    let own: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = own.iter().map(String::as_str).collect();
    run(&mut private::command(&words)?)
}

/// Runs all parts for a short while, as the test tier does.
pub(crate) fn tier(subject: Subject) -> Result<()> {
    inside(&StressArgs {
        subject,
        seconds: 20,
        seed: None,
        only: None,
    })
}

fn inside(args: &StressArgs) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let subject = args.subject.driver(Profile::Release)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => Rng::of_this_run("stress")?.next() >> 32,
    };
    let time = Duration::from_secs(args.seconds);
    let parts = [Part::Fsx, Part::Storm, Part::StressNg];
    for part in parts
        .into_iter()
        .filter(|part| args.only.is_none_or(|only| only == *part))
    {
        match part {
            Part::Fsx => fsx::fsx(&subject, time, seed),
            Part::Storm => storm::storm(&subject, time, seed),
            Part::StressNg => stress_ng::stress_ng(&subject, time / 20),
        }
        .with_context(|| format!("stress, seed {seed}"))?;
    }
    Ok(())
}

/// Runs `body` on kernel overlayfs and on `subject` at once.
fn side_by_side<T: Send>(
    subject: &Driver,
    body: impl Fn(&Driver) -> Result<T> + Sync,
) -> Result<(T, T)> {
    std::thread::scope(|scope| {
        let kernel = scope.spawn(|| body(&Driver::Kernel));
        let subject = body(subject);
        let Ok(kernel) = kernel.join() else {
            bail!("the thread on kernel overlayfs panicked");
        };
        Ok((kernel.context("on kernel overlayfs")?, subject?))
    })
}
