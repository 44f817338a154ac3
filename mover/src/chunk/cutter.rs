//! Content-defined cut points: FastCDC (2020) with the repository's own gear table.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};
use holdfast_repository::ChunkerParameters;

/// Part of the format: other normalization gives other cut points.
const NORMALIZATION: Normalization = Normalization::Level1;

/// What each byte adds to the hash.
type Gear = [u64; 256];

/// Finds where chunks end. The table is keyed, so that the lengths of chunks tell nothing to who cannot read them.
#[derive(Clone)]
pub struct Cutter {
    min_bytes: usize,
    avg_bytes: usize,
    max_bytes: usize,
    mask_short: u64,
    mask_long: u64,
    gear: Box<Gear>,
    gear_shifted: Box<Gear>,
}

/// How far a chunk was looked through in which no cut was found yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    bytes: usize,
    hash: u64,
}

impl Cutter {
    /// From the repository's parameters.
    pub fn new(parameters: &ChunkerParameters) -> Self {
        let avg_bytes = parameters.avg_bytes as usize;
        let (mask_short, mask_long) = select_masks(avg_bytes, NORMALIZATION);
        let (gear, gear_shifted) = get_gear_with_seed(parameters.gear_seed);
        let boxed = |table: &[u64]| {
            let mut gear = Box::new([0; 256]);
            gear.copy_from_slice(table);
            gear
        };
        Self {
            min_bytes: parameters.min_bytes as usize,
            avg_bytes,
            max_bytes: parameters.max_bytes as usize,
            mask_short,
            mask_long,
            gear: boxed(&gear),
            gear_shifted: boxed(&gear_shifted),
        }
    }

    /// The longest chunk.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Length of the first chunk of `data`, of which nothing comes any more.
    #[cfg(test)]
    pub(super) fn cut(&self, data: &[u8]) -> usize {
        self.find(data, &mut Looked::default()).unwrap_or(data.len())
    }

    /// Length of the first chunk of `data`, if what is there tells. If not, the next call goes on where this one came to, with more data.
    pub fn find(&self, data: &[u8], looked: &mut Looked) -> Option<usize> {
        let data = &data[..data.len().min(self.max_bytes)];
        looked.bytes = looked.bytes.max(self.min_bytes);
        // Bytes are looked at in pairs: an odd one at the end is no place to cut.
        let (middle, end) = (self.avg_bytes.min(data.len()) / 2 * 2, data.len() / 2 * 2);
        let found = self.walk(data, middle, self.mask_short, looked).or_else(|| self.walk(data, end, self.mask_long, looked));
        found.or((data.len() == self.max_bytes).then_some(self.max_bytes))
    }

    /// The first place before `end` where no bit of the mask is in the hash.
    fn walk(&self, data: &[u8], end: usize, mask: u64, looked: &mut Looked) -> Option<usize> {
        let bytes = data.get(looked.bytes..end)?;
        let mut hash = looked.hash;
        // The same as byte by byte, with one shift for two.
        for (pair, place) in bytes.chunks_exact(2).zip((looked.bytes..).step_by(2)) {
            hash = (hash << 2).wrapping_add(self.gear_shifted[usize::from(pair[0])]);
            if hash & (mask << 1) == 0 {
                return Some(place);
            }
            hash = hash.wrapping_add(self.gear[usize::from(pair[1])]);
            if hash & mask == 0 {
                return Some(place + 1);
            }
        }
        *looked = Looked { bytes: end, hash };
        None
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::cut_gear;
    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, bytes: usize, kinds: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        (0..bytes).map(|_| (next() % kinds) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// As the library's, whose format this is, however the data comes.
        #[test]
        fn the_cuts_are_the_librarys(seed: u64, bytes in 0_usize..200_000, kinds in 1_u64..=256, avg_kib in 1_u32..40, read in 1_usize..30_000) {
            let (min, avg, max) = (avg_kib * 256, avg_kib * 1024, avg_kib * 4096);
            let parameters = ChunkerParameters {
                gear_seed: seed,
                min_bytes: min,
                avg_bytes: avg,
                max_bytes: max,
                bundle_bytes: 1 << 20,
                small_file_bytes: 128 << 10,
                fine_step_bytes: 16 << 10,
            };
            let (cutter, data) = (Cutter::new(&parameters), noise(seed, bytes, kinds));
            let (gear, shifted) = get_gear_with_seed(seed);
            let (short, long) = select_masks(avg as usize, NORMALIZATION);
            let mut rest = data.as_slice();
            while !rest.is_empty() {
                let (_, length) = cut_gear(rest, min as usize, avg as usize, max as usize, short, long, short << 1, long << 1, &gear, &shifted);
                let mut looked = Looked::default();
                let in_reads = (read..rest.len()).step_by(read).find_map(|there| cutter.find(&rest[..there], &mut looked));
                let in_reads = in_reads.or_else(|| cutter.find(rest, &mut looked)).unwrap_or(rest.len());
                prop_assert_eq!((cutter.cut(rest), in_reads), (length, length), "{} bytes are left", rest.len());
                rest = &rest[length..];
            }
        }
    }

    /// Cut points are format: if this fails, every repository would be sent again, chunk by chunk.
    #[test]
    fn cut_points_never_change() {
        let parameters = ChunkerParameters {
            gear_seed: 0x0123_4567_89ab_cdef,
            min_bytes: 256 << 10,
            avg_bytes: 1 << 20,
            max_bytes: 4 << 20,
            bundle_bytes: 1 << 20,
            small_file_bytes: 128 << 10,
            fine_step_bytes: 16 << 10,
        };
        let mut state = 1u64;
        let data: Vec<u8> = (0..12 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let cutter = Cutter::new(&parameters);
        let mut lengths = Vec::new();
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let length = cutter.cut(rest);
            lengths.push(length);
            rest = &rest[length..];
        }
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        assert_eq!(lengths, GOLDEN);
    }

    const GOLDEN: &[usize] = &[2_115_587, 1_986_819, 1_446_541, 2_956_297, 1_623_379, 406_136, 1_201_122, 782_669, 64_362];
}
