//! Chance that can be had again: everything of a run follows from one number.

use std::time::Duration;

/// `SplitMix64`: no quality is asked for but that a seed gives the same run.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source of its own, for a task of its own.
    pub(crate) fn branch(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    /// So many milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from).max(1))
    }
}

/// Cards that are dealt in random order, each as often as any other: in a short run too, everything has its turn.
#[derive(Debug)]
pub(crate) struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    pub(crate) fn new(all: Vec<T>) -> Self {
        Self {
            all,
            left: Vec::new(),
        }
    }

    /// The next card.
    pub(crate) fn deal(&mut self, chance: &mut Chance) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let at = chance.below(self.left.len());
        self.left.swap_remove(at)
    }
}
