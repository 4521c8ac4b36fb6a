//! Scratch filesystems: a fresh ext4 in a sparse file, or a tmpfs.
//!
//! Measurements and tests want a filesystem nobody has used: creation on an aged ext4 varies by a factor of five.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::quiet;

/// A mounted scratch filesystem. Dropping it unmounts it and removes its image.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Holds the image and the mount point.
    dir: tempfile::TempDir,
    point: PathBuf,
}

impl Scratch {
    /// Makes and mounts an ext4 of `mebibytes`, in a sparse file under `parent`.
    pub(crate) fn ext4(parent: &Path, mebibytes: u64) -> Result<Self> {
        let scratch = Self::unmounted(parent)?;
        let image = scratch.dir.path().join("image");
        let file = File::create(&image).context("cannot make an image")?;
        file.set_len(mebibytes.saturating_mul(1 << 20))
            .context("cannot size an image")?;
        // Lazy initialisation would write in the background, into the next measurement.
        quiet(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        quiet(
            Command::new("mount")
                .args(["-o", "loop,noatime"])
                .arg(&image)
                .arg(&scratch.point),
        )?;
        Ok(scratch)
    }

    /// Mounts a tmpfs.
    pub(crate) fn tmpfs(parent: &Path) -> Result<Self> {
        let scratch = Self::unmounted(parent)?;
        quiet(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "noatime,mode=755", "tmpfs"])
                .arg(&scratch.point),
        )?;
        Ok(scratch)
    }

    fn unmounted(parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("mica-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        // Tests act as other users, who must reach the mount point.
        open_to_all(dir.path())?;
        let point = dir.path().join("fs");
        std::fs::create_dir(&point).context("cannot make a mount point")?;
        Ok(Self { dir, point })
    }

    /// Returns the root directory of the filesystem.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = quiet(Command::new("umount").arg(&self.point)) {
            eprintln!("warning: {error}");
            // A lazy unmount lets the image's directory be removed; the loop device goes with the last user.
            drop(quiet(Command::new("umount").arg("-l").arg(&self.point)));
        }
    }
}

/// Gives everybody the right to walk through `dir`.
pub(crate) fn open_to_all(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot chmod {}", dir.display()))
}
