//! zstd, bounded, with the memory of one thread kept for the next blob.

use crate::blob::{BLOB_RAW_BYTES_MAX, Encoding};
use crate::error::WriteError;

/// Compressed must save at least one part in this many, or the blob is stored raw: it reads back faster.
const SAVING_PART_MIN: usize = 32;

/// Working memory of one thread: compressor, decompressor and their buffers. Make one per thread and keep it;
/// it grows to the largest blob it meets.
#[derive(Default)]
pub struct Scratch {
    compressor: Option<(i32, zstd::bulk::Compressor<'static>)>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    compressed: Vec<u8>,
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
        let refused = |error: std::io::Error| WriteError::Internal { what: format!("zstd: {error}") };
        let compressor = match &mut self.compressor {
            Some((at, compressor)) if *at == level => compressor,
            slot => &mut slot.insert((level, zstd::bulk::Compressor::new(level).map_err(refused)?)).1,
        };
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let bytes = compressor.compress_to_buffer(raw, &mut self.compressed).map_err(refused)?;
        if bytes + raw.len() / SAVING_PART_MIN < raw.len() {
            Ok((Encoding::Zstd, &self.compressed[..bytes]))
        } else {
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

    #[test]
    fn a_wrong_length_is_an_error_both_ways() {
        let text = vec![b'x'; 1 << 20];
        assert!(through(&text, text.len() - 1).is_err());
        assert!(through(&text, text.len() + 1).is_err());
        assert!(through(&text, BLOB_RAW_BYTES_MAX + 1).is_err());
    }
}
