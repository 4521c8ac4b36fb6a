//! Every fuzz target for a short while.

use anyhow::{Context, Result, bail};

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
    // All are built first, so that the time of each is spent in the target.
    run(fuzz_command()?.arg("build"))?;
    for target in list.lines() {
        println!("fuzz target {target}, {SECONDS} s");
        let seconds = format!("-max_total_time={SECONDS}");
        // The corpus of a run stays out of the checkout.
        let corpus = repo::cache_dir(&format!("corpus-{target}"))?;
        run(fuzz_command()?.args(["run", target]).arg(corpus).args([
            "--",
            &seconds,
            "-rss_limit_mb=2048",
            "-timeout=10",
            "-print_final_stats=1",
            "-verbosity=0",
        ]))
        .with_context(|| format!("target {target}"))?;
    }
    Ok(())
}

fn fuzz_command() -> Result<std::process::Command> {
    let mut command = repo::cargo()?;
    // libFuzzer needs unstable flags; see the sanitizer tier.
    command
        .arg("fuzz")
        .current_dir(repo::root()?.join("fuzz"))
        .env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}
