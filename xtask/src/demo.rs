//! The tour of the README as one command: an overlay on real directories, in a directory that goes away afterwards.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::private::is_root;
use crate::repo::{Profile, build_mica};
use crate::run::run;

/// Builds Mica, mounts an overlay, changes a file through it, and checks that the lower is as it was.
///
/// A user who is not root does it in a user namespace, with the overlay's marks in `user.*`.
pub(crate) fn demo() -> Result<()> {
    let mica = build_mica(Profile::Release)?;
    let dir = tempfile::tempdir().context("cannot make a directory for the tour")?;
    let root = is_root();
    let mut command = if root {
        Command::new("sh")
    } else {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh"]);
        unshare
    };
    command
        .args(["-c", include_str!("demo.sh"), "demo"])
        .arg(dir.path())
        .arg(if root { "" } else { ",userxattr" })
        .env("PATH", with_first(mica.parent().unwrap_or(Path::new("/")))?);
    run(&mut command)?;
    for (file, text) in [("file", "the original\n"), ("other", "never changed\n")] {
        let path = dir.path().join("lower").join(file);
        let found = std::fs::read_to_string(&path)?;
        ensure!(found == text, "{} was changed: {found:?}", path.display());
    }
    println!("\nthe lower is as it was; the change is in the upper");
    Ok(())
}

/// Returns `PATH` with `dir` before the rest.
fn with_first(dir: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).context("a directory of PATH cannot be joined")
}
