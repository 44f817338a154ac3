//! Content-defined cut points: FastCDC (2020) with the repository's own gear table.

use std::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};
use holdfast_repository::ChunkerParameters;

/// Part of the format: other normalization gives other cut points.
const NORMALIZATION: Normalization = Normalization::Level1;

/// Finds where chunks end. The table is keyed, so that the lengths of chunks tell nothing to who cannot read them.
#[derive(Clone)]
pub struct Cutter {
    min_bytes: usize,
    avg_bytes: usize,
    max_bytes: usize,
    mask_short: u64,
    mask_long: u64,
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Cutter {
    /// From the repository's parameters.
    pub fn new(parameters: &ChunkerParameters) -> Self {
        let avg_bytes = parameters.avg_bytes as usize;
        let (mask_short, mask_long) = select_masks(avg_bytes, NORMALIZATION);
        let (gear, gear_shifted) = get_gear_with_seed(parameters.gear_seed);
        Self {
            min_bytes: parameters.min_bytes as usize,
            avg_bytes,
            max_bytes: parameters.max_bytes as usize,
            mask_short,
            mask_long,
            gear,
            gear_shifted,
        }
    }

    /// Bytes that must be at hand for a cut, unless the data ends before.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Length of the first chunk of `data`.
    pub fn cut(&self, data: &[u8]) -> usize {
        let (short, long) = (self.mask_short, self.mask_long);
        let (_, length) = cut_gear(
            data,
            self.min_bytes,
            self.avg_bytes,
            self.max_bytes,
            short,
            long,
            short << 1,
            long << 1,
            &self.gear,
            &self.gear_shifted,
        );
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
