//! The rows of the table: what is prepared, and what is timed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::seat::Seat;
use crate::run::{quiet, run};

/// A workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) bar: Bar,
    /// Brings caches and files into the state that the row is about; not timed.
    prepare: fn(&mut Seat, u64) -> Result<()>,
    /// Does the work; the time is divided by what it returns.
    work: fn(&Seat, u64) -> Result<u32>,
}

/// Whom Mica has to keep up with: at most 1.1 of their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    Kernel,
    /// The faster of the two fuse-overlayfs.
    Fuse,
    /// Measured for information.
    None,
}

/// How often a warm row repeats its work within one measurement.
const PASSES: u32 = 5;
/// Files that are created and unlinked.
const CREATED: u32 = 3000;

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "walk-warm",
        about: "find with lstat over 2,000 files, warm (one pass)",
        bar: Bar::Kernel,
        prepare: |seat, _| walk(&seat.path("tree")),
        work: |seat, _| repeat(|| walk(&seat.path("tree"))),
    },
    Row {
        name: "open-warm",
        about: "open, read, close of 2,000 files of 6 KiB, warm (one pass)",
        bar: Bar::Kernel,
        prepare: |seat, _| read_all(&seat.path("tree")),
        work: |seat, _| repeat(|| read_all(&seat.path("tree"))),
    },
    Row {
        name: "ls-warm",
        about: "ls -lR of 2,000 files, warm",
        bar: Bar::None,
        prepare: |seat, _| list(&seat.path("tree")),
        work: |seat, _| repeat(|| list(&seat.path("tree"))),
    },
    Row {
        name: "walk-remounted",
        about: "the walk right after a remount",
        bar: Bar::Fuse,
        prepare: |seat, _| seat.remount(),
        work: |seat, _| walk(&seat.path("tree")).map(|()| 1),
    },
    Row {
        name: "walk-dropped",
        about: "the walk after dropping dentries and inodes (drop_caches 2)",
        bar: Bar::Fuse,
        prepare: |seat, _| drop_inodes(seat),
        work: |seat, _| walk(&seat.path("tree")).map(|()| 1),
    },
    Row {
        name: "walk-birth",
        about: "the same, asking for the time of birth, which fuse-overlayfs does not know",
        bar: Bar::None,
        prepare: |seat, _| drop_inodes(seat),
        work: |seat, _| walk_for_birth(&seat.path("tree")).map(|()| 1),
    },
    Row {
        name: "create",
        about: "create and close 3,000 empty files",
        bar: Bar::Fuse,
        prepare: |seat, round| {
            make_dir(&seat.path(&format!("create{round}")))?;
            seat.settle()
        },
        work: |seat, round| create(&seat.path(&format!("create{round}"))).map(|()| 1),
    },
    Row {
        name: "unlink",
        about: "unlink 3,000 empty files",
        bar: Bar::Fuse,
        prepare: |seat, round| {
            let dir = seat.path(&format!("unlink{round}"));
            make_dir(&dir)?;
            create(&dir)?;
            seat.settle()
        },
        work: |seat, round| unlink(&seat.path(&format!("unlink{round}"))).map(|()| 1),
    },
    Row {
        name: "untar",
        about: "tar -x of 3,000 files, 60 MB",
        bar: Bar::Fuse,
        prepare: |seat, round| {
            make_dir(&seat.path(&format!("untar{round}")))?;
            // The archive is in the page cache from here on.
            drop(std::fs::read(seat.archive())?);
            seat.settle()
        },
        work: |seat, round| {
            let dir = seat.path(&format!("untar{round}"));
            quiet(
                Command::new("tar")
                    .arg("-xf")
                    .arg(seat.archive())
                    .arg("-C")
                    .arg(dir),
            )?;
            Ok(1)
        },
    },
    Row {
        name: "git-warm",
        about: "git status in a repository of 3,000 files, warm",
        bar: Bar::Fuse,
        prepare: |seat, _| git_status(&seat.path("repo")),
        work: |seat, _| repeat(|| git_status(&seat.path("repo"))),
    },
    Row {
        name: "git-dropped",
        about: "git status after dropping dentries and inodes",
        bar: Bar::Fuse,
        prepare: |seat, _| {
            git_status(&seat.path("repo"))?;
            drop_inodes(seat)
        },
        work: |seat, _| git_status(&seat.path("repo")).map(|()| 1),
    },
    Row {
        name: "append",
        about: "append 100 bytes to 500 lower files of 6 KiB (copy-up)",
        bar: Bar::None,
        prepare: |seat, round| {
            walk(&seat.path(&format!("append/round{round}")))?;
            seat.settle()
        },
        work: |seat, round| append(&seat.path(&format!("append/round{round}"))).map(|()| 1),
    },
];

impl Row {
    /// Prepares, works, and returns the time of one unit of work.
    pub(crate) fn measure(&self, seat: &mut Seat, round: u64) -> Result<Duration> {
        (self.prepare)(seat, round).context("preparing")?;
        let start = Instant::now();
        let units = (self.work)(seat, round)?;
        let took = start.elapsed();
        took.checked_div(units).context("no work was done")
    }
}

fn repeat(mut work: impl FnMut() -> Result<()>) -> Result<u32> {
    (0..PASSES).try_for_each(|_| work())?;
    Ok(PASSES)
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Walks as find(1) does, by lstat(2) of each name.
fn walk(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let mode = rustix::fs::lstat(&path)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode).is_dir() {
            walk(&path)?;
        }
    }
    Ok(())
}

/// Walks as a Rust program does, whose `metadata` asks for the time of birth, too.
fn walk_for_birth(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            walk_for_birth(&entry.path())?;
        }
    }
    Ok(())
}

fn read_all(dir: &Path) -> Result<()> {
    let mut buffer = [0; 8 << 10];
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_all(&entry.path())?;
        } else {
            // One read takes a whole file.
            let count = File::open(entry.path())?.read(&mut buffer)?;
            ensure!(count > 0, "{} is empty", entry.path().display());
        }
    }
    Ok(())
}

fn list(dir: &Path) -> Result<()> {
    run(Command::new("ls").arg("-lR").arg(dir).stdout(Stdio::null()))
}

fn create(dir: &Path) -> Result<()> {
    for number in 0..CREATED {
        File::create(dir.join(format!("file{number}")))?;
    }
    Ok(())
}

fn unlink(dir: &Path) -> Result<()> {
    for number in 0..CREATED {
        std::fs::remove_file(dir.join(format!("file{number}")))?;
    }
    Ok(())
}

fn append(dir: &Path) -> Result<()> {
    for number in 0..super::seat::APPENDS {
        let mut file = File::options()
            .append(true)
            .open(dir.join(format!("file{number}")))?;
        file.write_all(&[b'+'; 100])?;
    }
    Ok(())
}

fn drop_inodes(seat: &Seat) -> Result<()> {
    // Dirty inodes are not dropped.
    seat.settle()?;
    std::fs::write("/proc/sys/vm/drop_caches", "2").context("cannot drop caches")
}

fn git_status(repository: &Path) -> Result<()> {
    quiet(git(repository).args(["status", "--porcelain"])).map(drop)
}

/// Returns a git command that depends on nobody's configuration.
pub(crate) fn git(repository: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(repository)
        .args([
            "-c",
            "safe.directory=*",
            "-c",
            "user.name=Mica",
            "-c",
            "user.email=mica@example.org",
        ])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    git
}
