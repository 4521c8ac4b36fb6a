//! Leaving a test out, so that it is counted.

use std::path::PathBuf;

/// What a test lacks. It was reported: the test returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing;

/// Reports that `test` is left out, on stderr. With `MICA_REQUIRE_ALL=1` that is a failure.
#[expect(clippy::print_stderr, reason = "a skip is counted by what it prints")]
pub fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var_os("MICA_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "{test} would be skipped: {reason}"
    );
    eprintln!("SKIPPED {test}: {reason}");
}

/// Leaves `test` out unless it runs as root.
///
/// # Errors
///
/// [`Missing`]: the caller returns.
pub fn require_root(test: &str) -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    skip(test, "needs root");
    Err(Missing)
}

/// Leaves `test` out unless a program is in `PATH`, and tells where.
///
/// # Errors
///
/// [`Missing`]: the caller returns.
pub fn require_program(test: &str, name: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file());
    found.ok_or_else(|| {
        skip(test, &format!("needs the program `{name}`"));
        Missing
    })
}

/// Leaves `test` out unless /dev/fuse can be opened.
///
/// # Errors
///
/// [`Missing`]: the caller returns.
pub fn require_fuse(test: &str) -> Result<(), Missing> {
    let fuse = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    match fuse {
        Ok(_) => Ok(()),
        Err(error) => {
            skip(test, &format!("needs /dev/fuse: {error}"));
            Err(Missing)
        }
    }
}
