//! pjdfstest on kernel overlayfs and on Mica, over the same ext4, in one run.
//!
//! Every overlay refuses to make a device 0:0, which many of the tests want; so the measure is not "no failure" but
//! "no failure that kernel overlayfs does not have".

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::driver::{Driver, Stack, Subject};
use crate::image::Scratch;
use crate::repo::Profile;
use crate::run::find_program;

/// What one run said.
#[derive(Debug, Default)]
struct Verdicts {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    skipped: usize,
}

/// Runs pjdfstest on both and compares.
pub(crate) fn pjdfstest(subject: Subject) -> Result<()> {
    let subject = subject.driver(Profile::Dev)?;
    let disk = Scratch::ext4(1024)?;
    let other = Scratch::tmpfs()?;
    let kernel = run_on(&Driver::Kernel, &disk, &other)?;
    let mica = run_on(&subject, &disk, &other)?;
    for (name, verdicts) in [("kernel overlayfs", &kernel), (subject.name(), &mica)] {
        println!(
            "pjdfstest on {name}: {} passed, {} failed, {} skipped",
            verdicts.passed.len(),
            verdicts.failed.len(),
            verdicts.skipped
        );
    }
    if kernel.passed.is_empty() {
        bail!("pjdfstest passed nothing on kernel overlayfs: its output is not understood");
    }
    let worse: Vec<_> = kernel.passed.difference(&mica.passed).cloned().collect();
    let better = mica.passed.difference(&kernel.passed).count();
    println!("pjdfstest: {better} pass on {} only", subject.name());
    if !worse.is_empty() {
        bail!(
            "pass on kernel overlayfs but not on {}:\n  {}",
            subject.name(),
            worse.join("\n  ")
        );
    }
    Ok(())
}

fn run_on(driver: &Driver, disk: &Scratch, other: &Scratch) -> Result<Verdicts> {
    let base = disk.path().join(driver.name());
    let stack = Stack::below(&base)?;
    let point = stack.point();
    let config = base.join("pjdfstest.toml");
    std::fs::write(&config, include_str!("pjdfstest.toml"))?;
    let mounted = driver.mount(&stack, &point)?;
    let verdicts = run_suite(&config, &point, other.path())?;
    mounted.unmount()?;
    Ok(verdicts)
}

fn run_suite(config: &Path, point: &Path, other: &Path) -> Result<Verdicts> {
    let program = find_program("pjdfstest").context("pjdfstest is not installed")?;
    // Its status only says whether anything failed.
    let output = Command::new(program)
        .arg("--configuration-file")
        .arg(config)
        .arg("--path")
        .arg(point)
        .arg("--secondary-fs")
        .arg(other)
        .env("NO_COLOR", "1")
        .output()
        .context("cannot start pjdfstest")?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads lines of the form `unlink::enoent   ok`.
fn parse(text: &str) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for line in text
        .lines()
        .filter(|line| !line.starts_with(char::is_whitespace))
    {
        let mut words = line.split_whitespace();
        let (Some(name), Some(verdict), None) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        match verdict {
            "ok" => _ = verdicts.passed.insert(name.to_owned()),
            "FAILED" => _ = verdicts.failed.insert(name.to_owned()),
            "skipped" => verdicts.skipped = verdicts.skipped.saturating_add(1),
            _ => {}
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn verdicts_are_read_and_messages_are_not() {
        let verdicts = parse(
            "unlink::a   ok\nunlink::b::char  FAILED\n\tcalled `Result::unwrap()` on an `Err` value: EPERM\n\
             chmod::c   skipped\n\tneeds root\n\nSummary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total\n",
        );
        assert!(verdicts.passed.contains("unlink::a"));
        assert!(verdicts.failed.contains("unlink::b::char"));
        assert_eq!(
            (
                verdicts.passed.len(),
                verdicts.failed.len(),
                verdicts.skipped
            ),
            (1, 1, 1)
        );
    }
}
