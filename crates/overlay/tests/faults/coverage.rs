//! What was struck, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Mutex;

/// A table of counts: what was struck, by which fault.
#[derive(Debug)]
pub(crate) struct Coverage {
    title: String,
    faults: Vec<String>,
    counts: Mutex<BTreeMap<String, BTreeMap<String, usize>>>,
}

impl Coverage {
    /// A table with a column for each of `faults`, and these rows at 0.
    pub(crate) fn new<R: fmt::Display>(
        title: &str,
        faults: &[impl fmt::Display],
        rows: impl IntoIterator<Item = R>,
    ) -> Self {
        let counts = rows
            .into_iter()
            .map(|row| (row.to_string(), BTreeMap::new()));
        Self {
            title: title.into(),
            faults: faults.iter().map(ToString::to_string).collect(),
            counts: Mutex::new(counts.collect()),
        }
    }

    /// Counts one strike.
    pub(crate) fn add(&self, row: &str, fault: &str) {
        let mut counts = self.counts.lock().unwrap();
        let row = counts.entry(row.to_owned()).or_default();
        *row.entry(fault.to_owned()).or_default() += 1;
    }

    /// Prints the table and returns the cells that are 0.
    pub(crate) fn finish(&self) -> Vec<String> {
        let counts = self.counts.lock().unwrap();
        let width = counts
            .keys()
            .map(|row| row.len())
            .max()
            .unwrap_or(0)
            .max(self.title.len());
        let mut text = format!("\n{:<width$}", self.title);
        let mut zeros = BTreeSet::new();
        for fault in &self.faults {
            write!(text, " {fault:>7}").unwrap();
        }
        for (row, cells) in &*counts {
            write!(text, "\n{row:<width$}").unwrap();
            for fault in &self.faults {
                let count = cells.get(fault).copied().unwrap_or(0);
                write!(text, " {count:>7}").unwrap();
                if count == 0 {
                    zeros.insert(format!("{}: {row} was never struck by {fault}", self.title));
                }
            }
        }
        eprintln!("{text}");
        zeros.into_iter().collect()
    }
}
