//! docs/options.md: every row names tests that exist, and every option of the tables in the code has a row.
//!
//! What the rows say is compared with the code by tests of `mica`, which can parse an option. This check needs no
//! build, and finds a test that was renamed.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

/// Where the options are described.
const DOCUMENT: &str = "docs/options.md";
/// Where their tables are.
const TABLES: &str = "crates/mica/src/options/";
/// Where the features are described, and under which heading.
const FEATURES: &str = "docs/semantics.md";
const SECTION: &str = "## Options and features";
/// What begins a row of such a table.
const ENTRY: &str = "Entry(";

/// Ties the document to the tests and to the code.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        return vec![Finding::new(
            DOCUMENT,
            "is missing: describe each mount option, with its test",
        )];
    };
    let mut findings = Vec::new();
    let tests = tests(sources);
    let mut described = BTreeSet::new();
    for (number, line) in document.text.lines().enumerate() {
        let Some((options, named)) = row(line) else {
            continue;
        };
        described.extend(options.iter().map(|option| bare(option)));
        let place = format!("{DOCUMENT}:{}", number.saturating_add(1));
        if named.is_empty() {
            findings.push(Finding::new(
                &place,
                "the row names no test: name one that shows it",
            ));
        }
        for test in named.iter().filter(|test| !tests.contains(**test)) {
            let advice = format!("no test is called `{test}`: mend the name or write the test");
            findings.push(Finding::new(&place, advice));
        }
    }
    findings.extend(features(sources, &tests));
    for source in sources {
        for option in entries(source) {
            if !described.contains(option) {
                let advice = format!("`{option}` is not in {DOCUMENT}: add a row");
                findings.push(Finding::new(&source.path, advice));
            }
        }
    }
    findings
}

/// Checks that each row of the table of features names tests that exist.
fn features(sources: &[Source], tests: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let page = sources.iter().find(|source| source.path == FEATURES);
    let lines = page.into_iter().flat_map(|page| page.text.lines());
    let section = lines.zip(1_usize..);
    let section = section.skip_while(|(line, _)| *line != SECTION).skip(1);
    for (line, number) in section.take_while(|(line, _)| !line.starts_with("## ")) {
        let Some((_, named)) = row(line) else {
            continue;
        };
        if named.is_empty() || named.iter().any(|test| !tests.contains(test)) {
            let place = format!("{FEATURES}:{number}");
            findings.push(Finding::new(&place, "the row names no test that exists"));
        }
    }
    findings
}

/// Returns the options and the tests of a row of a table, its first and its last column; `None` for any other line.
fn row(line: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
    let [options, .., tests] = cells.as_slice() else {
        return None;
    };
    // The heads of the columns, and the line below them.
    let is_head = tests.trim_end_matches([' ', '|']) == "test" || options.starts_with("---");
    (!is_head).then(|| (quoted(options), quoted(tests)))
}

/// Returns what stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns an option without its value.
fn bare(option: &str) -> &str {
    option.split('=').next().unwrap_or_default()
}

/// Returns the names of all functions in tests.
fn tests(sources: &[Source]) -> BTreeSet<&str> {
    let texts = sources.iter().map(|source| source.parts().1);
    let functions = texts.flat_map(|text| text.split("fn ").skip(1));
    functions
        .filter_map(|text| text.split('(').next())
        .collect()
}

/// Yields the names in the tables of a source.
fn entries(source: &Source) -> impl Iterator<Item = &str> {
    let is_table = source.path.starts_with(TABLES) && source.is_rust();
    let code = if is_table { source.parts().0 } else { "" };
    code.split(ENTRY).skip(1).filter_map(|rest| {
        let name = rest.trim_start().strip_prefix('"')?;
        name.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, Source, check};

    #[test]
    fn missing_tests_and_missing_rows_are_found() {
        let document = "| option | what it does | test |\n| --- | --- | --- |\n\
                        | `ro`, `rw` | a flag | `there`, `gone` |\n\
                        | `size=` | a number | none |\n";
        let table = "Entry(\"ro\", X),\nEntry(\n    \"size\",\n    X,\n),\nEntry(\"lost\", X),\n";
        let sources = [
            Source::of(DOCUMENT, document),
            Source::of("crates/mica/src/options/a.rs", table),
            Source::of("crates/mica/src/b.rs", "Entry(\"other\", X)"),
            Source::of("crates/cli/tests/it/a.rs", "fn there() {}\n"),
        ];
        let findings = check(&sources);
        let found: Vec<(&str, &str)> = findings
            .iter()
            .map(|finding| (finding.place.as_str(), finding.advice.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "docs/options.md:3",
                    "no test is called `gone`: mend the name or write the test"
                ),
                (
                    "docs/options.md:4",
                    "the row names no test: name one that shows it"
                ),
                (
                    "crates/mica/src/options/a.rs",
                    "`lost` is not in docs/options.md: add a row"
                ),
            ]
        );
    }

    #[test]
    fn rows_of_features_name_tests() {
        let page = "| other | `gone` |\n## Options and features\n| | a | test |\n\
                    | x | yes | `there` |\n| y | no | `gone` |\n## Next\n| z | `gone` |\n";
        let sources = [
            Source::of(DOCUMENT, ""),
            Source::of("docs/semantics.md", page),
            Source::of("crates/cli/tests/it/a.rs", "fn there() {}\n"),
        ];
        let findings = check(&sources);
        let [finding] = findings.as_slice() else {
            panic!("{} findings", findings.len());
        };
        assert_eq!(finding.place, "docs/semantics.md:5");
    }

    #[test]
    fn a_missing_document_is_found() {
        assert_eq!(check(&[]).len(), 1);
    }
}
