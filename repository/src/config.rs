//! `config`: what a repository is. Readable without the password, authenticated by the master key; its creation is the commit of init.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::blob::{ChunkerParameters, FINE_STEP_BYTES};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::crypto::Keys;
use crate::error::ReadError;
use crate::features::Features;
use crate::id::{MasterKeyId, RepositoryId};

pub(crate) const NAME: &str = "config";
const MAGIC: &[u8; 8] = b"HOLDFAST";
const FORMAT: u16 = 1;
const MAC_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) repository: RepositoryId,
    pub(crate) master_key: MasterKeyId,
    pub(crate) features: Features,
    pub(crate) cut: CutParameters,
    pub(crate) created_ms: i64,
    /// What the probe found at init.
    pub(crate) conditional_create: bool,
    /// For later; kept as it is.
    pub(crate) extensions: BTreeMap<String, Vec<u8>>,
}

/// The stored part of `ChunkerParameters`; the seed comes from the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CutParameters {
    pub(crate) min_bytes: u32,
    pub(crate) avg_bytes: u32,
    pub(crate) max_bytes: u32,
    pub(crate) bundle_bytes: u32,
    pub(crate) small_file_bytes: u32,
    pub(crate) fine_step_bytes: u32,
}

impl CutParameters {
    pub(crate) const FIRST: Self = Self {
        min_bytes: 256 << 10,
        avg_bytes: 1 << 20,
        max_bytes: 4 << 20,
        bundle_bytes: 1 << 20,
        small_file_bytes: 128 << 10,
        fine_step_bytes: FINE_STEP_BYTES as u32,
    };

    pub(crate) fn with_seed(self, gear_seed: u64) -> ChunkerParameters {
        ChunkerParameters {
            gear_seed,
            min_bytes: self.min_bytes,
            avg_bytes: self.avg_bytes,
            max_bytes: self.max_bytes,
            bundle_bytes: self.bundle_bytes,
            small_file_bytes: self.small_file_bytes,
            fine_step_bytes: self.fine_step_bytes,
        }
    }

    fn check(self) -> Result<Self, Malformed> {
        let ordered = 64 <= self.min_bytes && self.min_bytes <= self.avg_bytes && self.avg_bytes <= self.max_bytes;
        let bounded = self.avg_bytes <= 4 << 20 && self.max_bytes <= 8 << 20 && self.bundle_bytes <= 4 << 20 && self.small_file_bytes <= 4 << 20;
        let known = self.fine_step_bytes as usize == FINE_STEP_BYTES;
        if ordered && bounded && known { Ok(self) } else { Err(Malformed("cut parameters out of bounds")) }
    }
}

