//! The small mutator of the tests on hostile bytes: seeded, so that a failure plays again.

/// The seed of a run, from `HOLDFAST_FUZZ_SEED`; 1 if nobody asks for another.
pub fn seed() -> u64 {
    number("HOLDFAST_FUZZ_SEED", 1)
}

/// How many inputs a test plays, from `HOLDFAST_FUZZ_ROUNDS`.
pub fn rounds(otherwise: u64) -> u64 {
    number("HOLDFAST_FUZZ_ROUNDS", otherwise)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// An input is not grown beyond this.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// Chance, and what it does to an input.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// From `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `below`; 0 if that is 0.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// Bytes of nothing but chance.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// One to five small changes.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = TELLING[self.below(TELLING.len())],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
                // A length that promises far more than there is.
                4 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                5 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
}
