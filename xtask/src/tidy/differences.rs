//! The numbered differences from the kernel: the page and the oracle name the same ones, and as many as were agreed.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;
use crate::oracle::DIFFERENCES;

/// Where the differences are listed.
const DOCUMENT: &str = "docs/semantics.md";
/// Where they are let through.
const ORACLE: &str = "xtask/src/oracle";

/// Ties the table to the oracle and back.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let listed: BTreeSet<u32> = sources
        .iter()
        .filter(|source| source.path == DOCUMENT)
        .flat_map(|source| source.text.lines().filter_map(row))
        .collect();
    let used: BTreeSet<u32> = sources
        .iter()
        .filter(|source| source.path.starts_with(ORACLE))
        .flat_map(|source| numbers(&source.text))
        .collect();
    let mut findings = Vec::new();
    for number in listed.difference(&used) {
        let advice = format!("D-{number} is not named in {ORACLE}: say there what becomes of it");
        findings.push(Finding::new(DOCUMENT, advice));
    }
    for number in used.difference(&listed) {
        let advice =
            format!("D-{number} is not in the table of {DOCUMENT}: remove what it lets through");
        findings.push(Finding::new(ORACLE, advice));
    }
    if !listed.is_empty() && listed.len() != DIFFERENCES {
        let advice = format!(
            "lists {} differences, and {DIFFERENCES} are agreed: mend Mica, or cite what forces a further one",
            listed.len()
        );
        findings.push(Finding::new(DOCUMENT, advice));
    }
    findings
}

/// Returns the number that starts a row of the table.
fn row(line: &str) -> Option<u32> {
    leading_number(line.strip_prefix("| D-")?)
}

/// Returns all numbers that a text names.
fn numbers(text: &str) -> Vec<u32> {
    text.match_indices("D-")
        .filter(|(at, _)| {
            let before = text.get(..*at).and_then(|head| head.chars().next_back());
            before.is_none_or(|before| !before.is_alphanumeric())
        })
        .filter_map(|(at, mark)| leading_number(text.get(at.checked_add(mark.len())?..)?))
        .collect()
}

fn leading_number(text: &str) -> Option<u32> {
    text.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{DIFFERENCES, DOCUMENT, Source, check};

    #[test]
    fn unused_unlisted_and_uncounted_differences_are_found() {
        let sources = [
            Source::of(
                DOCUMENT,
                "| D-1 | OVL-20 | text |\n| D-2 | text |\nD-9 in prose\n",
            ),
            Source::of("xtask/src/oracle/a.rs", "// (D-1), D-3, and no BAD-4\n"),
        ];
        let advice: Vec<String> = check(&sources)
            .into_iter()
            .map(|finding| finding.advice)
            .collect();
        assert_eq!(advice.len(), 3, "{advice:?}");
        assert!(advice[0].starts_with("D-2 is not named"));
        assert!(advice[1].starts_with("D-3 is not in the table"));
        assert!(advice[2].contains(&format!("{DIFFERENCES} are agreed")));
    }
}
