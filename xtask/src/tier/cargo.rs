//! The tiers that cargo's own test runner drives.

use anyhow::Result;

use crate::driver::Subject;
use crate::need::apart;
use crate::repo;
use crate::run::run;

/// Tests of every crate but the program's: they need no mount. Those of the fault tier are left to it.
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
        .args(["--", "--show-output", "--skip", FAULTS]))
}

/// The module of the tests that strike each call of a layer.
const FAULTS: &str = "struck::";

/// Tests that strike each call of a layer. What they struck is in their output.
pub(crate) fn faults(_subject: Subject) -> Result<()> {
    run(repo::cargo()?
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "mica-overlay",
            "--test",
            "faults",
        ])
        .args(["--", "--show-output", FAULTS]))
}

/// Tests of the program: they mount where they may.
pub(crate) fn mount(_subject: Subject) -> Result<()> {
    let newer = apart("fuse-overlayfs")?;
    run(repo::cargo()?
        .env("MICA_FUSE_OVERLAYFS", newer)
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
