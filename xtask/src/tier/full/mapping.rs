//! Stores through a shared mapping on a disk that has no room for them (OVL-86).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use super::ground::{Ground, Kind};
use crate::driver::Driver;
use crate::run::quiet;

const PAGE: usize = 4096;
const PAGES: usize = 1024;
/// Blocks that are left; ext4 keeps 2 of 100 for itself.
const LEFT: u64 = 800;
/// Pages that have a place at least.
const LEAST: usize = 400;

/// Stores more than fits, and finds the error at msync and all that fitted in the file.
pub(super) fn stores(driver: &Driver) -> Result<()> {
    let ground = Ground::new(Kind::Space, Some(driver))?;
    let path = ground.root().join("mapped");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    // A page at the end has its block already: it fits, whatever comes before it.
    file.write_all_at(&[b'x'; PAGE], u64::try_from((PAGES - 1) * PAGE)?)?;
    file.sync_all()?;
    ground.leave(LEFT)?;
    let script = include_str!("mapping.py");
    let said = quiet(Command::new("python3").args(["-c", script]).arg(&path))?;
    let words: Vec<&str> = said.split_whitespace().collect();
    println!("full: stores through a mapping: msync, fsync, fsync by another file said {words:?}");
    ensure!(
        words.first() == Some(&"ENOSPC") && words.get(2) == Some(&"ENOSPC"),
        "msync and the other file's fsync said {words:?}"
    );
    fadvise(&file, 0, None, Advice::DontNeed)?;
    for whence in [path.clone(), ground.beneath(&path)?] {
        let data = std::fs::read(&whence)?;
        let is_stored = |number: usize, page: &[u8]| {
            page.starts_with(format!("stored {number:6}\n").as_bytes())
        };
        let pages: Vec<(usize, &[u8])> = data.chunks(PAGE).enumerate().collect();
        let stored = pages
            .iter()
            .filter(|(number, page)| is_stored(*number, page))
            .count();
        let zero = pages
            .iter()
            .filter(|(_, page)| page.iter().all(|byte| *byte == 0))
            .count();
        println!("full: {stored} pages of {PAGES} fitted, {zero} are as before");
        ensure!(
            stored + zero == PAGES,
            "{} pages are neither",
            PAGES - stored - zero
        );
        ensure!(
            stored > LEAST && zero > 0,
            "{LEFT} blocks were left, {stored} pages are there"
        );
        let last = pages.last().context("an empty file")?;
        ensure!(
            is_stored(last.0, last.1),
            "the last page had its block, and is not stored"
        );
    }
    drop(file);
    ground.expect_clean_work()?;
    ground.end()
}
