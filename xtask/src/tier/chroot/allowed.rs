//! Differences between the two trees that are none of Mica's: what programs themselves write otherwise each time.

/// A path, with `*` for whatever there is, what may differ, and why.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("*.pyc", &["content"], "the time of the source is in it"),
    ("var/log/*", &["content"], "times"),
    ("*/log-*", &["content", "size"], "times and durations"),
    ("*/.git/index", &["content"], "times and numbers of files"),
    (
        "*/.cargo/.global-cache",
        &["content"],
        "times, in a database",
    ),
    (
        "*/target/.rustc_info.json",
        &["content", "size"],
        "when rustc was made",
    ),
    (
        "*/target/debug/.fingerprint/*",
        &["content", "size"],
        "when rustc was made, times of the sources",
    ),
    (
        "home/worker/worker/data/*",
        &["content", "size"],
        "random numbers, times, an identifier of the cluster",
    ),
    (
        "var/cache/ldconfig*",
        &["content", "size", "mtime"],
        "closed to all but root, and ldconfig does without; times and numbers of files",
    ),
    (
        "tmp",
        &["mtime"],
        "a user writes to it in passing, and may not set its times when he commits",
    ),
];

/// How ids of the second tree are shown where it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// As they are.
    Same,
    /// `own` is root; those from `first` on are the others.
    Range { own: u32, first: u32 },
}

impl Ids {
    /// Whether `outside` in the second tree is what `inside` is in the first.
    fn are(self, inside: u32, outside: u32) -> bool {
        let shown = match self {
            Self::Same => None,
            Self::Range { own, .. } if outside == own => Some(0),
            Self::Range { first, .. } => outside.checked_sub(first).map(|nth| nth + 1),
        };
        inside == outside || shown == Some(inside)
    }
}

/// Whether a line of a comparison is about a difference that may be.
pub(super) fn is_allowed(line: &str, ids: Ids) -> bool {
    let Some((path, rest)) = line.split_once(": ") else {
        return false;
    };
    let field = rest.split(' ').next().unwrap_or_default();
    if field == "owner" {
        return owners(rest).is_some_and(|[a, b]| ids.are(a.0, b.0) && ids.are(a.1, b.1));
    }
    let mut known = ALLOWED.iter();
    known.any(|(pattern, fields, _)| fields.contains(&field) && matches(pattern, path))
}

/// Reads `owner is 1:2 on A, 3:4 on B`.
fn owners(text: &str) -> Option<[(u32, u32); 2]> {
    let mut words = text.split(' ').filter(|word| word.contains(':'));
    let mut owner = || {
        let (uid, gid) = words.next()?.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    };
    Some([owner()?, owner()?])
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let mut ends = (0..=rest.len()).filter(|&at| rest.is_char_boundary(at));
            ends.any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, is_allowed, matches};

    #[test]
    fn a_pattern_is_one_of_whole_paths() {
        assert!(matches("*.pyc", "a/b.pyc") && matches("a/*/c", "a/b/b/c") && matches("a", "a"));
        assert!(!matches("*.pyc", "a.py") && !matches("a/*", "b/a/c") && !matches("a", "ab"));
    }

    #[test]
    fn only_what_is_listed_may_differ() {
        let range = Ids::Range {
            own: 1000,
            first: 100_000,
        };
        assert!(is_allowed("a/b.pyc: content is 1 on A, 2 on B", Ids::Same));
        assert!(!is_allowed("a/b.pyc: mode is 1 on A, 2 on B", Ids::Same));
        assert!(!is_allowed("a/b.pyc: 'f' on A only", Ids::Same));
        assert!(!is_allowed(
            "a: owner is 0:0 on A, 1000:1000 on B",
            Ids::Same
        ));
        assert!(is_allowed("a: owner is 0:43 on A, 1000:100042 on B", range));
        assert!(!is_allowed(
            "a: owner is 1:43 on A, 1000:100042 on B",
            range
        ));
    }
}
