//! zstd, bounded, with the memory of one thread kept for the next blob.

use crate::blob::{BLOB_RAW_BYTES_MAX, Encoding};
use crate::error::WriteError;

/// Compressed must save at least one part in this many, or the blob is stored raw: it reads back faster.
const SAVING_PART_MIN: usize = 32;

/// Only longer ones are looked at before they are compressed: for those that takes longer than a look.
const LOOK_BYTES_MIN: usize = 64 << 10;
/// Of blobs that look like noise in a row, one of so many is compressed all the same.
const TRUST_MAX: u32 = 8;
/// What is looked at: pieces from all over the blob.
const LOOK_PIECES: usize = 64;
const LOOK_PIECE_BYTES: usize = 256;
/// Chi-square of the sample's bytes: about 255 for noise. At this, its bytes could be told apart in 0.6 % of their space.
const NOISE_CHI_SQUARE_MAX: u64 = 1024;

/// Working memory of one thread: compressor, decompressor and their buffers. Make one per thread and keep it;
/// it grows to the largest blob it meets.
#[derive(Default)]
pub struct Scratch {
    compressor: Option<(i32, zstd::bulk::Compressor<'static>)>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    compressed: Vec<u8>,
    /// Blobs in a row that did not shrink.
    stubborn: u32,
    pub(crate) opened: Vec<u8>,
    pub(crate) raw: Vec<u8>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shorter of the raw and the compressed bytes.
    pub(crate) fn compress<'s>(&'s mut self, raw: &'s [u8], level: i32) -> Result<(Encoding, &'s [u8]), WriteError> {
        // What one file holds is of one kind: after a blob that did not shrink, one that looks like noise is not tried.
        let is_trusted = self.stubborn % TRUST_MAX != 0 && raw.len() >= LOOK_BYTES_MIN;
        if is_trusted && is_noise(raw) {
            self.stubborn = self.stubborn.wrapping_add(1);
            return Ok((Encoding::Raw, raw));
        }
        let refused = |error: std::io::Error| WriteError::Internal { what: format!("zstd: {error}") };
        let compressor = match &mut self.compressor {
            Some((at, compressor)) if *at == level => compressor,
            slot => &mut slot.insert((level, zstd::bulk::Compressor::new(level).map_err(refused)?)).1,
        };
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let bytes = compressor.compress_to_buffer(raw, &mut self.compressed).map_err(refused)?;
        if bytes + raw.len() / SAVING_PART_MIN < raw.len() {
            self.stubborn = 0;
            Ok((Encoding::Zstd, &self.compressed[..bytes]))
        } else {
            self.stubborn = self.stubborn.wrapping_add(1);
            Ok((Encoding::Raw, raw))
        }
    }

    /// From `opened` to `raw`, exactly `raw_bytes` of it: a bomb costs no more than the index, which is authenticated, says.
    pub(crate) fn decompress(&mut self, encoding: Encoding, raw_bytes: usize) -> Result<(), &'static str> {
        if raw_bytes > BLOB_RAW_BYTES_MAX {
            return Err("a blob above the limit");
        }
        match encoding {
            Encoding::Raw => std::mem::swap(&mut self.opened, &mut self.raw),
            Encoding::Zstd => {
                let decompressor = match &mut self.decompressor {
                    Some(decompressor) => decompressor,
                    slot => slot.insert(zstd::bulk::Decompressor::new().map_err(|_| "zstd does not start")?),
                };
                // A slice, not the vector: its capacity may be larger than this blob may be.
                // Not cleared before: zeros for a megabyte that is overwritten at once cost as much as its decryption.
                self.raw.resize(raw_bytes, 0);
                let bytes = decompressor.decompress_to_buffer(&self.opened, self.raw.as_mut_slice()).map_err(|_| "not zstd, or longer than recorded")?;
                self.raw.truncate(bytes);
            }
        }
        if self.raw.len() == raw_bytes { Ok(()) } else { Err("its length is not the recorded one") }
    }
}

/// True if its bytes are as evenly spread as those of encrypted or compressed data.
fn is_noise(raw: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    let step = (raw.len() / LOOK_PIECES).max(LOOK_PIECE_BYTES);
    let pieces = raw.chunks(step).filter_map(|chunk| chunk.get(..LOOK_PIECE_BYTES)).take(LOOK_PIECES);
    let mut looked_at = 0;
    for piece in pieces {
        piece.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        looked_at += piece.len() as u64;
    }
    let expected = looked_at / 256;
    let squares: u64 = counts.iter().map(|count| count.abs_diff(expected).pow(2)).sum();
    expected > 0 && squares / expected < NOISE_CHI_SQUARE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(raw: &[u8], claimed_bytes: usize) -> Result<(Encoding, Vec<u8>), &'static str> {
        let mut scratch = Scratch::new();
        let (encoding, stored) = scratch.compress(raw, 3).expect("compress");
        scratch.opened = stored.to_vec();
        scratch.decompress(encoding, claimed_bytes)?;
        Ok((encoding, scratch.raw))
    }

    #[test]
    fn text_shrinks_and_noise_stays() {
        let text = b"the same line again\n".repeat(1000);
        assert_eq!(through(&text, text.len()), Ok((Encoding::Zstd, text)));
        let mut noise = vec![0; 100_000];
        aws_lc_rs::rand::fill(&mut noise).expect("random");
        assert_eq!(through(&noise, noise.len()), Ok((Encoding::Raw, noise)));
        assert_eq!(through(b"", 0), Ok((Encoding::Raw, vec![])));
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        aws_lc_rs::rand::fill(&mut noise).expect("random");
        noise
    }

    #[test]
    fn noise_is_known_by_a_look() {
        let text = b"2026-11-25 a line of a log, like any other\n".repeat(10_000);
        let hex: Vec<u8> = noise(200_000).iter().map(|byte| b"0123456789abcdef"[usize::from(byte % 16)]).collect();
        let pages: Vec<u8> = noise(400_000).chunks(4096).flat_map(|page| [page, &[0; 1024]].concat()).collect();
        for (name, raw, expected) in [("noise", noise(LOOK_BYTES_MIN), true), ("long noise", noise(5_000_001), true), ("text", text, false), ("hex", hex, false), ("pages", pages, false)] {
            assert_eq!(is_noise(&raw), expected, "{name}");
        }
    }

    #[test]
    fn after_noise_what_shrinks_is_still_compressed() {
        let mut scratch = Scratch::new();
        let text = b"the same line again\n".repeat(10_000);
        // Noise that is there twice shrinks, and shows it to no look: it is found out by the trials between.
        let twice = noise(100_000).repeat(2);
        let mut compress = |raw: &[u8]| scratch.compress(raw, 3).expect("compress").0;
        for _ in 0..20 {
            assert_eq!(compress(&noise(100_000)), Encoding::Raw);
        }
        assert_eq!(compress(&text), Encoding::Zstd);
        assert_eq!(compress(&twice), Encoding::Zstd, "the one before shrank");
        assert_eq!(compress(&noise(100_000)), Encoding::Raw);
        let tried = (0..2 * TRUST_MAX).filter(|_| compress(&twice) == Encoding::Zstd).count();
        assert!(tried as u32 > TRUST_MAX, "{tried}");
    }

    #[test]
    fn a_wrong_length_is_an_error_both_ways() {
        let text = vec![b'x'; 1 << 20];
        assert!(through(&text, text.len() - 1).is_err());
        assert!(through(&text, text.len() + 1).is_err());
        assert!(through(&text, BLOB_RAW_BYTES_MAX + 1).is_err());
    }
}
