//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy knows.
//!
//! Each rule is a pure function from the sources to findings; a finding says where and what to do about it.

mod differences;
mod edges;
mod options;
pub(crate) mod rules;
mod source;
mod text;

use anyhow::{Result, bail};

use crate::repo;
use source::Source;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `path` or `path:line`.
    place: String,
    /// What is wrong, and what to do.
    advice: String,
}

impl Finding {
    fn new(place: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            advice: advice.into(),
        }
    }
}

/// A rule.
type Check = fn(&[Source]) -> Vec<Finding>;

/// Checks the checkout.
pub(crate) fn tidy() -> Result<()> {
    let sources = source::read_all(&repo::root()?)?;
    for (path, lines) in text::long_files(&sources) {
        println!("note: {path} has {lines} lines without its tests; split it before it grows");
    }
    let checks: [Check; 10] = [
        text::check_length,
        text::check_names,
        text::check_docs,
        text::check_words,
        text::check_characters,
        source::check_forgotten,
        edges::check,
        rules::check,
        differences::check,
        options::check,
    ];
    let findings: Vec<Finding> = checks.iter().flat_map(|check| check(&sources)).collect();
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.advice);
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend", findings.len());
    }
    println!("tidy: {} files follow the rules", sources.len());
    Ok(())
}
