//! A small disk that can be filled and freed, with an overlay on it.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, statvfs};
use rustix::io::Errno;

use crate::driver::{Driver, Mounted, Stack};
use crate::dump::{self, Dump, Lens};
use crate::image::{Scratch, format};
use crate::oracle::layout;
use crate::run::quiet;

/// Size of the disk.
const MEBIBYTES: u64 = 64;
/// The quota.
const QUOTA: &str = "24M";
/// `d/long` and `big` are longer than what is left of the disk.
const LOWER: &str = "
    d d
    f d/a 0644 0:0 lower-a
    f d/b 0600 1000:1000 lower-b
    f d/c 0644 0:0 c
    f d/moved 0644 0:0 m
    f d/x 0644 0:0 x
    f d/y 4755 0:0 y
    f d/alloc 0644 0:0 alloc
    big d/big
    big d/long
    big big
    x big user.note hello
    d e
    d f
    f f/gone 0644 0:0 gone
    d f/empty
    d g
    l l big
";

/// What a disk can run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Inodes,
    /// On btrfs: this kernel has neither the quota format of ext4 nor the quotas of XFS and tmpfs.
    Quota,
}

impl Kind {
    /// What a change that does not fit is answered.
    pub(super) fn refusal(self) -> Errno {
        match self {
            Self::Space | Self::Inodes => Errno::NOSPC,
            Self::Quota => Errno::DQUOT,
        }
    }
}

/// The disk, and who overlays it, or nobody. The fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Ground {
    mounted: Option<Mounted>,
    kind: Kind,
    stack: Stack,
    point: PathBuf,
    /// Where the tree is that is changed.
    root: PathBuf,
    volume: PathBuf,
    disk: Scratch,
    plain: Scratch,
}

impl Ground {
    pub(super) fn new(kind: Kind, who: Option<&Driver>) -> Result<Self> {
        let plain = Scratch::tmpfs()?;
        let image = plain.path().join("image");
        match kind {
            Kind::Space => format(
                &image,
                MEBIBYTES,
                &["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096"],
            )?,
            Kind::Inodes => {
                let mkfs = [
                    "mkfs.ext4",
                    "-q",
                    "-F",
                    "-m",
                    "0",
                    "-b",
                    "4096",
                    "-N",
                    "128",
                ];
                format(&image, MEBIBYTES, &mkfs)?;
            }
            Kind::Quota => format(&image, 256, &["mkfs.btrfs", "-q", "-f"])?,
        }
        let disk = Scratch::of_image(&image)?;
        let volume = disk.path().join("volume");
        if kind == Kind::Quota {
            let btrfs = |args: &[&str], path: &Path| {
                quiet(Command::new("btrfs").args(args).arg(path)).map(drop)
            };
            btrfs(&["quota", "enable"], disk.path())?;
            btrfs(&["subvolume", "create"], &volume)?;
            btrfs(&["qgroup", "limit", QUOTA], &volume)?;
        } else {
            std::fs::create_dir(&volume)?;
        }
        let lower = plain.path().join("lower");
        std::fs::create_dir(&lower)?;
        layout::write(LOWER, &lower)?;
        let stack = Stack::over(vec![lower], &volume)?;
        let point = stack.point();
        let mut ground = Self {
            root: stack.upper.clone(),
            mounted: None,
            kind,
            stack,
            point,
            volume,
            disk,
            plain,
        };
        std::fs::write(ground.stack.upper.join("upper"), "upper")?;
        if let Some(who) = who {
            ground.mounted = Some(who.mount(&ground.stack, &ground.point)?);
            ground.root = ground.point.clone();
        }
        Ok(ground)
    }

    /// Returns the root of the tree.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path by which the upper has an object of the tree.
    pub(super) fn beneath(&self, path: &Path) -> Result<PathBuf> {
        Ok(self.stack.upper.join(path.strip_prefix(&self.root)?))
    }

