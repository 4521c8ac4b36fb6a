//! Which rules of docs/semantics.md took effect in a run, and which no run can show.
//!
//! The engine counts its rules where they take effect (`mica_vfs::met!`), in a build of its own of the server. A rule that
//! two drivers can be compared on and that no sequence came to is a hole of the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::layout::Rights;
use crate::repo;
use crate::tidy::rules;

/// How often each rule took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Met(BTreeMap<u32, u64>);

impl Met {
    /// Reads `RULE=COUNT` words; what is none is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut met = Self::default();
        for word in text.split_whitespace() {
            if let Some((rule, count)) = word.split_once('=')
                && let (Ok(rule), Ok(count)) = (rule.parse(), count.parse())
            {
                met.count(rule, count);
            }
        }
        met
    }

    fn count(&mut self, rule: u32, more: u64) {
        let count = self.0.entry(rule).or_default();
        *count = count.saturating_add(more);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (rule, count) in &other.0 {
            self.count(*rule, *count);
        }
    }

    /// Adds what servers wrote to the file at `path`, which goes.
    pub(super) fn take(&mut self, path: &Path) -> Result<()> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add(&Self::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context("cannot read which rules took effect"),
        }
        std::fs::remove_file(path).context("cannot remove the note of rules")
    }

    /// Writes what [`parse`](Self::parse) reads.
    pub(super) fn show(&self) -> String {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|(rule, count)| format!("{rule}={count}"))
            .collect();
        words.join(" ")
    }
}

/// The rules that a comparison cannot come to, and why.
const ELSEWHERE: &[(&[u32], &str)] = &[
    (&[7, 31], "all layers of a run lie on one filesystem (D-8)"),
    (
        &[68, 80],
        "no layer has a malformed mark or fails (D-20, D-23)",
    ),
    (&[92], "no layer lies inside another one (D-17)"),
    (
        &[51, 81, 82, 83, 84, 87],
        "the mount is refused (D-16, D-17, D-18)",
    ),
    (&[52], "every stack of a run has an upper"),
    (&[64], "the kernel refuses it (D-24)"),
    (&[67], "the kernel here has no `fsync=strict`"),
    (
        &[61, 62],
        "no sequence holds open as many files as the server may",
    ),
    (&[72], "every owner has a mapping (D-22)"),
    (
        &[73, 74, 75, 76, 77, 78],
        "the kernel's overlayfs has none of these options",
    ),
    (&[85, 86], "no disk is full (D-15)"),
    (
        &[32],
        "names of one lower file are mounted with `index=on` alone (D-29)",
    ),
    (
        &[110, 134, 135, 136],
        "what is on disk shows it, which is compared; without an index (D-29), or in a user namespace",
    ),
    (&[113, 114], "no index is of another overlay or malformed"),
    (&[115], "the value is random (D-14)"),
    (&[129], "no upper has a quota"),
    (&[130, 131], "the kernel makes no devices 0:0 (D-31)"),
    (
        &[137, 138, 139],
        "nobody changes a lower of a run while it is mounted",
    ),
    (&[160], "`mica doctor` mounts nothing"),
    (
        &[123, 124, 125],
        "the FUSE client answers, and the server is not asked",
    ),
    (
        &[126],
        "what the server does for it is counted under other rules",
    ),
    (&[127], "operations come one after the other"),
    (
        &[150],
        "`mica check` runs on what `--rounds` leave, in a process of its own",
    ),
    (
        &[151, 152, 153, 154, 155],
        "`mica convert` has nothing that it could be compared with",
    ),
];

/// The rules that need an option which does not go with `userxattr`, or `CAP_LINUX_IMMUTABLE` outside a user namespace.
const TRUSTED_ONLY: &[u32] = &[
    8, 30, 66, 111, 112, 132, 90, 91, 93, 100, 101, 102, 103, 104, 105, 106, 120, 121, 122,
];

/// How the rules of the page stand in a run.
#[derive(Debug)]
struct Standing {
    met: Vec<(u32, u64)>,
    missed: Vec<u32>,
}

/// Prints how often each rule took effect.
///
/// # Errors
///
/// If `required`: there is one that two drivers can be compared on, and no sequence came to it.
pub(super) fn report(met: &Met, rights: Rights, required: bool) -> Result<()> {
    let page = repo::root()?.join(rules::DOCUMENT);
    let text = std::fs::read_to_string(&page)
        .with_context(|| format!("cannot read {}", page.display()))?;
    let Standing { met, missed } = standing(&rules::definitions(&text), met, rights);
    let words: Vec<String> = met
        .iter()
        .map(|(rule, count)| format!("{rule} {count}"))
        .collect();
    println!(
        "rules that took effect, and how often: {}",
        words.join(", ")
    );
    for (rules, why) in ELSEWHERE {
        println!("not compared: {}: {why}", show(rules));
    }
    if rights != Rights::All {
        println!(
            "not compared: {}: not in a user namespace",
            show(TRUSTED_ONLY)
        );
    }
    println!(
        "coverage: {} rules took effect, {} did not{}",
        met.len(),
        missed.len(),
        if missed.is_empty() {
            String::new()
        } else {
            format!(": OVL-{}", show(&missed))
        }
    );
    if required && !missed.is_empty() {
        bail!("no sequence came to OVL-{}", show(&missed));
    }
    Ok(())
}

fn standing(defined: &BTreeSet<u32>, met: &Met, rights: Rights) -> Standing {
    let elsewhere = |rule: &u32| {
        ELSEWHERE.iter().any(|(rules, _)| rules.contains(rule))
            || rights != Rights::All && TRUSTED_ONLY.contains(rule)
    };
    let count = |rule: &u32| met.0.get(rule).copied().unwrap_or(0);
    Standing {
        met: defined
            .iter()
            .map(|rule| (*rule, count(rule)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        missed: defined
            .iter()
            .copied()
            .filter(|rule| count(rule) == 0 && !elsewhere(rule))
            .collect(),
    }
}

fn show(rules: &[u32]) -> String {
    let words: Vec<String> = rules.iter().map(u32::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Met, Rights, standing};

    #[test]
    fn counts_are_read_as_they_are_written() {
        let mut met = Met::parse("1=2 30=4\n1=3\n");
        met.add(&Met::parse("30=1 nonsense"));
        assert_eq!(met.show(), "1=5 30=5");
        assert_eq!(Met::parse(&met.show()), met);
    }

    #[test]
    fn a_rule_that_could_take_effect_and_did_not_is_missed() {
        let defined = BTreeSet::from([1, 2, 31, 90]);
        let met = Met::parse("1=2");
        let root = standing(&defined, &met, Rights::All);
        assert_eq!((root.met, root.missed), (vec![(1, 2)], vec![2, 90]));
        assert_eq!(standing(&defined, &met, Rights::Single).missed, [2]);
    }
}
