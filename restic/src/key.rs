//! Keys: the master key, sealed under what scrypt makes of a password. They are the one thing that whoever can write to the bucket
//! may forge without the password, so their costs are bounded before anything is computed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_repository::SecretBytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use zeroize::{Zeroize, Zeroizing};

use crate::cipher::{Cipher, KeyParts};

const BYTES_MAX: usize = 64 << 10;
/// 128 * N * r is scrypt's memory: restic's own are 32 MiB.
const MEMORY_BYTES_MAX: u64 = 128 << 20;
/// N * r * p is its work: restic's own is about half a second.
const WORK_MAX: u64 = 1 << 26;

/// Why a key is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// It is another password's.
    #[error("it is another password's")]
    Password,
    /// It is none.
    #[error("{0}")]
    Malformed(&'static str),
}

#[derive(Deserialize)]
struct Stored {
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: Base64,
    data: Base64,
}

#[derive(Deserialize)]
struct Master {
    mac: Mac,
    encrypt: Base64,
}

#[derive(Deserialize)]
struct Mac {
    k: Base64,
    r: Base64,
}

/// A key, parsed: nothing is computed yet.
pub(crate) struct Key {
    parameters: scrypt::Params,
    salt: Base64,
    data: Base64,
}

impl Key {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed;
        if bytes.len() > BYTES_MAX {
            return Err(malformed("it is too large"));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| malformed("it is no key"))?;
        if stored.kdf != "scrypt" {
            return Err(malformed("it is of another kind than scrypt"));
        }
        let memory = 128_u64.checked_mul(stored.n).and_then(|bytes| bytes.checked_mul(stored.r.into()));
        let work = stored.n.checked_mul(stored.r.into()).and_then(|work| work.checked_mul(stored.p.into()));
        if !stored.n.is_power_of_two() || stored.n < 2 || memory.is_none_or(|bytes| bytes > MEMORY_BYTES_MAX) || work.is_none_or(|work| work > WORK_MAX) {
            return Err(malformed("opening it would cost more than any key of restic's does"));
        }
        let log_n = u8::try_from(stored.n.trailing_zeros()).unwrap_or(u8::MAX);
        let parameters = scrypt::Params::new(log_n, stored.r, stored.p).map_err(|_| malformed("its parameters are none of scrypt's"))?;
        Ok(Self { parameters, salt: stored.salt, data: stored.data })
    }

    /// Takes about half a second and 32 MiB.
    pub(crate) fn open(mut self, password: &SecretBytes) -> Result<Cipher, KeyError> {
        let mut derived = Zeroizing::new([0; 64]);
        scrypt::scrypt(password.expose(), &self.salt.0, &self.parameters, &mut derived[..]).map_err(|_| KeyError::Malformed("scrypt does not take it"))?;
        let user = Cipher::new(parts(&derived[..32], &derived[32..48], &derived[48..])?).map_err(|_| KeyError::Password)?;
        let opened = user.open(&mut self.data.0).map_err(|_| KeyError::Password)?;
        let master: Master = serde_json::from_slice(opened).map_err(|_| KeyError::Malformed("what it holds is no master key"))?;
        Cipher::new(parts(&master.encrypt.0, &master.mac.k.0, &master.mac.r.0)?).map_err(|_| KeyError::Malformed("the cipher does not take it"))
    }
}

fn parts(encrypt: &[u8], mac_k: &[u8], mac_r: &[u8]) -> Result<KeyParts, KeyError> {
    let wrong = |_| KeyError::Malformed("a part of it has another length");
    Ok(KeyParts { encrypt: encrypt.try_into().map_err(wrong)?, mac_k: mac_k.try_into().map_err(wrong)?, mac_r: mac_r.try_into().map_err(wrong)? })
}

struct Base64(Vec<u8>);

impl Drop for Base64 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                STANDARD.decode(text).map(Base64).map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_costs_too_much_is_refused_unopened() {
        let key = |n: &str, r: u32, p: u32| Key::parse(format!(r#"{{"kdf":"scrypt","N":{n},"r":{r},"p":{p},"salt":"AAAA","data":"AAAA"}}"#).as_bytes()).map(drop);
        assert!(key("32768", 8, 5).is_ok());
        for (n, r, p) in [("1073741824", 8, 1), ("32768", 8, 100_000), ("32768", 1_000_000, 1), ("18446744073709551615", 8, 1), ("0", 8, 1), ("1", 8, 1), ("32769", 8, 1), ("32768", 0, 1), ("32768", 8, 0)] {
            assert!(matches!(key(n, r, p), Err(KeyError::Malformed(_))), "{n} {r} {p}");
        }
        assert!(Key::parse(br#"{"kdf":"argon2","N":32768,"r":8,"p":1,"salt":"","data":""}"#).is_err());
        assert!(Key::parse(&vec![b' '; BYTES_MAX + 1]).is_err());
    }
}
