//! Seeded randomness: the same seed makes the same run.

use std::sync::Mutex;

use holdfast_repository::Random;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults with.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A generator of its own, so that what one actor draws does not shift what another does.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// One of them; none of none.
    pub(crate) fn pick<'i, T>(&self, items: &'i [T]) -> Option<&'i T> {
        (!items.is_empty()).then(|| &items[self.index(items.len())])
    }

    /// As often between 1 and 10 as between 1,000 and 10,000: below 10 to the `magnitude`.
    pub(crate) fn of_any_size(&self, magnitude: u32) -> u64 {
        let limit = 10_u64.pow(1 + u32::try_from(self.below(magnitude.into())).unwrap());
        limit / 10 + self.below(limit - limit / 10)
    }

    /// True `per_mille` times in a thousand.
    pub(crate) fn hits(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

impl Random for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}
