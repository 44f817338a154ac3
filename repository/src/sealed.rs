//! The envelope of small objects: leases, snapshots, states, index runs.
//!
//! `"HFOB" | version | kind | key mode | 0 | salt (32) | sealed(encoding, content length, content, zeros to a Padmé length) | tag`.
//! Kind, header and the object's own name are authenticated: no object can stand in for another.

use crate::codec::{Decoder, Encoder, Malformed};
use crate::crypto::{DOMAIN, Keys, TAG_BYTES, padme};
use crate::environment::Environment;
use crate::error::{ReadError, WriteError};

const MAGIC: &[u8; 4] = b"HFOB";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8 + 32;
/// The key is derived from the master key and the salt. Others may come.
const KEY_DERIVED: u8 = 0;
/// The content stands as it is. Others may come.
const ENCODING_PLAIN: u8 = 0;
/// Encoding and length before the content.
const PREFIX_BYTES: usize = 5;
/// So that all small records look alike.
const PLAIN_BYTES_MIN: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ObjectKind {
    Lease = 1,
    Snapshot = 2,
    State = 3,
    IndexRun = 4,
}

/// Seals `content` as the object `name`.
pub(crate) fn seal(keys: &Keys, environment: &Environment, kind: ObjectKind, name: &str, content: &[u8]) -> Result<Vec<u8>, WriteError> {
    let length = u32::try_from(content.len()).map_err(|_| too_large(name))?;
    let salt = environment.random::<32>();
    let plain_bytes = padme((PREFIX_BYTES + content.len()) as u64).max(PLAIN_BYTES_MIN);
    let plain_bytes = usize::try_from(plain_bytes).map_err(|_| too_large(name))?;

    let mut object = Vec::with_capacity(HEADER_BYTES + plain_bytes + TAG_BYTES);
    object.extend_from_slice(MAGIC);
    object.extend_from_slice(&[VERSION, kind as u8, KEY_DERIVED, 0]);
    object.extend_from_slice(&salt);
    let aad = additional_data(kind, name, &object);
    let mut prefix = Encoder::new();
    prefix.u8(ENCODING_PLAIN);
    prefix.u32(length);
    object.extend_from_slice(&prefix.finish());
    object.extend_from_slice(content);
    object.resize(HEADER_BYTES + plain_bytes, 0);
    let cipher = keys.sealed_object(&salt).map_err(|_| WriteError::Internal { what: "no cipher".into() })?;
    cipher.seal(0, &aad, &mut object, HEADER_BYTES)?;
    Ok(object)
}

/// Opens the object `name`; the content is exactly what was sealed under that name and kind.
pub(crate) fn open(keys: &Keys, kind: ObjectKind, name: &str, object: &[u8]) -> Result<Vec<u8>, ReadError> {
    let damaged = |reason: &str| ReadError::damaged(name, reason);
    let (header, sealed) = object.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("cut short"))?;
    if &header[..4] != MAGIC {
        return Err(damaged("not an object of a repository"));
    }
    let unknown = |what: &str, value: u8| ReadError::TooNew { object: name.to_owned(), needs: format!("a version that knows {what} {value}") };
    if header[4] != VERSION {
        return Err(unknown("envelope version", header[4]));
    }
    if header[5] != kind as u8 {
        return Err(damaged("an object of another kind stands here"));
    }
    if header[6] != KEY_DERIVED {
        return Err(unknown("key mode", header[6]));
    }
    let mut salt = [0; 32];
    salt.copy_from_slice(&header[8..]);
    let mut plain = Vec::new();
    keys.sealed_object(&salt)
        .and_then(|cipher| cipher.open(0, &additional_data(kind, name, header), sealed, &mut plain))
        .map_err(|error| damaged(&error.to_string()))?;
    content(&plain).map_err(|error| damaged(&error.to_string()))
}

/// What stands between the length and the padding of an opened object.
pub(crate) fn content(plain: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut decoder = Decoder::new(plain);
    if decoder.u8()? != ENCODING_PLAIN {
        return Err(Malformed("unknown encoding"));
    }
    let length = decoder.u32()? as usize;
    let content = decoder.slice(length)?.to_vec();
    if decoder.slice(decoder.remaining())?.iter().any(|&byte| byte != 0) {
        return Err(Malformed("padding is not zero"));
    }
    Ok(content)
}

fn additional_data(kind: ObjectKind, name: &str, header: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(DOMAIN.len() + 1 + HEADER_BYTES + name.len());
    aad.extend_from_slice(DOMAIN);
    aad.push(kind as u8);
    aad.extend_from_slice(header);
    aad.extend_from_slice(name.as_bytes());
    aad
}

fn too_large(name: &str) -> WriteError {
    WriteError::Internal { what: format!("{name} is too large") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn keys() -> Keys {
        Keys::derive(Zeroizing::new([9; 32]))
    }

    #[test]
    fn an_object_opens_only_under_its_name_and_kind() {
        let object = seal(&keys(), &Environment::system(), ObjectKind::State, "state/1", b"content").expect("seal");
        assert_eq!(open(&keys(), ObjectKind::State, "state/1", &object).expect("open"), b"content");
        assert!(matches!(open(&keys(), ObjectKind::State, "state/2", &object), Err(ReadError::Damaged { .. })), "moved");
        assert!(matches!(open(&keys(), ObjectKind::Lease, "state/1", &object), Err(ReadError::Damaged { .. })), "another kind");
        let other = Keys::derive(Zeroizing::new([8; 32]));
        assert!(matches!(open(&other, ObjectKind::State, "state/1", &object), Err(ReadError::Damaged { .. })), "another key");
    }

    #[test]
    fn lengths_are_hidden() {
        let bytes = |content: &[u8]| seal(&keys(), &Environment::system(), ObjectKind::Lease, "l", content).expect("seal").len();
        assert_eq!(bytes(b""), bytes(&[1; 200]));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_and_any_cut_is_an_error(content: Vec<u8>, place: prop::sample::Index, bit in 0..8_u8) {
            let object = seal(&keys(), &Environment::system(), ObjectKind::State, "state/1", &content).expect("seal");
            prop_assert_eq!(&open(&keys(), ObjectKind::State, "state/1", &object).expect("open"), &content);
            let place = place.index(object.len());
            let mut flipped = object.clone();
            flipped[place] ^= 1 << bit;
            prop_assert!(open(&keys(), ObjectKind::State, "state/1", &flipped).is_err());
            prop_assert!(open(&keys(), ObjectKind::State, "state/1", &object[..place]).is_err());
        }
    }
}