impl Config {
    pub(crate) fn encode(&self, keys: &Keys) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.fixed(MAGIC);
        encoder.u16(FORMAT);
        encoder.fixed(&self.repository.0);
        encoder.fixed(&self.master_key.0);
        self.features.encode(&mut encoder);
        let cut = self.cut;
        for bytes in [cut.min_bytes, cut.avg_bytes, cut.max_bytes, cut.bundle_bytes, cut.small_file_bytes, cut.fine_step_bytes] {
            encoder.u32(bytes);
        }
        encoder.i64(self.created_ms);
        encoder.u8(u8::from(self.conditional_create));
        encode_extensions(&self.extensions, &mut encoder);
        let mut object = encoder.finish();
        let mac = blake3::keyed_hash(&keys.config, &object);
        object.extend_from_slice(mac.as_bytes());
        object
    }

    /// Parses; what it says is true only after `authenticate`.
    pub(crate) fn decode(object: &[u8]) -> Result<Self, ReadError> {
        let damaged = |error: Malformed| ReadError::damaged(NAME, error.to_string());
        let mut decoder = Decoder::new(object);
        if &decoder.fixed::<8>().map_err(damaged)? != MAGIC {
            return Err(ReadError::damaged(NAME, "it does not begin with HOLDFAST"));
        }
        // First of all, so that any later format can say so to any earlier version.
        let format = decoder.u16().map_err(damaged)?;
        if format != FORMAT {
            return Err(ReadError::TooNew { object: NAME.to_owned(), needs: format!("a version that knows repository format {format}") });
        }
        let config = Self::fields(&mut decoder).map_err(damaged)?;
        if decoder.remaining() != MAC_BYTES {
            return Err(ReadError::damaged(NAME, "its length is wrong"));
        }
        Ok(config)
    }

    fn fields(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let repository = RepositoryId(decoder.fixed()?);
        let master_key = MasterKeyId(decoder.fixed()?);
        let features = Features::decode(decoder)?;
        let cut = CutParameters {
            min_bytes: decoder.u32()?,
            avg_bytes: decoder.u32()?,
            max_bytes: decoder.u32()?,
            bundle_bytes: decoder.u32()?,
            small_file_bytes: decoder.u32()?,
            fine_step_bytes: decoder.u32()?,
        }
        .check()?;
        let created_ms = decoder.i64()?;
        let conditional_create = match decoder.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("a flag is neither 0 nor 1")),
        };
        Ok(Self { repository, master_key, features, cut, created_ms, conditional_create, extensions: decode_extensions(decoder)? })
    }

    /// Was it written by a holder of the master key?
    pub(crate) fn authenticate(object: &[u8], keys: &Keys) -> Result<(), ReadError> {
        let split = object.len().saturating_sub(MAC_BYTES);
        let (content, mac) = object.split_at(split);
        let mac = Zeroizing::new(<[u8; MAC_BYTES]>::try_from(mac).map_err(|_| ReadError::damaged(NAME, "cut short"))?);
        // blake3::Hash compares in constant time.
        if blake3::keyed_hash(&keys.config, content) == blake3::Hash::from_bytes(*mac) {
            Ok(())
        } else {
            Err(ReadError::damaged(NAME, "authentication failed"))
        }
    }
}

pub(crate) fn encode_extensions(extensions: &BTreeMap<String, Vec<u8>>, encoder: &mut Encoder) {
    encoder.count(extensions.len());
    for (key, value) in extensions {
        encoder.bytes(key.as_bytes());
        encoder.bytes(value);
    }
}

pub(crate) fn decode_extensions(decoder: &mut Decoder<'_>) -> Result<BTreeMap<String, Vec<u8>>, Malformed> {
    let mut extensions = BTreeMap::new();
    for _ in 0..decoder.count(2)? {
        let key = decoder.text()?.to_owned();
        if extensions.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(Malformed("extensions are not sorted"));
        }
        extensions.insert(key, decoder.bytes()?.to_vec());
    }
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Feature, Need};
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::derive(Zeroizing::new([1; 32]))
    }

    fn config() -> Config {
        Config {
            repository: RepositoryId([2; 16]),
            master_key: keys().master_id,
            features: Features(vec![Feature { name: "a".into(), since: "2.0".into(), need: Need::Nothing }]),
            cut: CutParameters::FIRST,
            created_ms: 1_700_000_000_000,
            conditional_create: true,
            extensions: BTreeMap::from([("x".to_owned(), vec![1])]),
        }
    }

    #[test]
    fn it_survives_and_is_authentic() {
        let object = config().encode(&keys());
        assert_eq!(Config::decode(&object).expect("decode"), config());
        Config::authenticate(&object, &keys()).expect("authentic");
    }

    #[test]
    fn a_newer_format_says_so_whatever_follows() {
        assert!(matches!(Config::decode(b"HOLDFAST\x02\x00whatever"), Err(ReadError::TooNew { .. })));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(place: prop::sample::Index, bit in 0..8_u8) {
            let mut object = config().encode(&keys());
            let place = place.index(object.len());
            object[place] ^= 1 << bit;
            let opened = Config::decode(&object).and_then(|_| Config::authenticate(&object, &keys()));
            prop_assert!(opened.is_err());
        }

        #[test]
        fn any_bytes_are_an_error(bytes: Vec<u8>) {
            prop_assert!(Config::decode(&bytes).is_err());
        }
    }
}
