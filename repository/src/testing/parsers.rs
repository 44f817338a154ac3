//! Every parser of stored records by name, for the mutation driver: what is sealed is parsed here as it is after opening.

use crate::codec::Decoder;
use crate::config::Config;
use crate::features::Features;
use crate::index::Run;
use crate::lease::LeaseRecord;
use crate::sealed::{self, ObjectKind};
use crate::snapshot::SnapshotObject;
use crate::state::State;
use crate::{Repository, keys, pack, refs};

/// One parser of hostile bytes; true if it took them.
pub struct Parser {
    /// Its name, which is also its corpus's.
    pub name: &'static str,
    /// The function.
    pub parse: fn(&[u8]) -> bool,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them.
pub fn parsers() -> Vec<Parser> {
    let parser = |name, parse| Parser { name, parse };
    vec![
        parser("config", |bytes| Config::decode(bytes).is_ok()),
        parser("key", |bytes| keys::parse("keys/hostile", &mut Decoder::new(bytes)).is_ok()),
        parser("state", |bytes| State::decode(bytes).is_ok()),
        parser("lease", |bytes| LeaseRecord::decode(bytes).is_ok()),
        parser("snapshot", |bytes| SnapshotObject::decode(bytes).is_ok()),
        parser("run", |bytes| Run::decode(bytes).is_ok()),
        parser("refs", |bytes| refs::decode_root(bytes).is_ok()),
        parser("trailer", |bytes| pack::trailer::decode(bytes, 32 << 20).is_ok()),
        parser("features", |bytes| Features::decode(&mut Decoder::new(bytes)).is_ok()),
    ]
}

/// The content of a stored record and its parser's name; `None` for what is no record (packs).
pub fn plain(repository: &Repository, name: &str, object: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (kind, parser) = match name.split('/').next()? {
        "config" => return Some(("config", object.to_vec())),
        "keys" => return Some(("key", object.to_vec())),
        "state" => (ObjectKind::State, "state"),
        "leases" => (ObjectKind::Lease, "lease"),
        "snapshots" => (ObjectKind::Snapshot, "snapshot"),
        "index" => (ObjectKind::IndexRun, "run"),
        _ => return None,
    };
    Some((parser, sealed::open(&repository.core.keys, kind, name, object).ok()?))
}

/// Encoded examples of what stands inside packs.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let segment = |first: u8| refs::SegmentRef { first: crate::BlobId([first; 32]), blob: crate::BlobId([7; 32]), entries: 9, live_bytes: 1 << 20 };
    vec![("refs", refs::encode_root(&[segment(1), segment(2)])), ("trailer", pack::trailer::encode(&[])), ("features", vec![0, 0])]
}
