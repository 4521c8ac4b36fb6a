//! The numbered rules of docs/semantics.md: each is named by a test, and each number in the code is a rule.
//!
//! A rule is defined where its number starts a heading or an item of a list. A test names it as `OVL-12`
//! in a comment or text, or as `ovl_12` in the name of a function.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::Source;

/// Where the rules are.
pub(crate) const DOCUMENT: &str = "docs/semantics.md";

/// Ties the document to the tests and back.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        return vec![Finding::new(
            DOCUMENT,
            "is missing: write down the rules of the overlay",
        )];
    };
    let defined = definitions(&document.text);
    let mut findings: Vec<Finding> = duplicates(&document.text);
    let mut tested = BTreeSet::new();
    let mut mentioned: BTreeMap<u32, &str> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| source.path != DOCUMENT && !source.path.contains("/tidy/"))
    {
        let (_, tests) = source.parts();
        // The oracle and the tiers are tests as a whole.
        let system = source.path.starts_with("xtask/src/oracle")
            || source.path.starts_with("xtask/src/tier");
        tested.extend(numbers(if system { &source.text } else { tests }));
        mentioned.extend(
            numbers(&source.text)
                .into_iter()
                .map(|number| (number, source.path.as_str())),
        );
    }
    for number in defined.difference(&tested) {
        let advice = format!(
            "OVL-{number} is named by no test: write `OVL-{number}` at the test that shows it"
        );
        findings.push(Finding::new(DOCUMENT, advice));
    }
    for (number, path) in mentioned
        .iter()
        .filter(|(number, _)| !defined.contains(number))
    {
        findings.push(Finding::new(
            *path,
            format!("OVL-{number} is no rule of {DOCUMENT}: mend the number or add the rule"),
        ));
    }
    findings
}

/// Returns the number that a line defines.
fn definition(line: &str) -> Option<u32> {
    let bare = line.trim_start_matches(|c: char| "#*- ".contains(c));
    let marked = bare.len() < line.len();
    let digits = bare.strip_prefix("OVL-").filter(|_| marked)?;
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Returns the numbers that the page `text` defines.
pub(crate) fn definitions(text: &str) -> BTreeSet<u32> {
    text.lines().filter_map(definition).collect()
}

fn duplicates(text: &str) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    text.lines()
        .filter_map(definition)
        .filter(|number| !seen.insert(*number))
        .map(|number| {
            Finding::new(
                DOCUMENT,
                format!("OVL-{number} is defined twice: a number names one rule"),
            )
        })
        .collect()
}

/// Returns all rule numbers in a text, in either spelling, or counted by the engine.
fn numbers(text: &str) -> BTreeSet<u32> {
    ["OVL-", "ovl_", "met!("]
        .iter()
        .flat_map(|mark| text.split(mark).skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, Source, check, definitions};

    #[test]
    fn headings_and_lists_define_rules_and_tables_and_prose_do_not() {
        let text =
            "### OVL-1 Lookup\n- **OVL-2** text\n| OVL-30 | text |\nOVL-4 in prose, see OVL-5\n";
        assert_eq!(definitions(text).into_iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn untested_and_unknown_rules_are_found() {
        let sources = [
            Source::of(DOCUMENT, "- OVL-1 a\n- OVL-2 b\n"),
            Source::of("crates/overlay/src/a.rs", "// OVL-2\n// OVL-9\n"),
            Source::of("crates/overlay/tests/it/a.rs", "fn ovl_1_is_so() {}\n"),
        ];
        let advice: Vec<String> = check(&sources)
            .into_iter()
            .map(|finding| finding.advice)
            .collect();
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert!(advice[0].starts_with("OVL-2 is named by no test"));
        assert!(advice[1].starts_with("OVL-9 is no rule"));
    }
}
