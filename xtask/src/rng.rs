//! A small random generator: a seed in a failure report must give the same run on every machine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Starts a sequence.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts a sequence from `MICA_SEED`, else from the clock; says so, that a failure can be had again.
    pub(crate) fn of_this_run(tier: &str) -> anyhow::Result<Self> {
        let seed = match std::env::var("MICA_SEED") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("MICA_SEED is `{text}`, not a number"))?,
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
        };
        println!("{tier}: seed {seed} (MICA_SEED={seed} repeats it)");
        Ok(Self::new(seed))
    }

    /// Returns the next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// Returns true once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Picks one of `choices`, or `default` if there are none.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T], default: T) -> T {
        let bound = u64::try_from(choices.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.below(bound)).unwrap_or(0);
        choices.get(index).copied().unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for _ in 0..100 {
            assert_eq!(a.next(), b.next());
        }
    }

    #[test]
    fn numbers_stay_below_the_bound() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