    /// Takes space behind the overlay's back until so many blocks are left; of a quota until a little is.
    pub(super) fn leave(&self, blocks: u64) -> Result<()> {
        self.sync()?;
        let ballast = File::create(self.volume.join("ballast"))?;
        let mut at = 0_u64;
        // In pieces that fit: an allocation that fails keeps what it got.
        loop {
            let disk = statvfs(self.disk.path())?;
            let take = disk.f_bfree.saturating_sub(blocks).min(256);
            let bytes = take.saturating_mul(disk.f_bsize);
            if bytes == 0 {
                break;
            }
            match rustix::fs::fallocate(&ballast, FallocateFlags::empty(), at, bytes) {
                Ok(()) => at = at.saturating_add(bytes),
                // The quota ends before the disk does. A little of it is left for the test.
                Err(Errno::DQUOT) => {
                    rustix::fs::ftruncate(&ballast, at.saturating_sub(4 << 20))?;
                    break;
                }
                Err(errno) => return Err(errno).context("cannot fill the disk"),
            }
        }
        self.sync()?;
        Ok(())
    }

    /// Takes all space or all inodes.
    pub(super) fn fill(&self) -> Result<()> {
        let dir = self.volume.join("ballast.d");
        std::fs::create_dir(&dir)?;
        if self.kind == Kind::Inodes {
            for number in 0..1000 {
                if File::create(dir.join(number.to_string())).is_err() {
                    break;
                }
            }
            return self.sync();
        }
        let file = File::create(dir.join("blocks"))?;
        let (mut at, mut len) = (0, 1 << 20);
        while len > 0 {
            match rustix::io::pwrite(&file, &vec![1; len], at) {
                Ok(count) => at = at.saturating_add(u64::try_from(count)?),
                Err(Errno::NOSPC | Errno::DQUOT) => len /= 2,
                Err(errno) => return Err(errno).context("cannot fill the disk"),
            }
        }
        // On btrfs, writing out what was taken needs room that is no longer there.
        match rustix::fs::fsync(&file) {
            Ok(()) | Err(Errno::DQUOT) => self.sync(),
            Err(errno) => Err(errno).context("cannot fill the disk"),
        }
    }

    /// Gives all of it back.
    pub(super) fn free(&self) -> Result<()> {
        let quota = |limit: &str| -> Result<()> {
            if self.kind == Kind::Quota {
                let args = ["qgroup", "limit", limit];
                quiet(Command::new("btrfs").args(args).arg(&self.volume))?;
            }
            Ok(())
        };
        // Over its quota a volume has no room to remove a file.
        quota("none")?;
        for name in ["ballast", "ballast.d"] {
            let path = self.volume.join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(&path)?;
            } else if path.exists() {
                std::fs::remove_file(&path)?;
            }
        }
        self.sync()?;
        quota(QUOTA)
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(self.disk.path())?).context("cannot sync the disk")
    }

    /// The work directory holds nothing but the whiteout that others are links to.
    pub(super) fn expect_clean_work(&self) -> Result<()> {
        let dir = self.stack.work.join("work");
        let mut left = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if !(meta.file_type().is_char_device() && meta.rdev() == 0) {
                left.push(entry.file_name());
            }
        }
        ensure!(left.is_empty(), "left in the work directory: {left:?}");
        Ok(())
    }

    /// Mounts by the kernel what the subject left, and compares.
    pub(super) fn compare_with_kernel(&self, here: &Dump) -> Result<()> {
        let point = self.plain.path().join("other");
        std::fs::create_dir(&point)?;
        // The subject's mount is idle; the kernel warns of an upper in use, and reads it.
        let copy = self.plain.path().join("copy");
        std::fs::create_dir(&copy)?;
        for (from, to) in [(&self.stack.upper, "upper"), (&self.stack.work, "work")] {
            let to = copy.join(to);
            quiet(Command::new("cp").arg("-a").arg(from).arg(to))?;
        }
        let stack = Stack::over(self.stack.lowers.clone(), &copy)?;
        let mounted = Driver::Kernel.mount(&stack, &point)?;
        let mut there = dump::read(&point)?;
        mounted.unmount()?;
        dump::plain(&mut there);
        let lines = dump::compare(here, &there, ("the subject", "kernel"), Lens::default());
        ensure!(lines.is_empty(), "{}", lines.join("\n"));
        Ok(())
    }

    /// Unmounts.
    pub(super) fn end(mut self) -> Result<()> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }
}
