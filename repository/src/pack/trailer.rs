//! The list of blobs at a pack's end.

use super::{FOOTER_BYTES, FOOTER_MAGIC, HEADER_BYTES, PackEntry, PackInfo, parse_header, trailer_aad};
use crate::blob::{BLOB_RAW_BYTES_MAX, BlobKind, Encoding, PackName};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::crypto::{Keys, TAG_BYTES};
use crate::error::ReadError;
use crate::id::BlobId;

/// Kind and encoding, offset, stored length, raw length, id.
const ENTRY_BYTES: usize = 2 + 4 + 4 + 4 + 32;
/// The plain trailer is a multiple of this, so that its length does not count the blobs exactly.
const STEP_BYTES: usize = 512;

pub(crate) fn encode(entries: &[PackEntry]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u32(entries.len() as u32);
    for entry in entries {
        encoder.u8(entry.kind as u8);
        encoder.u8(entry.encoding as u8);
        encoder.u32(entry.offset);
        encoder.u32(entry.stored_bytes);
        encoder.u32(entry.raw_bytes);
        encoder.fixed(&entry.id.0);
    }
    let mut trailer = encoder.finish();
    trailer.resize(trailer.len().next_multiple_of(STEP_BYTES), 0);
    trailer
}

/// Blobs must follow each other from the header on, without a gap, and end where the padding begins.
pub(crate) fn decode(trailer: &[u8], end: usize) -> Result<Vec<PackEntry>, Malformed> {
    let mut decoder = Decoder::new(trailer);
    let count = decoder.u32()? as usize;
    if count.checked_mul(ENTRY_BYTES).is_none_or(|bytes| bytes > decoder.remaining()) {
        return Err(Malformed("count above the input"));
    }
    let mut entries = Vec::with_capacity(count);
    let mut next = HEADER_BYTES;
    for _ in 0..count {
        let entry = decode_entry(&mut decoder)?;
        if entry.offset as usize != next || (entry.stored_bytes as usize) < TAG_BYTES {
            return Err(Malformed("blobs do not follow each other"));
        }
        next = next.checked_add(entry.stored_bytes as usize).filter(|&next| next <= end).ok_or(Malformed("a blob beyond the pack"))?;
        entries.push(entry);
    }
    let rest = decoder.slice(decoder.remaining())?;
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Malformed("bytes behind the entries"));
    }
    Ok(entries)
}

fn decode_entry(decoder: &mut Decoder<'_>) -> Result<PackEntry, Malformed> {
    let kind = BlobKind::from_u8(decoder.u8()?).ok_or(Malformed("unknown blob kind"))?;
    let encoding = Encoding::from_u8(decoder.u8()?).ok_or(Malformed("unknown encoding"))?;
    let (offset, stored_bytes, raw_bytes) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
    if raw_bytes as usize > BLOB_RAW_BYTES_MAX {
        return Err(Malformed("a blob above the limit"));
    }
    Ok(PackEntry { id: BlobId(decoder.fixed()?), kind, encoding, offset, stored_bytes, raw_bytes })
}

/// How many bytes from the pack's end the sealed trailer and the footer take.
pub(super) fn tail_bytes(name: &PackName, footer: &[u8], object_bytes: u64) -> Result<usize, ReadError> {
    let damaged = || ReadError::damaged(name.to_string(), "it does not end as a pack does");
    let (length, magic) = footer.split_first_chunk::<4>().ok_or_else(damaged)?;
    let tail = u64::from(u32::from_le_bytes(*length)) + FOOTER_BYTES as u64;
    if magic != FOOTER_MAGIC || tail + HEADER_BYTES as u64 > object_bytes {
        return Err(damaged());
    }
    usize::try_from(tail).map_err(|_| damaged())
}

/// The blobs that a pack lists, from its header and its last bytes. `Err(Ok(n))`: the last `n` bytes are needed.
pub(crate) fn read_trailer(
    keys: &Keys,
    name: &PackName,
    object_bytes: u64,
    header: &[u8],
    tail: &[u8],
) -> Result<(PackInfo, Vec<PackEntry>), Result<usize, ReadError>> {
    let damaged = |reason: &str| ReadError::damaged(name.to_string(), reason);
    let salt = parse_header(name, header).map_err(Err)?;
    let footer_at = tail.len().checked_sub(FOOTER_BYTES).ok_or(Ok(FOOTER_BYTES))?;
    let wanted = tail_bytes(name, &tail[footer_at..], object_bytes).map_err(Err)?;
    if tail.len() < wanted {
        return Err(Ok(wanted));
    }
    let sealed = &tail[tail.len() - wanted..footer_at];
    let at = object_bytes - wanted as u64;
    let mut plain = Vec::new();
    keys.pack(name.class, &salt)
        .and_then(|cipher| cipher.open(at, &trailer_aad(name, &header[..HEADER_BYTES]), sealed, &mut plain))
        .map_err(|error| Err(damaged(&format!("trailer: {error}"))))?;
    let end = usize::try_from(at).map_err(|_| Err(damaged("too large")))?;
    let entries = decode(&plain, end).map_err(|error| Err(damaged(&format!("trailer: {error}"))))?;
    Ok((PackInfo { name: *name, object_bytes, salt }, entries))
}
