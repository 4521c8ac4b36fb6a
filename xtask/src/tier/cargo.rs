//! The tiers that cargo's own test runner drives.

use anyhow::Result;

use crate::driver::Subject;
use crate::repo;
use crate::run::run;

/// Tests of every crate but the program's: they need no mount.
pub(crate) fn unit(_subject: Subject) -> Result<()> {
    // `--show-output` lets the SKIPPED lines of tests that pass through.
    run(repo::cargo()?
        .args([
            "test",
            "--quiet",
            "--locked",
            "--workspace",
            "--exclude",
            "mica-cli",
            "--no-fail-fast",
        ])
        .args(["--", "--show-output"]))
}

/// Tests of the program: they mount where they may.
pub(crate) fn mount(_subject: Subject) -> Result<()> {
    run(repo::cargo()?
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "mica-cli",
            "--no-fail-fast",
        ])
        .args(["--", "--show-output"]))
}
