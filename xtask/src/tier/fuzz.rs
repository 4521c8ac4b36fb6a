//! Every fuzz target for a short while.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::sanitizer::host_triple;
use crate::driver::Subject;
use crate::repo;
use crate::run::{quiet, run};

/// Seconds per target.
const SECONDS: u32 = 30;

/// Runs all targets of `fuzz/`.
pub(crate) fn fuzz(_subject: Subject) -> Result<()> {
    let list = quiet(fuzz_command()?.arg("list"))?;
    if list.trim().is_empty() {
        bail!("fuzz/ has no targets");
    }
    // Built at once and started here: `cargo fuzz run` would build each again.
    run(fuzz_command()?.arg("build"))?;
    let programs = repo::cache_dir("fuzz")?
        .join(host_triple()?)
        .join("release");
    let found = repo::cache_dir("fuzz-found")?;
    for target in list.lines() {
        println!("fuzz target {target}, {SECONDS} s");
        run(Command::new(programs.join(target))
            // What earlier runs learned stays in the target directory, out of the checkout.
            .arg(repo::cache_dir(&format!("corpus-{target}"))?)
            .arg(format!("-max_total_time={SECONDS}"))
            .arg(format!("-artifact_prefix={}/{target}-", found.display()))
            .args([
                "-rss_limit_mb=2048",
                "-timeout=10",
                "-verbosity=0",
                "-print_final_stats=1",
            ])
            // As cargo-fuzz sets it: Rust's own statics would be reported.
            .env("ASAN_OPTIONS", "detect_odr_violation=0"))
        .with_context(|| {
            format!(
                "target {target}: the input that shows it is in {}",
                found.display()
            )
        })?;
    }
    Ok(())
}

fn fuzz_command() -> Result<Command> {
    let mut command = repo::cargo()?;
    command
        .arg("fuzz")
        .current_dir(repo::root()?.join("fuzz"))
        // libFuzzer needs unstable flags; see the sanitizer tier.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", repo::cache_dir("fuzz")?);
    Ok(command)
}
