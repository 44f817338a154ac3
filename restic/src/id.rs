//! Names of stored things: SHA-256 of what they hold, in lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use holdfast_repository::BlobId;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

pub(crate) fn parse(text: &str) -> Option<[u8; 32]> {
    // The digits are those of any id of ours.
    text.parse::<BlobId>().ok().map(|id| id.0)
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<[u8; 32], E> {
        parse(text).ok_or_else(|| E::custom("not 64 hexadecimal digits"))
    }
}

/// A blob's id, as JSON has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobDigits(pub(crate) BlobId);

impl<'de> Deserialize<'de> for BlobDigits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits).map(|id| Self(BlobId(id)))
    }
}

/// A pack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackId(pub(crate) [u8; 32]);

impl<'de> Deserialize<'de> for PackId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits).map(Self)
    }
}

impl PackId {
    /// The pack's object.
    pub(crate) fn object(&self) -> String {
        let digits = BlobId(self.0).to_string();
        format!("data/{}/{digits}", &digits[..2])
    }
}

/// A snapshot's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub(crate) [u8; 32]);

impl SnapshotId {
    /// As restic prints it.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BlobId(self.0).fmt(f)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SnapshotId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or("a snapshot's id is 64 hexadecimal digits")
    }
}
