//! Counts which rules of an overlay take effect, in a build that shows what tests come to (feature `met`).
//!
//! A rule is counted at the place that makes it true, when it does. Without the feature [`met!`](crate::met!) is nothing at all.

/// Counts that the rule of this number, an OVL-n of docs/semantics.md, took effect: always, or where a condition holds.
#[cfg(feature = "met")]
#[macro_export]
macro_rules! met {
    ($rule:literal) => {
        $crate::met::count($rule)
    };
    ($rule:literal, $where:expr) => {
        if $where {
            $crate::met::count($rule)
        }
    };
}

/// Counts that the rule of this number, an OVL-n of docs/semantics.md, took effect, always or where a condition holds: only with feature
/// `met`.
#[cfg(not(feature = "met"))]
#[macro_export]
macro_rules! met {
    ($rule:literal) => {{}};
    ($rule:literal, $where:expr) => {{
        _ = || $where;
    }};
}

#[cfg(feature = "met")]
mod counters {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// More than there are rules.
    const RULES: usize = 256;

    static COUNTS: [AtomicU64; RULES] = [const { AtomicU64::new(0) }; RULES];

    /// Counts rule number `rule`.
    pub fn count(rule: u8) {
        if let Some(count) = COUNTS.get(usize::from(rule)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Returns the rules that took effect since the process began, and how often.
    pub fn counts() -> impl Iterator<Item = (u8, u64)> {
        let all = (0..=u8::MAX).zip(&COUNTS);
        all.map(|(rule, count)| (rule, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(feature = "met")]
pub use counters::{count, counts};

#[cfg(all(test, feature = "met"))]
mod tests {
    #[test]
    fn what_is_counted_is_told() {
        crate::met!(1);
        crate::met!(1, true);
        crate::met!(1, false);
        assert!(super::counts().any(|told| told == (1, 2)));
    }
}
