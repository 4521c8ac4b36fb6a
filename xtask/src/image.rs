//! Scratch filesystems: a fresh ext4 in a sparse file, or a tmpfs.
//!
//! Measurements and tests want a filesystem nobody has used: creation on an aged ext4 varies by a factor of five.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::driver::detach;
use crate::repo;
use crate::run::quiet;

/// A mounted scratch filesystem. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Holds the mount point. In the directory for temporary files, for its short name: tests build paths of just
    /// under `PATH_MAX` below it.
    _dir: TempDir,
    point: PathBuf,
}

impl Scratch {
    /// Makes and mounts an ext4 of `mebibytes`, in a sparse file under the target directory.
    pub(crate) fn ext4(mebibytes: u64) -> Result<Self> {
        Self::ext4_with(mebibytes, &[])
    }

    /// The same, with room for so many `inodes`.
    pub(crate) fn ext4_of(mebibytes: u64, inodes: u64) -> Result<Self> {
        Self::ext4_with(mebibytes, &["-N", &inodes.to_string()])
    }

    fn ext4_with(mebibytes: u64, options: &[&str]) -> Result<Self> {
        let home = tempdir(&repo::cache_dir("images")?)?;
        let image = home.path().join("image");
        let file = File::create(&image).context("cannot make an image")?;
        file.set_len(mebibytes.saturating_mul(1 << 20))
            .context("cannot size an image")?;
        // Lazy initialisation would write in the background, into the next measurement.
        let eager = "lazy_itable_init=0,lazy_journal_init=0";
        quiet(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", eager])
                .args(options)
                .arg(&image),
        )?;
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,noatime"]).arg(&image);
        // The image's name goes here, with `home`; the loop device keeps the file until the unmount.
        Self::mount(mount)
    }

    /// Mounts the filesystem in the file or on the device `image`.
    pub(crate) fn of_image(image: &Path) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,noatime"]).arg(image);
        Self::mount(mount)
    }

    /// Mounts a tmpfs.
    pub(crate) fn tmpfs() -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "noatime,mode=755", "tmpfs"]);
        Self::mount(mount)
    }

    fn mount(mut mount: Command) -> Result<Self> {
        let dir = tempdir(&std::env::temp_dir())?;
        // Tests act as other users, who must reach the mount point.
        open_to_all(dir.path())?;
        let point = dir.path().join("fs");
        std::fs::create_dir(&point).context("cannot make a mount point")?;
        quiet(mount.arg(&point))?;
        Ok(Self { _dir: dir, point })
    }

    /// Returns the root directory of the filesystem.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = detach(&self.point) {
            eprintln!("warning: cannot unmount {}: {error}", self.point.display());
            // A lazy unmount lets the image's directory be removed; the loop device goes with the last user.
            drop(quiet(Command::new("umount").arg("-l").arg(&self.point)));
        }
    }
}

/// Makes a file of `mebibytes` without blocks, and a filesystem in it by `mkfs`, a program with its arguments.
pub(crate) fn format(image: &Path, mebibytes: u64, mkfs: &[&str]) -> Result<()> {
    let file = File::create(image).context("cannot make an image")?;
    file.set_len(mebibytes.saturating_mul(1 << 20))
        .context("cannot size an image")?;
    make_filesystem(image, mkfs)
}

/// Makes a filesystem in a file that is there.
pub(crate) fn make_filesystem(image: &Path, mkfs: &[&str]) -> Result<()> {
    let (program, args) = mkfs.split_first().context("no mkfs")?;
    quiet(Command::new(program).args(args).arg(image))?;
    Ok(())
}

fn tempdir(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("mica-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))
}

/// Makes a directory, with those above it, that everybody may walk through.
pub(crate) fn make_open(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    open_to_all(dir)?;
    Ok(dir.to_path_buf())
}

/// Gives everybody the right to walk through `dir`.
pub(crate) fn open_to_all(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot chmod {}", dir.display()))
}
