//! `keys/<id>`: the master key, wrapped by a password.

use argon2::{Algorithm, Argon2, Params, Version};
use futures::stream::StreamExt;
use zeroize::Zeroizing;

use crate::codec::{Decoder, Encoder, Malformed};
use crate::crypto::{Cipher, DOMAIN, Key};
use crate::environment::Environment;
use crate::error::{ReadError, WriteError};
use crate::id::KeyId;
use crate::secret::SecretBytes;
use crate::store::{Store, StoreError};

pub(crate) mod ring;

/// More than anyone has passwords; each costs an Argon2 when the repository is opened.
pub(crate) const KEYS_MAX: usize = 64;
const MAGIC: &[u8; 6] = b"HFKEY\0";
const VERSION: u8 = 1;
const KDF_ARGON2ID: u8 = 1;
/// OWASP's first choice; an agent of 100 MiB can pay it.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Stored parameters outside these are refused: a hostile store must not make us spend its choice of memory and time.
const MEMORY_KIB_RANGE: std::ops::RangeInclusive<u32> = 8..=(64 << 10);
const PASSES_RANGE: std::ops::RangeInclusive<u32> = 1..=16;
const LANES_RANGE: std::ops::RangeInclusive<u32> = 1..=4;
/// Marks a key object in the additional data, apart from the sealed objects' kinds.
const AAD_KEY: u8 = 0x80;

pub(crate) struct Wrapping {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 32],
    /// For people who list keys.
    created_ms: i64,
    label: String,
}

pub(crate) fn object_name(id: &KeyId) -> String {
    format!("keys/{id}")
}

/// The ids of all that lie there; at most `KEYS_MAX`.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<KeyId>, StoreError> {
    let mut names = store.list("keys", None);
    let mut ids = Vec::new();
    while let Some(entry) = names.next().await {
        if let Some(Ok(id)) = entry?.name.strip_prefix("keys/").map(str::parse::<KeyId>) {
            ids.push(id);
        }
    }
    ids.truncate(KEYS_MAX);
    Ok(ids)
}

/// When a key was made, milliseconds since 1970; what no password is needed for.
pub(crate) fn created_ms(id: &KeyId, object: &[u8]) -> Result<i64, ReadError> {
    parse(&object_name(id), &mut Decoder::new(object)).map(|wrapping| wrapping.created_ms)
}

/// Whether it has the form of a key: what no password is needed for.
pub(crate) fn check_form(id: &KeyId, object: &[u8]) -> Result<(), ReadError> {
    let name = object_name(id);
    let mut decoder = Decoder::new(object);
    parse(&name, &mut decoder)?;
    if decoder.remaining() == 32 + crate::crypto::TAG_BYTES { Ok(()) } else { Err(ReadError::damaged(name, "cut short, or bytes behind its end")) }
}

/// Wraps the master key under a password.
pub(crate) fn wrap(environment: &Environment, id: &KeyId, master: &Key, password: &SecretBytes) -> Result<Vec<u8>, WriteError> {
    wrap_at(environment, id, master, password, (MEMORY_KIB, PASSES))
}

/// The same at the least cost that is accepted: for tests that open a repository a thousand times.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn wrap_cheaply(environment: &Environment, id: &KeyId, master: &Key, password: &SecretBytes) -> Result<Vec<u8>, WriteError> {
    wrap_at(environment, id, master, password, (*MEMORY_KIB_RANGE.start(), *PASSES_RANGE.start()))
}

fn wrap_at(
    environment: &Environment,
    id: &KeyId,
    master: &Key,
    password: &SecretBytes,
    (memory_kib, passes): (u32, u32),
) -> Result<Vec<u8>, WriteError> {
    let (salt, created_ms) = (environment.random(), environment.clock.unix_ms());
    let wrapping = Wrapping { memory_kib, passes, lanes: LANES, salt, created_ms, label: String::new() };
    let header = header(&wrapping);
    let internal = |what: &str| WriteError::Internal { what: what.to_owned() };
    let key = stretch(&wrapping, password).map_err(internal)?;
    let mut object = header.clone();
    // Room first: growing later would leave a copy of the master key behind in freed memory.
    object.reserve_exact(master.len() + crate::crypto::TAG_BYTES);
    object.extend_from_slice(master.as_slice());
    Cipher::new(&key).map_err(|_| internal("no cipher"))?.seal(0, &additional_data(id, &header), &mut object, header.len())?;
    Ok(object)
}

