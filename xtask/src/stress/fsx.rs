//! One file by all means: reads, writes, mappings, holes, truncation, against a copy in memory.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{ground::Ground, side_by_side};
use crate::driver::Driver;
use crate::dump;
use crate::run::quiet;

/// A lower file with data, one with holes, and an empty one: where the file begins decides what its copy-up meets.
const LOWER: &str = "big big\nsparse sparse\nf empty 0644 0:0\n";

/// Runs it on files of a lower and on a new one, in turn.
pub(super) fn fsx(subject: &Driver, time: Duration, seed: u64) -> Result<()> {
    let (kernel, subject) = side_by_side(subject, |driver| one(driver, time, seed))?;
    ensure!(
        kernel.skipped == subject.skipped,
        "fsx left out other operations: {:?} on kernel overlayfs, {:?} on the subject",
        kernel.skipped,
        subject.skipped
    );
    println!(
        "stress: fsx, seed {seed}: {} operations on kernel overlayfs, {} on the subject, no difference; not supported: {}",
        kernel.operations, subject.operations, subject.skipped
    );
    Ok(())
}

/// What a run came to.
struct Report {
    operations: u64,
    skipped: String,
}

fn one(driver: &Driver, time: Duration, seed: u64) -> Result<Report> {
    let mut ground = Ground::new(driver, LOWER)?;
    std::fs::write(ground.at("new"), "")?;
    let files = ["big", "sparse", "empty", "new"];
    let share = time.as_secs_f64() / 4.0;
    let mut program = tempfile::NamedTempFile::new()?;
    program.write_all(include_bytes!("fsx.py"))?;
    let mut report = Report {
        operations: 0,
        skipped: String::new(),
    };
    for file in files {
        let mut command = Command::new("python3");
        command
            .arg(program.path())
            .arg(ground.at(file))
            .args([share.to_string(), seed.to_string()]);
        if *driver != Driver::Kernel {
            // A mapping of the lower file shows later changes, where the kernel's does not.
            command.env("MICA_OLD_MAPPINGS", "follow");
        }
        let said = quiet(&mut command)?;
        let (count, skipped) = said.trim().split_once(' ').unwrap_or(("0", ""));
        report.operations = report.operations.saturating_add(count.parse()?);
        skipped.clone_into(&mut report.skipped);
    }
    let seen = dump::read(&ground.point)?;
    ground.settle(driver, &seen)?;
    Ok(report)
}
