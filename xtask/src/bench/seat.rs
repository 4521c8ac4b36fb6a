//! One contestant with a disk of its own, a lower with everything that the rows need, and its mount.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::driver::{Driver, Mounted, Stack};
use crate::image::Scratch;
use crate::repo::{self, Profile};
use crate::rng::Rng;
use crate::run::{cargo_bin, quiet};

/// The contestants, in the order of the table.
pub(crate) const NAMES: [&str; 4] = ["kernel", "mica", "fuse-overlayfs-1", "fuse-overlayfs-2"];

/// Returns the driver of a contestant, nothing if it is not installed.
pub(crate) fn driver(name: &str) -> Result<Option<Driver>> {
    let installed = |path: PathBuf| path.is_file().then_some(Driver::FuseOverlayfs(path));
    Ok(match name {
        "kernel" => Some(Driver::Kernel),
        "mica" => Some(Driver::Mica(repo::build_mica(Profile::Release)?)),
        // The C program, as Debian packs it.
        "fuse-overlayfs-1" => installed(PathBuf::from("/usr/bin/fuse-overlayfs")),
        // The rewrite, by `cargo install fuse-overlayfs`.
        _ => cargo_bin().and_then(|bin| installed(bin.join("fuse-overlayfs"))),
    })
}

/// Files of the small-file tree, in 20 directories.
pub(crate) const SMALL_FILES: u64 = 2000;
/// Files that a round appends to.
pub(crate) const APPENDS: u64 = 500;
/// Files of the git repository and of the archive.
const MANY_FILES: u64 = 3000;

/// A contestant.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) name: &'static str,
    driver: Driver,
    stack: Stack,
    point: PathBuf,
    /// Dropped before the disk, by the order of the fields.
    mounted: Option<Mounted>,
    disk: Scratch,
}

impl Seat {
    /// Makes the disk and its lower, and mounts.
    pub(crate) fn new(name: &'static str, driver: Driver, rounds: u64) -> Result<Self> {
        let disk = Scratch::ext4(8192)?;
        let stack = Stack::below(disk.path())?;
        fill_lower(stack.lower()?, rounds)?;
        make_archive(disk.path())?;
        let point = stack.point();
        let mut seat = Self {
            name,
            driver,
            stack,
            point,
            mounted: None,
            disk,
        };
        seat.remount()?;
        Ok(seat)
    }

    /// Returns the path of `name` in the mount.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// Returns the archive that is unpacked, outside the mount.
    pub(crate) fn archive(&self) -> PathBuf {
        self.disk.path().join("archive.tar")
    }

    /// Ends the mount and mounts again: whatever was cached by it is gone.
    pub(crate) fn remount(&mut self) -> Result<()> {
        self.mounted.take().map(Mounted::unmount).transpose()?;
        self.mounted = Some(self.driver.mount(&self.stack, &self.point)?);
        Ok(())
    }

    /// Writes everything to the disk, so that the next measurement does not pay for the last.
    pub(crate) fn settle(&self) -> Result<()> {
        let root = File::open(self.disk.path())?;
        rustix::fs::syncfs(&root).context("cannot sync the disk")
    }

    /// Unmounts.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }
}

fn fill_lower(lower: &Path, rounds: u64) -> Result<()> {
    let data = vec![b'x'; 6 << 10];
    for number in 0..SMALL_FILES {
        write_in(lower, &format!("tree/dir{}", number % 20), number, &data)?;
    }
    for round in 0..rounds {
        for number in 0..APPENDS {
            write_in(lower, &format!("append/round{round}"), number, &data)?;
        }
    }
    let repository = lower.join("repo");
    for number in 0..MANY_FILES {
        write_in(
            lower,
            &format!("repo/src/module{}", number % 60),
            number,
            format!("file {number}\n").as_bytes(),
        )?;
    }
    for words in [
        &["init", "-q"][..],
        &["add", "."],
        &["commit", "-q", "-m", "all"],
    ] {
        quiet(super::rows::git(&repository).args(words))?;
    }
    Ok(())
}

fn write_in(root: &Path, dir: &str, number: u64, data: &[u8]) -> Result<()> {
    let dir = root.join(dir);
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join(format!("file{number}")), data)?)
}

/// Makes a tar of 3,000 files and 60 MB whose content does not compress or deduplicate.
fn make_archive(disk: &Path) -> Result<()> {
    let tree = disk.join("unpacked");
    let mut rng = Rng::new(1);
    let mut data = Vec::new();
    for number in 0..MANY_FILES {
        data.clear();
        let words = rng.below(5000);
        data.extend((0..words).flat_map(|_| rng.next().to_le_bytes()));
        write_in(
            &tree,
            &format!("package{}/lib", number % 100),
            number,
            &data,
        )?;
    }
    let mut tar = Command::new("tar");
    quiet(
        tar.arg("-cf")
            .arg(disk.join("archive.tar"))
            .arg("-C")
            .arg(&tree)
            .arg("."),
    )?;
    Ok(std::fs::remove_dir_all(&tree)?)
}
