//! Numbers that look random and come again: a test that fails on them fails on them tomorrow.

use crate::soak;

/// A sequence (SplitMix64, Steele and others 2014).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of every short form; `TARE_SOAK_SEED` is another one.
    pub fn seeded() -> Self {
        Self(soak::size("TARE_SOAK_SEED", 1))
    }

    /// The next number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// One of several.
    ///
    /// # Panics
    /// Without any.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn they_are_spread_and_come_again() {
        let mut numbers = Numbers(7);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[numbers.below(10)] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(Numbers(7).below(1 << 40), Numbers(7).below(1 << 40));
        assert_eq!((numbers.below(0), *numbers.of(&["one"])), (0, "one"));
    }
}
