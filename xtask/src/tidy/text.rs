//! Rules about single files: length, names, module docs, words and characters.

use super::Finding;
use super::source::Source;

/// From here on a file should be split.
const LONG: usize = 600;
/// Above this a file must be split.
const TOO_LONG: usize = 1000;

fn code_lines(source: &Source) -> usize {
    source.parts().0.lines().count()
}

fn rust(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.is_rust())
}

/// Returns the files that are long, but not yet too long.
pub(crate) fn long_files(sources: &[Source]) -> Vec<(&str, usize)> {
    rust(sources)
        .map(|source| (source.path.as_str(), code_lines(source)))
        .filter(|(_, lines)| (LONG..=TOO_LONG).contains(lines))
        .collect()
}

/// No file has more than 1,000 lines, tests apart.
pub(crate) fn check_length(sources: &[Source]) -> Vec<Finding> {
    rust(sources)
        .filter(|source| code_lines(source) > TOO_LONG)
        .map(|source| {
            Finding::new(
                &source.path,
                format!("more than {TOO_LONG} lines: split it by operation family"),
            )
        })
        .collect()
}

/// File names say what is inside.
pub(crate) fn check_names(sources: &[Source]) -> Vec<Finding> {
    const VAGUE: [&str; 7] = [
        "utils", "util", "helpers", "helper", "common", "types", "misc",
    ];
    let mut findings = Vec::new();
    for source in rust(sources) {
        let stem = source
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if VAGUE.contains(&stem) {
            findings.push(Finding::new(
                &source.path,
                format!("`{stem}` says nothing: name the file after what it does"),
            ));
        }
        if stem == "mod" {
            findings.push(Finding::new(
                &source.path,
                "`mod.rs` is not used: `foo.rs` stands beside `foo/`",
            ));
        }
    }
    findings
}

/// Every file starts with its module docs, and every crate but `sys` forbids unsafe code.
pub(crate) fn check_docs(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in rust(sources) {
        if !source.is_test() && !source.text.starts_with("//!") {
            findings.push(Finding::new(
                &source.path,
                "starts without `//!`: say what the file is for",
            ));
        }
        let crate_root =
            source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs");
        let may_be_unsafe = source.path.starts_with("crates/sys/");
        if crate_root && !may_be_unsafe && !source.text.contains("\n#![forbid(unsafe_code)]\n") {
            findings.push(Finding::new(
                &source.path,
                "add `#![forbid(unsafe_code)]`: only `sys` goes without",
            ));
        }
    }
    findings
}

/// Words that stand for work not done. In pieces, so that this file passes its own check.
const WORDS: [(&str, &str, &str); 5] = [
    ("todo", "!(", "do it, or leave the feature out"),
    ("unimplemented", "!(", "do it, or leave the feature out"),
    ("#[ig", "nore", "a test runs, or says SKIPPED and why"),
    ("should_", "panic", "assert the error value"),
    ("dbg", "!(", "remove it"),
];

/// No stubs, no ignored tests.
pub(crate) fn check_words(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in rust(sources) {
        for (number, line) in source.text.lines().enumerate() {
            for (start, end, advice) in WORDS {
                let word = format!("{start}{end}");
                if line.contains(&word) {
                    findings.push(Finding::new(
                        at(source, number),
                        format!("`{word}`: {advice}"),
                    ));
                }
            }
        }
    }
    findings
}

/// No trailing space, no tab, one final newline; ASCII in Rust files.
pub(crate) fn check_characters(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                findings.push(Finding::new(
                    at(source, number),
                    "space at the end of the line: remove it",
                ));
            }
        }
        // Tests may show what a user types.
        for (number, line) in source.parts().0.lines().enumerate() {
            if source.is_rust() && !line.is_ascii() {
                findings.push(Finding::new(
                    at(source, number),
                    "not ASCII: write it as an escape or in words",
                ));
            }
        }
        if !source.text.is_empty()
            && (!source.text.ends_with('\n') || source.text.ends_with("\n\n"))
        {
            findings.push(Finding::new(
                &source.path,
                "must end with exactly one newline",
            ));
        }
    }
    findings
}

fn at(source: &Source, line: usize) -> String {
    format!("{}:{}", source.path, line.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::{Source, check_characters, check_docs, check_length, check_names, check_words};

    fn one(path: &str, text: &str) -> [Source; 1] {
        [Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }]
    }

    #[test]
    fn every_rule_about_a_file_can_fail() {
        let long = "x\n".repeat(1001);
        assert_eq!(check_length(&one("crates/a/src/x.rs", &long)).len(), 1);
        assert_eq!(check_length(&one("crates/a/tests/it/x.rs", &long)).len(), 0);
        assert_eq!(check_names(&one("crates/a/src/utils.rs", "")).len(), 1);
        assert_eq!(check_names(&one("crates/a/src/x/mod.rs", "")).len(), 1);
        assert_eq!(
            check_docs(&one("crates/a/src/lib.rs", "fn a() {}\n")).len(),
            2
        );
        assert_eq!(
            check_docs(&one("crates/sys/src/lib.rs", "//! Doc.\n")).len(),
            0
        );
        assert_eq!(
            check_words(&one("a.rs", &format!("{}do!()\n", "to"))).len(),
            1
        );
        assert_eq!(check_characters(&one("a.rs", "a \n\u{e4}")).len(), 3);
    }
}
