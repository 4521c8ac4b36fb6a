//! One subject's copy of the layers, and its life through one sequence.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::layout::{self, Layout};
use super::op::{Call, Op, Slots};
use crate::driver::{Driver, Mounted, Stack};
use crate::dump::{self, Dump, Lens};

/// What a sequence left behind.
#[derive(Debug)]
pub(crate) struct Trace {
    /// One result per operation.
    pub(crate) results: Vec<Result<String, Errno>>,
    /// The tree through the mount.
    pub(crate) merged: Dump,
    /// Names whose inode number is the one of before, of those that lay in a lower only.
    pub(crate) kept_numbers: Vec<PathBuf>,
    /// The upper on disk, after the unmount.
    pub(crate) upper: Dump,
    /// Broken promises that need no second subject: numbers, changed lowers.
    pub(crate) faults: Vec<String>,
    pub(crate) stack: Stack,
}

/// Builds `layout` under `dir`, which is emptied first, and runs `ops` on it.
pub(crate) fn run(driver: &Driver, layout: &Layout, ops: &[Op], dir: &Path) -> Result<Trace> {
    let (stack, point) = build(layout, dir)?;
    let lowers_before = read_all(&stack.lowers)?;
    // The kernel notes the origin of a merged upper directory when it first meets it, Mica when it copies it up. So
    // both start from an upper that the kernel has met.
    reread(&Driver::Kernel, &stack)?;
    let upper_before = dump::read(&stack.upper)?;
    let mut mounted = Some(driver.mount(&stack, &point)?);
    let before = dump::read(&point)?;

    let mut slots = Slots::default();
    let mut results = Vec::new();
    for op in ops {
        if matches!(op.call, Call::Remount) {
            // An open file would keep the mount busy.
            slots = Slots::default();
            mounted
                .take()
                .map(Mounted::unmount)
                .transpose()
                .context("unmounting for a remount")?;
            mounted = Some(driver.mount(&stack, &point)?);
        }
        results.push(op.apply(&point, &mut slots));
    }
    drop(slots);

    let merged = dump::read(&point)?;
    mounted
        .take()
        .map(Mounted::unmount)
        .transpose()
        .context("unmounting at the end")?;
    let mut faults = dump::check_numbers(&merged);
    for (old, new) in lowers_before.iter().zip(&read_all(&stack.lowers)?) {
        faults.extend(dump::compare(
            old,
            new,
            ("the lower before", "the lower after"),
            Lens::default(),
        ));
    }
    let kept_numbers = before
        .iter()
        .filter(|(path, node)| {
            !upper_before.contains_key(*path)
                && merged.get(*path).is_some_and(|after| after.ino == node.ino)
        })
        .map(|(path, _)| path.clone())
        .collect();
    let upper = dump::read(&stack.upper)?;
    Ok(Trace {
        results,
        merged,
        kept_numbers,
        upper,
        faults,
        stack,
    })
}

/// Mounts what a sequence left behind by `driver`, and reads it.
pub(crate) fn reread(driver: &Driver, stack: &Stack) -> Result<Dump> {
    let point = stack.upper.with_file_name("merged");
    let mounted = driver.mount(stack, &point)?;
    let dump = dump::read(&point);
    mounted.unmount()?;
    dump
}

fn read_all(dirs: &[PathBuf]) -> Result<Vec<Dump>> {
    dirs.iter().map(|dir| dump::read(dir)).collect()
}

fn build(layout: &Layout, dir: &Path) -> Result<(Stack, PathBuf)> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).context("cannot empty the arena")?;
    }
    let make = |name: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        crate::image::open_to_all(&path)?;
        Ok(path)
    };
    let mut lowers = Vec::new();
    for (index, text) in layout.lowers.iter().enumerate() {
        let lower = make(&format!("lower{index}"))?;
        layout::write(text, &lower)?;
        lowers.push(lower);
    }
    let upper = make("upper")?;
    layout::write(layout.upper, &upper)?;
    let stack = Stack {
        lowers,
        upper,
        work: make("work")?,
    };
    Ok((stack, make("merged")?))
}
