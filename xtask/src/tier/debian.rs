//! A Debian system lives on an overlay; then another driver must see the same tree in its layers.
//!
//! Twice: Mica writes and the kernel reads, the kernel writes and Mica reads. Between the two, the lower must be as
//! it was.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::driver::{Driver, Stack, Subject};
use crate::dump::{self, Dump, Lens};
use crate::image::Scratch;
use crate::private;
use crate::repo::{self, Profile};
use crate::run::{quiet, run};

/// The release that is installed.
const SUITE: &str = "bookworm";

/// Runs the scenario in both directions.
pub(crate) fn debian(subject: Subject) -> Result<()> {
    let subject = subject.driver(Profile::Release)?;
    let root = bootstrapped_root()?;
    let disk = Scratch::ext4(8192)?;
    let lower = disk.path().join("lower");
    quiet(Command::new("cp").arg("-a").arg(&root).arg(&lower))?;
    let pristine = dump::read(&lower)?;
    for (writer, reader) in [(&subject, &Driver::Kernel), (&Driver::Kernel, &subject)] {
        println!("debian: {} writes, {} reads", writer.name(), reader.name());
        exchange(writer, reader, &lower, &disk.path().join(writer.name()))?;
        expect_same(
            &pristine,
            &dump::read(&lower)?,
            ("the lower before", "the lower after"),
        )?;
        if writer == reader {
            break;
        }
    }
    Ok(())
}

/// Lets a system live on `writer`, and compares what both see in its layers.
fn exchange(writer: &Driver, reader: &Driver, lower: &Path, base: &Path) -> Result<()> {
    let stack = Stack::over(vec![lower.to_path_buf()], base)?;
    let point = stack.point();

    let mounted = writer.mount(&stack, &point)?;
    live(&point)?;
    let written = dump::read_numbered(&point).with_context(|| writer.name())?;
    mounted.unmount()?;

    let mounted = reader.mount(&stack, &point)?;
    let read = dump::read_numbered(&point).with_context(|| reader.name())?;
    mounted.unmount()?;
    println!("debian: comparing {} objects", written.len());
    expect_same(&written, &read, (writer.name(), reader.name()))
}

fn expect_same(left: &Dump, right: &Dump, names: (&str, &str)) -> Result<()> {
    let lines = dump::compare(left, right, names, Lens::default());
    dump::expect_none("the trees", &lines)
}

/// Returns a fresh Debian root, made once and kept in the target directory.
pub(crate) fn bootstrapped_root() -> Result<PathBuf> {
    kept_root("debian", &[], |_| Ok(()))
}

/// Returns a Debian root that debootstrap makes with `options`, and then `furnish`: once, and it is kept as `name` in the
/// target directory.
pub(super) fn kept_root(
    name: &str,
    options: &[String],
    furnish: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = repo::cache_dir(name)?;
    let (root, partial) = (cache.join("root"), cache.join("partial"));
    if root.exists() {
        return Ok(root);
    }
    if partial.exists() {
        std::fs::remove_dir_all(&partial).context("cannot remove an unfinished root")?;
    }
    println!("{name}: bootstrapping {SUITE}");
    let mut bootstrap = Command::new("debootstrap");
    bootstrap.arg("--variant=minbase").args(options).arg(SUITE);
    quiet(bootstrap.arg(&partial))?;
    furnish(&partial)?;
    std::fs::rename(&partial, &root).context("cannot keep the root")?;
    Ok(root)
}

/// Runs the script in a chroot at `point`.
fn live(point: &Path) -> Result<()> {
    let archives = repo::cache_dir("debian/archives")?;
    std::fs::create_dir_all(archives.join("partial"))?;
    std::fs::copy("/etc/resolv.conf", point.join("etc/resolv.conf"))
        .context("cannot copy resolv.conf")?;
    let _binds = [
        Bind::new(Path::new("/proc"), point.join("proc"))?,
        Bind::new(Path::new("/dev"), point.join("dev"))?,
        // Both directions download once.
        Bind::new(&archives, point.join("var/cache/apt/archives"))?,
    ];
    run(Command::new("chroot")
        .arg(point)
        .args(["/bin/sh", "-c", include_str!("debian.sh")]))
    .map_err(|_| anyhow::anyhow!("the script failed in the chroot"))
}

/// A bind mount; dropping it unmounts it.
#[derive(Debug)]
struct Bind(PathBuf);

impl Bind {
    fn new(source: &Path, target: PathBuf) -> Result<Self> {
        private::bind(source, &target)?;
        Ok(Self(target))
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        if let Err(error) = quiet(Command::new("umount").arg(&self.0)) {
            eprintln!("warning: {error}");
        }
    }
}