/// The master key, or `None` if the password is not this key's (or the sealed part was changed: the two cannot be told apart).
pub(crate) fn unwrap(id: &KeyId, object: &[u8], password: &SecretBytes) -> Result<Option<Key>, ReadError> {
    let name = object_name(id);
    let mut decoder = Decoder::new(object);
    let wrapping = parse(&name, &mut decoder)?;
    let header_bytes = object.len() - decoder.remaining();
    let (header, sealed) = object.split_at(header_bytes);
    let key = stretch(&wrapping, password).map_err(|reason| ReadError::damaged(&name, reason))?;
    let cipher = Cipher::new(&key).map_err(|error| ReadError::damaged(&name, error.to_string()))?;
    let mut plain = Zeroizing::new(Vec::new());
    if cipher.open(0, &additional_data(id, header), sealed, &mut plain).is_err() {
        return Ok(None);
    }
    let master: [u8; 32] = plain.as_slice().try_into().map_err(|_| ReadError::damaged(&name, "the master key has another length"))?;
    Ok(Some(Zeroizing::new(master)))
}

fn header(wrapping: &Wrapping) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(MAGIC);
    encoder.u8(VERSION);
    encoder.u8(KDF_ARGON2ID);
    encoder.u32(wrapping.memory_kib);
    encoder.u32(wrapping.passes);
    encoder.u32(wrapping.lanes);
    encoder.fixed(&wrapping.salt);
    encoder.i64(wrapping.created_ms);
    encoder.bytes(wrapping.label.as_bytes());
    encoder.finish()
}

pub(crate) fn parse(name: &str, decoder: &mut Decoder<'_>) -> Result<Wrapping, ReadError> {
    let damaged = |error: Malformed| ReadError::damaged(name, error.to_string());
    if &decoder.fixed::<6>().map_err(damaged)? != MAGIC {
        return Err(ReadError::damaged(name, "not a key"));
    }
    let version = decoder.u8().map_err(damaged)?;
    let kdf = decoder.u8().map_err(damaged)?;
    if (version, kdf) != (VERSION, KDF_ARGON2ID) {
        return Err(ReadError::TooNew { object: name.to_owned(), needs: format!("a version that knows keys of version {version}, derivation {kdf}") });
    }
    let wrapping = fields(decoder).map_err(damaged)?;
    let bounded = MEMORY_KIB_RANGE.contains(&wrapping.memory_kib) && PASSES_RANGE.contains(&wrapping.passes) && LANES_RANGE.contains(&wrapping.lanes);
    if bounded { Ok(wrapping) } else { Err(ReadError::damaged(name, "Argon2 parameters out of bounds")) }
}

fn fields(decoder: &mut Decoder<'_>) -> Result<Wrapping, Malformed> {
    let (memory_kib, passes, lanes) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
    Ok(Wrapping { memory_kib, passes, lanes, salt: decoder.fixed()?, created_ms: decoder.i64()?, label: decoder.text()?.to_owned() })
}

fn stretch(wrapping: &Wrapping, password: &SecretBytes) -> Result<Key, &'static str> {
    let params = Params::new(wrapping.memory_kib, wrapping.passes, wrapping.lanes, Some(32)).map_err(|_| "Argon2 refuses the parameters")?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.expose(), &wrapping.salt, key.as_mut_slice())
        .map_err(|_| "Argon2 refuses the password")?;
    Ok(key)
}

fn additional_data(id: &KeyId, header: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(DOMAIN.len() + 1 + 16 + header.len());
    aad.extend_from_slice(DOMAIN);
    aad.push(AAD_KEY);
    aad.extend_from_slice(&id.0);
    aad.extend_from_slice(header);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: KeyId = KeyId([5; 16]);

    fn wrapped() -> Vec<u8> {
        wrap(&Environment::system(), &ID, &Zeroizing::new([7; 32]), &SecretBytes::new(b"secret".to_vec())).expect("wrap")
    }

    #[test]
    fn only_the_password_opens_and_only_under_its_name() {
        let object = wrapped();
        let open = |id: &KeyId, password: &[u8]| unwrap(id, &object, &SecretBytes::new(password.to_vec())).expect("well-formed");
        assert_eq!(open(&ID, b"secret").as_deref(), Some(&[7; 32]));
        assert_eq!(open(&ID, b"Secret"), None);
        assert_eq!(open(&KeyId([6; 16]), b"secret"), None, "renamed");
    }

    #[test]
    fn absurd_parameters_are_refused_before_they_cost_anything() {
        let mut object = wrapped();
        object[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unwrap(&ID, &object, &SecretBytes::new(b"secret".to_vec())), Err(ReadError::Damaged { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_an_error_or_no_key(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(!matches!(unwrap(&ID, &bytes, &SecretBytes::new(vec![])), Ok(Some(_))));
        }
    }
}
