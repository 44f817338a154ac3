//! Names of stored things, one type each, so that none can stand in for another.

use std::fmt;
use std::str::FromStr;

/// The text was not an id of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

impl ParseIdError {
    fn new(what: &'static str, text: &str) -> Self {
        // A hostile name may be long; the message stays short.
        Self { what, text: text.chars().take(80).collect() }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Strict: lower-case digits only, exactly `2 * N` of them, so that one object has one name.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                unhex(text).map(Self).ok_or_else(|| ParseIdError::new($what, text))
            }
        }
    };
}

id!(
    /// The keyed BLAKE3 hash of a blob's raw bytes, under a key of its kind.
    BlobId, 32, "blob id"
);
id!(
    /// Random; names one pack for ever.
    PackId, 16, "pack id"
);
id!(
    /// Random; names one repository for ever, copies included.
    RepositoryId, 16, "repository id"
);
id!(
    /// Random; names one password's wrapping of the master key.
    KeyId, 16, "key id"
);
id!(
    /// Derived from the master key, and public: `config` names the master key by it.
    MasterKeyId, 16, "master key id"
);

/// No state has a higher number: one for each millisecond of thousands of years. Names are not sealed: a stray one that speaks of a higher
/// state would use the numbers up, and fits nothing.
pub(crate) const STATE_NUMBER_MAX: u64 = (1 << 48) - 1;

/// A lease, and the snapshot that it may commit: the number of the state that its holder saw, and a random part, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The newest state when the lease was taken. Below a later state's floor, the lease is void.
    pub state: u64,
    /// Random.
    pub random: [u8; 16],
}

/// A committed snapshot has the name of the lease that wrote it.
pub type SnapshotId = LeaseId;

impl LeaseId {
    /// The form for people: eight digits of the random part.
    pub fn short(&self) -> String {
        hex(&self.random[..4])
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.state, hex(&self.random))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl FromStr for LeaseId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let parse = || {
            let (state, random) = text.split_once('-')?;
            Some(Self { state: u64::from_be_bytes(unhex(state)?), random: unhex(random)? })
        };
        parse().filter(|lease| lease.state <= STATE_NUMBER_MAX).ok_or_else(|| ParseIdError::new("lease id", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        let blob = BlobId([0xa5; 32]);
        assert_eq!(blob.to_string().parse::<BlobId>(), Ok(blob));
        let lease = LeaseId { state: 0x1f, random: [7; 16] };
        assert_eq!(lease.to_string(), "000000000000001f-07070707070707070707070707070707");
        assert_eq!(lease.to_string().parse::<LeaseId>(), Ok(lease));
        assert_eq!(lease.short(), "07070707");
    }

    #[test]
    fn one_object_has_one_name() {
        assert!("A5".repeat(32).parse::<BlobId>().is_err(), "upper case");
        assert!("a5".repeat(31).parse::<BlobId>().is_err(), "short");
        assert!("é5".repeat(16).parse::<PackId>().is_err(), "not ASCII");
        assert!("1f-07070707070707070707070707070707".parse::<LeaseId>().is_err(), "short state");
        let lease = |state: u64| LeaseId { state, random: [7; 16] }.to_string().parse::<LeaseId>();
        assert!(lease(STATE_NUMBER_MAX).is_ok() && lease(STATE_NUMBER_MAX + 1).is_err(), "of a state that cannot be");
    }
}
