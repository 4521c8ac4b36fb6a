//! The filesystem class of stress-ng, with `--verify`.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{ground::Ground, side_by_side};
use crate::driver::Driver;

/// Programs that look at no filesystem of their directory, or change the machine: /proc, bind mounts, devices, priorities.
const LEFT_OUT: &[&str] = &["bind-mount", "binderfs", "procfs", "ioprio"];

/// What FUSE does not carry, so that it is skipped.
const NOT_CARRIED: &[&str] = &["fiemap"];

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Skipped,
    Failed,
}

/// Runs each program for `time` on both drivers.
pub(super) fn stress_ng(subject: &Driver, time: Duration) -> Result<()> {
    let programs = programs()?;
    let (kernel, subject) = side_by_side(subject, |driver| all(driver, &programs, time))?;
    let mut worse = Vec::new();
    for (program, (end, said)) in &subject {
        let Some((theirs, _)) = kernel.get(program) else {
            continue;
        };
        if end != theirs {
            println!(
                "stress-ng: {program}: {theirs:?} on kernel overlayfs, {end:?} on the subject"
            );
        }
        let allowed = *end == End::Skipped && NOT_CARRIED.contains(&program.as_str());
        if *end != End::Passed && end != theirs && !allowed {
            worse.push(format!("{program}: {said}"));
        }
    }
    let count = |ends: &Ends, wanted: End| {
        let names = ends.iter().filter(|(_, (end, _))| *end == wanted);
        names.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    println!(
        "stress: stress-ng: {} programs; on the subject {} passed, skipped {:?}, failed {:?}; on kernel overlayfs \
         skipped {:?}, failed {:?}",
        programs.len(),
        count(&subject, End::Passed).len(),
        count(&subject, End::Skipped),
        count(&subject, End::Failed),
        count(&kernel, End::Skipped),
        count(&kernel, End::Failed),
    );
    ensure!(
        worse.is_empty(),
        "failures and skips that kernel overlayfs does not have:\n{}",
        worse.join("\n")
    );
    Ok(())
}

type Ends = BTreeMap<String, (End, String)>;

/// Returns the names of the class.
fn programs() -> Result<Vec<String>> {
    let said = Command::new("stress-ng")
        .args(["--class", "filesystem?"])
        .output()
        .context("cannot start stress-ng")?;
    let text =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    let (_, names) = text
        .split_once("stressors: ")
        .with_context(|| format!("stress-ng names no programs of the class:\n{text}"))?;
    Ok(names
        .split_whitespace()
        .filter(|name| !LEFT_OUT.contains(name))
        .map(str::to_owned)
        .collect())
}

fn all(driver: &Driver, programs: &[String], time: Duration) -> Result<Ends> {
    let mut ground = Ground::new(driver, "d here 1777\n")?;
    let mut ends = Ends::new();
    for program in programs {
        ends.insert(program.clone(), one(&ground, program, time)?);
    }
    // What a program that was stopped left behind is of no interest: nothing of it may stay in the work directory.
    let seen = crate::dump::read(&ground.point)?;
    ground.settle(driver, &seen)?;
    Ok(ends)
}

fn one(ground: &Ground, program: &str, time: Duration) -> Result<(End, String)> {
    let seconds = time.as_secs().max(1);
    // Two of each, with a bound for those that go on for as long as the disk has room.
    let output = Command::new("timeout")
        .args(["-k", "10", &seconds.saturating_add(60).to_string()])
        .args(["stress-ng", "--verify", "--oomable", "--hdd-bytes", "64M"])
        .args(["--temp-path".as_ref(), ground.at("here").as_os_str()])
        .args([&format!("--{program}"), "2", "-t", &format!("{seconds}s")])
        .stdin(Stdio::null())
        .output()
        .context("cannot start stress-ng")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let end = match output.status.code() {
        // 3: not there on this machine; 4: not implemented.
        Some(3 | 4) => End::Skipped,
        Some(0) if text.contains("skipping stressor") || text.contains("skipped: 1") => {
            End::Skipped
        }
        Some(0) => End::Passed,
        Some(2 | 5..) => End::Failed,
        _ => bail!(
            "stress-ng --{program} ended with {}:\n{text}",
            output.status
        ),
    };
    Ok((end, text))
}
