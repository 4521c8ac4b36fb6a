//! The files that the rules look at.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;

/// A text file of the checkout.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the checkout, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

#[cfg(test)]
impl Source {
    /// A file of a test's own making.
    pub(crate) fn of(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// Where sources are; everything else is generated or not ours.
const PLACES: [&str; 5] = ["crates", "xtask", "fuzz", "docs", ".ci"];

/// Reads all sources, sorted by path.
pub(crate) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for place in PLACES {
        let dir = root.join(place);
        if dir.exists() {
            read_below(root, &dir, &mut sources)?;
        }
    }
    for entry in std::fs::read_dir(root).context("cannot list the checkout")? {
        let path = entry?.path();
        if path.is_file() {
            read_file(root, &path, &mut sources)?;
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_below(root: &Path, dir: &Path, sources: &mut Vec<Source>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let generated = ["target", "corpus", "artifacts"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_dir() && !generated {
            read_below(root, &path, sources)?;
        } else if path.is_file() {
            read_file(root, &path, sources)?;
        }
    }
    Ok(())
}

fn read_file(root: &Path, path: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let text_file = path.extension().is_some_and(|end| {
        ["rs", "md", "toml", "sh", "txt"]
            .iter()
            .any(|known| end == *known)
    });
    if text_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let path = path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned();
        sources.push(Source { path, text });
    }
    Ok(())
}

impl Source {
    /// Says whether this is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Says whether the whole file is tests or serves them.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.starts_with("crates/testkit/")
    }

    /// Splits the text into code and in-file tests.
    pub(crate) fn parts(&self) -> (&str, &str) {
        if self.is_test() {
            return ("", &self.text);
        }
        match self.text.find("\n#[cfg(test)]\nmod ") {
            Some(at) => self.text.split_at(at),
            None => (&self.text, ""),
        }
    }

    /// Says whether this is the root of a crate or of a test binary.
    pub(crate) fn is_root(&self) -> bool {
        ["/lib.rs", "/main.rs"]
            .iter()
            .any(|end| self.path.ends_with(end))
            || self.path.starts_with("fuzz/fuzz_targets/")
    }
}

/// Finds Rust files that no `mod` line names: the compiler never sees them.
pub(crate) fn check_forgotten(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_root())
    {
        let Some((dir, file)) = source.path.rsplit_once('/') else {
            continue;
        };
        let name = file.trim_end_matches(".rs");
        let parents = [
            format!("{dir}.rs"),
            format!("{dir}/main.rs"),
            format!("{dir}/lib.rs"),
        ];
        let line = format!("mod {name};");
        let named = sources
            .iter()
            .filter(|other| parents.contains(&other.path))
            .any(|parent| parent.text.lines().any(|text| text.trim().ends_with(&line)));
        // Cargo finds these by itself.
        let found_by_cargo = ["/tests", "/examples", "/benches", "/src/bin"]
            .iter()
            .any(|place| dir.ends_with(place));
        if !named && !found_by_cargo && file != "build.rs" {
            findings.push(Finding::new(
                &source.path,
                format!("no file says `{line}`: add the line, or delete the file"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Source, check_forgotten};

    #[test]
    fn a_test_file_that_main_does_not_name_is_found() {
        let sources = [
            Source::of("crates/x/tests/it/main.rs", "mod one;\n"),
            Source::of("crates/x/tests/it/one.rs", ""),
            Source::of("crates/x/tests/it/two.rs", ""),
        ];
        let findings = check_forgotten(&sources);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "crates/x/tests/it/two.rs");
    }

    #[test]
    fn in_file_tests_are_split_from_the_code() {
        let file = Source::of(
            "crates/x/src/a.rs",
            "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n",
        );
        assert_eq!(file.parts().0, "fn a() {}\n");
        assert!(file.parts().1.contains("mod tests"));
    }
}
