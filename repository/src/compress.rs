//! zstd, bounded.

/// Working memory of one thread: compressor, decompressor and their buffers. Make one per thread and keep it.
#[derive(Default)]
pub struct Scratch {}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Empty; grows to the largest blob it meets.
    pub fn new() -> Self {
        Self::default()
    }
}
