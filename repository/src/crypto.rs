//! Keys derived from the master key, and AES-256-GCM under them.
//!
//! Every sealing has a key of its own (a fresh salt or a fresh pack id), so nonces are counters and never meet.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use crate::blob::{BlobKind, PackClass};
use crate::error::WriteError;
use crate::id::{BlobId, MasterKeyId};

/// Length of a GCM tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Begins every additional-data string: cipher texts of another format version never open.
pub(crate) const DOMAIN: &[u8; 10] = b"holdfast/1";

pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Sealed bytes that do not open: another key, another place, or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub(crate) struct NotAuthentic;

/// All keys of an open repository, derived once.
pub(crate) struct Keys {
    pub(crate) master: Key,
    pub(crate) master_id: MasterKeyId,
    pub(crate) config: Key,
    pub(crate) gear_seed: u64,
    sealed: Key,
    data_packs: Key,
    meta_packs: Key,
    blobs: [Key; BlobKind::ALL.len()],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.master_id)
    }
}

impl Keys {
    pub(crate) fn derive(master: Key) -> Self {
        let subkey = |context: &str| Zeroizing::new(blake3::derive_key(context, master.as_slice()));
        let public = blake3::derive_key("holdfast 2026-11 repository/1 master key id", master.as_slice());
        let gear = subkey("holdfast 2026-11 repository/1 chunker gear seed");
        let mut master_id = [0; 16];
        master_id.copy_from_slice(&public[..16]);
        let mut seed = [0; 8];
        seed.copy_from_slice(&gear[..8]);
        Self {
            master_id: MasterKeyId(master_id),
            config: subkey("holdfast 2026-11 repository/1 config authentication"),
            gear_seed: u64::from_le_bytes(seed),
            sealed: subkey("holdfast 2026-11 repository/1 sealed objects"),
            data_packs: subkey("holdfast 2026-11 repository/1 data packs"),
            meta_packs: subkey("holdfast 2026-11 repository/1 metadata packs"),
            blobs: BlobKind::ALL.map(|kind| subkey(blob_context(kind))),
            master,
        }
    }

    pub(crate) fn blob_id(&self, kind: BlobKind, raw: &[u8]) -> BlobId {
        BlobId(*blake3::keyed_hash(&self.blobs[kind as usize - 1], raw).as_bytes())
    }

    /// What a data blob's id and fine hashes are made with.
    pub(crate) fn data_blobs(&self) -> &[u8; 32] {
        &self.blobs[BlobKind::Data as usize - 1]
    }

    /// The key of one sealed object, by its salt.
    pub(crate) fn sealed_object(&self, salt: &[u8; 32]) -> Result<Cipher, NotAuthentic> {
        Cipher::derived(&self.sealed, salt)
    }

    /// The key of one pack, by its salt.
    pub(crate) fn pack(&self, class: PackClass, salt: &[u8; 32]) -> Result<Cipher, NotAuthentic> {
        match class {
            PackClass::Data => Cipher::derived(&self.data_packs, salt),
            PackClass::Meta => Cipher::derived(&self.meta_packs, salt),
        }
    }
}

fn blob_context(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Data => "holdfast 2026-11 repository/1 blob id: data",
        BlobKind::Bundle => "holdfast 2026-11 repository/1 blob id: bundle",
        BlobKind::Catalog => "holdfast 2026-11 repository/1 blob id: catalog",
        BlobKind::ExtentList => "holdfast 2026-11 repository/1 blob id: extent list",
        BlobKind::FineHashes => "holdfast 2026-11 repository/1 blob id: fine hashes",
        BlobKind::Refs => "holdfast 2026-11 repository/1 blob id: refs",
    }
}

