//! The only crate with unsafe code, under AddressSanitizer.

use anyhow::{Context, Result};

use crate::driver::Subject;
use crate::repo;
use crate::run::{quiet, run};

/// Runs the tests of `mica-sys` under AddressSanitizer.
pub(crate) fn sanitizer(_subject: Subject) -> Result<()> {
    let host = host_triple()?;
    // The sanitizers are unstable flags. RUSTC_BOOTSTRAP lets the toolchain that builds everything else take them, so
    // that no second compiler is needed and the code under test is the code that ships.
    run(repo::cargo()?
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "mica-sys",
            "--lib",
            "--tests",
            "--target",
            &host,
        ])
        .args(["--", "--show-output"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", repo::cache_dir("asan")?))
}

/// Returns the target triple of this machine.
pub(crate) fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = quiet(std::process::Command::new(rustc).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}
