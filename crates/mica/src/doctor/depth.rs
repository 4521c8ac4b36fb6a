//! How many filesystems lie on each other at a directory.
//!
//! The kernel counts and tells nobody. What can be seen are the layers that mount tables name, as far as their paths lead
//! anywhere from here. A FUSE mount counts as none: one of Mica is none, as it asks for no passthrough, and what a server asks
//! for that does is shown nowhere.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::layers::magic;
use crate::mountinfo::mounts;
use crate::options::{cut, unescape};

/// `FILESYSTEM_MAX_STACK_DEPTH`
pub(super) const MAX: u32 = 2;
/// Where looking ends: a path may lead back to where it was found.
const LOOKS: u32 = 8;

/// Counts the filesystems below the one of `path` that lie on others; more than [`MAX`] are never mounted.
pub(super) fn of(path: &Path) -> u32 {
    match fs::read("/proc/self/mountinfo") {
        Ok(table) => count(path, &table, LOOKS),
        Err(_) => 0,
    }
}

fn count(path: &Path, table: &[u8], looks: u32) -> u32 {
    let Ok(statfs) = rustix::fs::statfs(path) else {
        return 0;
    };
    match u32::try_from(statfs.f_type & 0xffff_ffff).unwrap_or_default() {
        // It counts as if nothing could lie on it.
        magic::PROC => MAX,
        magic::OVERLAY if looks > 0 => 1 + layers(path, table, looks - 1),
        magic::OVERLAY => 1,
        _ => 0,
    }
}

/// Returns the most that one of the layers of an overlay has.
fn layers(path: &Path, table: &[u8], looks: u32) -> u32 {
    let empty = AtFlags::empty();
    let Ok(stat) = rustix::fs::statx(CWD, path, empty, StatxFlags::BASIC_STATS) else {
        return 0;
    };
    let dev = format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor);
    let Some(mount) = mounts(table).find(|mount| mount.dev == dev.as_bytes()) else {
        return 0;
    };
    let mut dirs: Vec<PathBuf> = Vec::new();
    for option in ["lowerdir", "lowerdir+", "datadir+", "upperdir"] {
        let Some(value) = mount.option(option) else {
            continue;
        };
        let parts = cut(&value, b':').filter(|part| !part.is_empty());
        dirs.extend(parts.map(|part| PathBuf::from(OsString::from_vec(unescape(part)))));
    }
    let counts = dirs.iter().map(|dir| count(dir, table, looks));
    counts.max().unwrap_or(0)
}
