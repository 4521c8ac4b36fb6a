//! Where things are in the repository, and how its programs are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::run;

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// With debug assertions: lock ranks are checked.
    Dev,
    /// As users get it.
    Release,
    /// As `Dev`, with faults that can be asked for, and counting which rules take effect.
    Planted,
}

/// Returns the root of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest
        .parent()
        .context("xtask lies at the root of the file system")?;
    Ok(root.to_path_buf())
}

/// Returns cargo's target directory.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(dir).context("cannot make CARGO_TARGET_DIR absolute"),
        None => Ok(root()?.join("target")),
    }
}

/// Returns a directory of xtask's own under the target directory, made if need be.
pub(crate) fn cache_dir(name: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join("xtask").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Returns a cargo command at the root of the checkout, by the toolchain that runs xtask.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()?);
    Ok(cargo)
}

/// Builds `mica` and returns the program's path.
pub(crate) fn build_mica(profile: Profile) -> Result<PathBuf> {
    let planted = cache_dir("planted")?;
    let mut cargo = cargo()?;
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "mica-cli",
        "--bin",
        "mica",
    ]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
        // Elsewhere, so that nobody takes it for the program itself.
        Profile::Planted => {
            cargo.args(["--features", "planted", "--target-dir"]);
            cargo.arg(&planted);
            "debug"
        }
    };
    run(&mut cargo)?;
    let target = if profile == Profile::Planted {
        planted
    } else {
        target_dir()?
    };
    Ok(target.join(folder).join("mica"))
}
