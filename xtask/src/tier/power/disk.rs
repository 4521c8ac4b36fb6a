//! A disk whose state at any moment can be had, with or without what lies in its write cache.
//!
//! Four floors. At the bottom a btrfs, which copies a file in an instant and as it is at that instant (`FICLONE` keeps
//! writers out). On it the file *platter*, and in that an ext4 with one file, *device*, all blocks of which are there and
//! written. In the device the filesystem that is tested. What the tested filesystem writes lies in the page cache of
//! *device* until it asks for a flush, which the loop driver turns into an fsync of *device*: only then it comes to the
//! platter. So the page cache is the disk's write cache, and a copy of the platter is a disk whose power failed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise, ioctl_ficlone, syncfs};

use crate::image::{Scratch, format, make_filesystem};
use crate::rng::Rng;
use crate::run::quiet;

/// Size of the tested filesystem.
const MEBIBYTES: u64 = 256;
const EXT4: &[&str] = &[
    "mkfs.ext4",
    "-q",
    "-F",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0",
];

/// What becomes of the disk's write cache when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// All that was not flushed is lost.
    Lost,
    /// Some of it came to the platter, in no order.
    Torn,
    /// Nearly all of it came to the platter.
    Kept,
}

/// A copy of the platter.
#[derive(Debug)]
pub(crate) struct Cut {
    platter: PathBuf,
    pub(crate) cache: Cache,
}

/// The bottom, where platters lie.
#[derive(Debug)]
pub(crate) struct Room {
    btrfs: Scratch,
    _memory: Scratch,
}

/// A disk in use. The floors are unmounted from the top.
#[derive(Debug)]
pub(crate) struct Disk {
    top: Scratch,
    middle: Scratch,
    room: Room,
}

impl Disk {
    /// Makes a disk with an empty ext4.
    pub(crate) fn new() -> Result<Self> {
        let memory = Scratch::tmpfs()?;
        let image = memory.path().join("image");
        format(&image, 4096, &["mkfs.btrfs", "-q", "-f"])?;
        let room = Room {
            btrfs: Scratch::of_image(&image)?,
            _memory: memory,
        };
        let platter = room.btrfs.path().join("platter");
        format(&platter, MEBIBYTES + 128, EXT4)?;
        let middle = Scratch::of_image(&platter)?;
        let device = middle.path().join("device");
        let mut file = File::create(&device)?;
        let block = vec![0; 1 << 20];
        for _ in 0..MEBIBYTES {
            file.write_all(&block).context("cannot fill the device")?;
        }
        file.sync_all()?;
        make_filesystem(&device, EXT4)?;
        let top = Scratch::of_image(&device)?;
        Ok(Self { top, middle, room })
    }

    /// Returns the root of the tested filesystem.
    pub(crate) fn path(&self) -> &Path {
        self.top.path()
    }

    /// Brings all to the platter.
    pub(crate) fn sync(&self) -> Result<()> {
        syncfs(File::open(self.path())?).context("cannot sync the disk")
    }

    /// Copies the platter as it is now.
    pub(crate) fn cut(&self, number: u64, cache: Cache, rng: &mut Rng) -> Result<Cut> {
        let device = File::open(self.middle.path().join("device"))?;
        let write_out = |offset, len| {
            // Starts writing, and does not wait: what comes to the platter in time is chance.
            fadvise(
                &device,
                offset,
                std::num::NonZeroU64::new(len),
                Advice::DontNeed,
            )
        };
        match cache {
            Cache::Lost => {}
            Cache::Torn => {
                for _ in 0..MEBIBYTES / 2 {
                    write_out(rng.below(MEBIBYTES << 20) & !0xfff, 1 << 20)?;
                }
            }
            Cache::Kept => {
                write_out(0, MEBIBYTES << 20)?;
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let from = File::open(self.room.btrfs.path().join("platter"))?;
        let platter = self.room.btrfs.path().join(format!("cut{number}"));
        ioctl_ficlone(File::create(&platter)?, from).context("cannot copy the platter")?;
        Ok(Cut { platter, cache })
    }

    /// Unmounts the disk; the cuts stay.
    pub(crate) fn end(self) -> Result<Room> {
        let Self { top, middle, room } = self;
        drop(top);
        drop(middle);
        Ok(room)
    }
}

/// A cut that is mounted after the repair that every filesystem does at mount.
#[derive(Debug)]
pub(crate) struct Opened {
    top: Scratch,
    _middle: Scratch,
}

impl Opened {
    pub(crate) fn path(&self) -> &Path {
        self.top.path()
    }
}

impl Room {
    /// Starts the machine after the power failure: journals are replayed, then the filesystem must be clean.
    pub(crate) fn open(&self, cut: &Cut) -> Result<Opened> {
        let middle = Scratch::of_image(&cut.platter).context("mounting the floor below")?;
        let device = middle.path().join("device");
        drop(Scratch::of_image(&device).context("replaying the journal")?);
        quiet(Command::new("e2fsck").args(["-f", "-n"]).arg(&device))
            .context("the filesystem is damaged")?;
        Ok(Opened {
            top: Scratch::of_image(&device)?,
            _middle: middle,
        })
    }

    /// Forgets a cut.
    pub(crate) fn remove(&self, cut: &Cut) -> Result<()> {
        std::fs::remove_file(&cut.platter).context("cannot remove a cut")
    }
}
