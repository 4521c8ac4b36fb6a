//! The run: what is done to the files, and the book that says what was begun and what is on disk.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use rustix::fs::XattrFlags;

use super::WORKERS;
use super::files::{self, FILES, Kind, NEW_MODE, Span};
use crate::rng::Rng;

/// What was begun and what is on disk, outside of the disk that is cut.
#[derive(Debug)]
pub(crate) struct Book {
    spans: Vec<Span>,
    pub(crate) operations: u64,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            spans: vec![Span::default(); FILES],
            operations: 0,
        }
    }

    /// Returns the entries as they are now.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.clone()
    }
}

/// Whether a change is followed by an fsync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Yes,
    No,
}

/// Changes files until told to stop. Each worker has files of its own.
pub(crate) fn work(
    root: &Path,
    worker: usize,
    mut rng: Rng,
    book: &Mutex<Book>,
    stop: &AtomicBool,
) -> Result<()> {
    let bound = u64::try_from(FILES / WORKERS)?;
    while !stop.load(Ordering::Relaxed) {
        let number = usize::try_from(rng.below(bound))? * WORKERS + worker;
        let sync = if rng.one_in(2) { Sync::Yes } else { Sync::No };
        change(root, number, sync, book).with_context(|| {
            format!(
                "{}: {:?}",
                files::path(number).display(),
                files::kind(number)
            )
        })?;
    }
    Ok(())
}

/// Brings one file to its next version.
fn change(root: &Path, number: usize, sync: Sync, book: &Mutex<Book>) -> Result<()> {
    let entry = |change: &dyn Fn(&mut Span)| -> Result<Span> {
        let mut book = book.lock().map_err(|_| anyhow!("a worker panicked"))?;
        let span = book.spans.get_mut(number).context("no such file")?;
        change(span);
        Ok(*span)
    };
    let old = entry(&|_| {})?;
    let kind = files::kind(number);
    if old.started == 1 && matches!(kind, Kind::Halve | Kind::Remove | Kind::New) {
        return Ok(());
    }
    let version = entry(&|span| span.started = span.started.saturating_add(1))?.started;
    {
        let mut book = book.lock().map_err(|_| anyhow!("a worker panicked"))?;
        book.operations = book.operations.saturating_add(1);
    }
    let path = root.join(files::path(number));
    let dir = path.parent().context("a file without a directory")?;
    match kind {
        Kind::Mode => {
            let mode = files::mode(number, version);
            std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
            sync_path(&path, sync)?;
        }
        Kind::Attribute => {
            let value = version.to_string();
            let flags = XattrFlags::empty();
            rustix::fs::setxattr(&path, "user.version", value.as_bytes(), flags)?;
            sync_path(&path, sync)?;
        }
        Kind::Overwrite => {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(&files::content(number, version), 0)?;
            sync_file(&file, sync)?;
        }
        Kind::Replace => replace(&path, number, version, sync)?,
        Kind::Log => {
            let mut file = OpenOptions::new().append(true).open(&path)?;
            file.write_all(&files::record(number, version))?;
            if sync == Sync::Yes {
                file.sync_data()?;
            }
        }
        Kind::Halve => {
            let file = OpenOptions::new().write(true).open(&path)?;
            let len = files::content(number, 0).len() / 2;
            file.set_len(u64::try_from(len)?)?;
            sync_file(&file, sync)?;
        }
        Kind::Remove => {
            std::fs::remove_file(&path)?;
            sync_path(dir, sync)?;
        }
        Kind::New => {
            let file = create(&path)?;
            file.write_all_at(&files::content(number, version), 0)?;
            sync_file(&file, sync)?;
            sync_path(dir, sync)?;
        }
    }
    if sync == Sync::Yes {
        entry(&|span| span.durable = version)?;
    }
    Ok(())
}

fn replace(path: &PathBuf, number: usize, version: u32, sync: Sync) -> Result<()> {
    let new = path.with_extension("new");
    let file = create(&new)?;
    file.write_all_at(&files::content(number, version), 0)?;
    // The data always comes first: without it a program could not say what it gets.
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_path(path.parent().context("a file without a directory")?, sync)
}

fn create(path: &Path) -> Result<File> {
    Ok(OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(NEW_MODE)
        .open(path)?)
}

fn sync_path(path: &Path, sync: Sync) -> Result<()> {
    if sync == Sync::Yes {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        rustix::fs::fsync(file)?;
    }
    Ok(())
}

fn sync_file(file: &File, sync: Sync) -> Result<()> {
    if sync == Sync::Yes {
        file.sync_all()?;
    }
    Ok(())
}
