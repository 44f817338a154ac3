//! zstd within bounds: a blob to the length that the index says, another object to a limit.

use std::io::Read as _;

/// Larger windows than any restic writes are refused: the window is memory, whatever comes out.
const WINDOW_LOG_MAX: u32 = 25;
/// In front of what is compressed, where objects may be either.
const COMPRESSED: u8 = 2;

/// An index, a snapshot: JSON, or JSON compressed.
pub(crate) fn object(plain: &[u8], bytes_max: usize) -> Result<Vec<u8>, &'static str> {
    match plain.first() {
        None => Err("it is empty"),
        Some(b'{' | b'[') if plain.len() > bytes_max => Err("it is too large"),
        Some(b'{' | b'[') => Ok(plain.to_vec()),
        Some(&COMPRESSED) => stream(&plain[1..], bytes_max),
        Some(_) => Err("it is of a form that this version does not know"),
    }
}

fn stream(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, &'static str> {
    let refused = |_| "it is not zstd";
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(refused)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(refused)?;
    let mut raw = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut raw).map_err(refused)?;
    if raw.len() > bytes_max { Err("it is too large") } else { Ok(raw) }
}

/// A blob, into `raw`: exactly as long as it is said to be, and no memory for more.
pub(crate) fn blob(compressed: &[u8], raw_bytes: usize, raw: &mut Vec<u8>, decompressor: &mut zstd::bulk::Decompressor<'_>) -> Result<(), &'static str> {
    raw.resize(raw_bytes, 0);
    let bytes = decompressor.decompress_to_buffer(compressed, raw.as_mut_slice()).map_err(|_| "it is not zstd, or longer than the index says")?;
    if bytes == raw_bytes { Ok(()) } else { Err("it is shorter than the index says") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_costs_no_more_than_its_limit() {
        let bomb = zstd::bulk::compress(&vec![b' '; 50 << 20], 3).unwrap();
        let framed = [&[COMPRESSED][..], &bomb].concat();
        assert_eq!(object(&framed, 1 << 20), Err("it is too large"));
        let mut raw = Vec::new();
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        assert!(blob(&bomb, 1 << 20, &mut raw, &mut decompressor).is_err());
        assert!(raw.capacity() <= 2 << 20);
        assert_eq!(object(b"{}", 2), Ok(b"{}".to_vec()));
        assert!(object(b"{  }", 2).is_err() && object(b"", 2).is_err() && object(b"\x01{}", 9).is_err());
    }
}