/// AES-256-GCM under one key.
pub(crate) struct Cipher(LessSafeKey);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, NotAuthentic> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| NotAuthentic)?)))
    }

    fn derived(class: &Key, salt: &[u8; 32]) -> Result<Self, NotAuthentic> {
        let key = Zeroizing::new(*blake3::keyed_hash(class, salt).as_bytes());
        Self::new(&key)
    }

    /// Seals `buffer[from..]` in place and appends the tag. A `counter` is used once per key.
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut Vec<u8>, from: usize) -> Result<(), WriteError> {
        let tag = self.0.seal_in_place_separate_tag(nonce(counter), Aad::from(aad), &mut buffer[from..]).map_err(refused)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Seals `text` into `sealed`, which has room for it and the tag behind it, no more: the bytes are looked at once.
    pub(crate) fn seal_into(&self, counter: u64, aad: &[u8], text: &[u8], sealed: &mut [u8]) -> Result<(), WriteError> {
        self.0.seal_in_place_scatter(nonce(counter), Aad::from(aad), &mut [], text, sealed).map_err(refused)
    }

    /// Opens `sealed` (tag at its end) into `plain`, which is replaced.
    pub(crate) fn open(&self, counter: u64, aad: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let text_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(NotAuthentic)?;
        let (text, tag) = sealed.split_at(text_bytes);
        // What is left of earlier bytes is overwritten.
        plain.resize(text_bytes, 0);
        self.0.open_separate_gather(nonce(counter), Aad::from(aad), text, tag, plain).map_err(|_| NotAuthentic)
    }
}

fn refused(_: Unspecified) -> WriteError {
    WriteError::Internal { what: "AES-GCM refused to seal".into() }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Padmé: at most 12 % more, and a length says only O(log log n) bits of what it hides.
pub(crate) fn padme(bytes: u64) -> u64 {
    if bytes < 2 {
        return bytes;
    }
    let exponent = u64::from(bytes.ilog2());
    let mantissa_bits = u64::from(exponent.max(1).ilog2()) + 1;
    let mask = (1_u64 << exponent.saturating_sub(mantissa_bits)) - 1;
    (bytes + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::derive(Zeroizing::new([3; 32]))
    }

    #[test]
    fn one_content_has_one_id_per_kind() {
        let ids = BlobKind::ALL.map(|kind| keys().blob_id(kind, b"same"));
        let mut distinct = ids.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn nothing_opens_elsewhere() {
        let cipher = keys().pack(PackClass::Data, &[1; 32]).expect("cipher");
        let mut sealed = b"text".to_vec();
        cipher.seal(7, b"here", &mut sealed, 0).expect("seal");
        let mut elsewhere = vec![0; sealed.len()];
        cipher.seal_into(7, b"here", b"text", &mut elsewhere).expect("seal");
        assert_eq!(elsewhere, sealed, "in place or not");
        assert!(cipher.seal_into(7, b"here", b"text", &mut elsewhere[1..]).is_err(), "no room for the tag");
        let mut plain = Vec::new();
        assert_eq!(cipher.open(7, b"here", &sealed, &mut plain), Ok(()));
        assert_eq!(plain, b"text");
        assert_eq!(cipher.open(8, b"here", &sealed, &mut plain), Err(NotAuthentic), "another counter");
        assert_eq!(cipher.open(7, b"there", &sealed, &mut plain), Err(NotAuthentic), "another place");
        let other = keys().pack(PackClass::Meta, &[1; 32]).expect("cipher");
        assert_eq!(other.open(7, b"here", &sealed, &mut plain), Err(NotAuthentic), "another class");
        assert_eq!(cipher.open(7, b"here", &sealed[..10], &mut plain), Err(NotAuthentic), "cut");
    }

    #[test]
    fn padding_costs_at_most_an_eighth() {
        for bytes in (0..100_000).chain([(1 << 25) - 1, (1 << 25) + 1]) {
            let padded = padme(bytes);
            assert!(padded >= bytes && padded - bytes <= bytes / 8, "{bytes} -> {padded}");
            assert_eq!(padme(padded), padded);
        }
    }
}
