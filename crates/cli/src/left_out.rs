//! What an archive or an upper cannot hold, said on stderr.

use std::io::{self, Write as _};

use mica::{ArchiveNote, Escaped};

/// How many are said one by one.
const SHOWN: u64 = 20;

/// Says what is left out, and counts it.
#[derive(Debug, Default)]
pub(crate) struct LeftOutLines(u64);

impl LeftOutLines {
    pub(crate) fn say(&mut self, note: &ArchiveNote) {
        self.0 += 1;
        if self.0 <= SHOWN {
            let line = format!("note: {}: {}\n", Escaped::new(&note.path), note.what);
            // Without stderr there is nobody to tell.
            drop(io::stderr().lock().write_all(line.as_bytes()));
        }
    }

    /// Says how many were not said.
    pub(crate) fn finish(self) {
        if let Some(more) = self.0.checked_sub(SHOWN).filter(|&more| more > 0) {
            let line = format!("note: {more} more are left out\n");
            drop(io::stderr().lock().write_all(line.as_bytes()));
        }
    }
}
