//! Every parser of stored bytes by name, for the tests on hostile bytes and the fuzz targets: what is sealed is parsed here as it
//! is after opening, for who holds the password may be hostile too.

use zeroize::Zeroizing;

use crate::blob::{BLOB_RAW_BYTES_MAX, BlobKind, Encoding, PackClass, PackName};
use crate::codec::Decoder;
use crate::compress::Scratch;
use crate::config::Config;
use crate::crypto::Keys;
use crate::environment::Environment;
use crate::features::Features;
use crate::fine::{self, FineBatch};
use crate::id::{BlobId, LeaseId, PackId};
use crate::index::{Run, RunName};
use crate::lease::LeaseRecord;
use crate::pack::{self, PackBuilder};
use crate::refs::SegmentRef;
use crate::sealed::{self, ObjectKind};
use crate::snapshot::SnapshotObject;
use crate::state::State;
use crate::{Repository, keys, refs};

/// One parser of hostile bytes.
#[derive(Clone, Copy)]
pub struct Parser {
    /// Its name, which is also its corpus's.
    pub name: &'static str,
    /// The function; true if it took them.
    pub parse: fn(&[u8]) -> bool,
    /// What it verifies under a key takes nothing but what was written.
    pub is_sealed: bool,
    /// What it may allocate besides its share of the input: a compressed blob is as long as the (authenticated) index says.
    pub declared_bytes: fn(&[u8]) -> usize,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Parser {
    /// One that allocates in proportion to its input, and verifies nothing.
    pub fn new(name: &'static str, parse: fn(&[u8]) -> bool) -> Self {
        Self { name, parse, is_sealed: false, declared_bytes: |_| 0 }
    }
}

/// All of this crate.
pub fn parsers() -> Vec<Parser> {
    vec![
        Parser::new("config", |bytes| Config::decode(bytes).is_ok()),
        Parser::new("key", |bytes| keys::parse("keys/hostile", &mut Decoder::new(bytes)).is_ok()),
        Parser { is_sealed: true, ..Parser::new("sealed", |bytes| sealed::open(&test_keys(), ObjectKind::State, SEALED_NAME, bytes).is_ok()) },
        Parser::new("sealed-content", |bytes| sealed::content(bytes).is_ok()),
        Parser::new("state", |bytes| State::decode(bytes).is_ok()),
        Parser::new("lease", |bytes| LeaseRecord::decode(bytes).is_ok()),
        Parser::new("snapshot", |bytes| SnapshotObject::decode(bytes).is_ok()),
        Parser::new("run", |bytes| Run::decode(bytes).is_ok()),
        Parser::new("refs", |bytes| refs::decode_root(bytes).is_ok()),
        Parser::new("refs-segment", |bytes| refs::decode_segment(bytes, &announced(bytes)).is_ok()),
        Parser::new("fine-hashes", |bytes| fine::record_at(bytes, 0, &first_id(bytes)).is_ok()),
        Parser { is_sealed: true, ..Parser::new("pack", whole_pack) },
        Parser::new("trailer", |bytes| pack::trailer::decode(bytes, 32 << 20).is_ok()),
        Parser { declared_bytes: |bytes| raw_bytes(bytes).0, ..Parser::new("blob", compressed_blob) },
        Parser::new("features", |bytes| Features::decode(&mut Decoder::new(bytes)).is_ok()),
        Parser::new("names", |bytes| std::str::from_utf8(bytes).is_ok_and(any_name)),
    ]
}

const SEALED_NAME: &str = "state/0000000000000001";

fn test_keys() -> Keys {
    Keys::derive(Zeroizing::new([9; 32]))
}

const fn pack_name() -> PackName {
    PackName { class: PackClass::Data, id: PackId([7; 16]) }
}

fn whole_pack(bytes: &[u8]) -> bool {
    let mut is_good = true;
    let read = pack::verify_whole(&test_keys(), &pack_name(), bytes, &mut Scratch::new(), |_, _| is_good = false);
    read.is_ok() && is_good
}

/// What a root that names this segment would say.
fn announced(bytes: &[u8]) -> SegmentRef {
    let mut decoder = Decoder::new(bytes);
    let mut head = || -> Result<_, crate::codec::Malformed> {
        decoder.u8()?;
        Ok((decoder.varint()?, BlobId(decoder.fixed()?)))
    };
    let (entries, first) = head().unwrap_or((0, BlobId([0; 32])));
    SegmentRef { first, blob: BlobId([7; 32]), entries, live_bytes: 0 }
}

fn first_id(bytes: &[u8]) -> BlobId {
    BlobId(bytes.first_chunk().copied().unwrap_or_default())
}

/// The length that the index says, and the frame.
fn raw_bytes(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first_chunk::<4>() {
        Some((length, frame)) => ((u32::from_le_bytes(*length) as usize) % (BLOB_RAW_BYTES_MAX + 2), frame),
        None => (0, bytes),
    }
}

fn compressed_blob(bytes: &[u8]) -> bool {
    let (raw_bytes, frame) = raw_bytes(bytes);
    let mut scratch = Scratch::new();
    scratch.opened.extend_from_slice(frame);
    scratch.decompress(Encoding::Zstd, raw_bytes).is_ok()
}

/// Names come from listings, which anyone who may write there can fill.
fn any_name(text: &str) -> bool {
    text.parse::<LeaseId>().is_ok() || text.parse::<BlobId>().is_ok() || text.parse::<PackId>().is_ok() || RunName::parse(text).is_some()
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

/// Encoded examples of what stands inside packs, and of what only test keys open.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let segment = |first: u8| SegmentRef { first: BlobId([first; 32]), blob: BlobId([7; 32]), entries: 9, live_bytes: 1 << 20 };
    let mut examples = vec![
        ("refs", refs::encode_root(&[segment(1), segment(2)])),
        ("trailer", pack::trailer::encode(&[])),
        ("features", vec![0, 0]),
        ("features", b"\x01\x01\x06future\x030.9".to_vec()),
        ("sealed-content", [&[0, 3, 0, 0, 0, 1, 2, 3][..], &[0; 20]].concat()),
        ("names", LeaseId { state: 3, random: [5; 16] }.to_string().into_bytes()),
        ("names", PackId([7; 16]).to_string().into_bytes()),
    ];
    examples.extend(refs_segment().map(|bytes| ("refs-segment", bytes)));
    examples.push(("fine-hashes", fine_hashes()));
    examples.extend(sealed_examples());
    examples
}

fn refs_segment() -> Option<Vec<u8>> {
    let mut segment = refs::Segment::default();
    for number in 1..4_u8 {
        segment.push((BlobId([number; 32]), u64::from(number) << 20));
    }
    segment.take().map(|(bytes, _)| bytes)
}

fn fine_hashes() -> Vec<u8> {
    let mut batch = FineBatch::default();
    let raw = vec![3; 40_000];
    batch.push(&BlobId([8; 32]), 40_000, &fine::identify(&[9; 32], &raw).1);
    batch.into_content()
}

/// What needs a cipher or zstd to be made: nothing, if those fail.
fn sealed_examples() -> Vec<(&'static str, Vec<u8>)> {
    let environment = Environment { random: std::sync::Arc::new(super::SeededRandom::new(1)), ..Environment::system() };
    let (keys, mut scratch) = (test_keys(), Scratch::new());
    let mut examples = Vec::new();
    examples.extend(sealed::seal(&keys, &environment, ObjectKind::State, SEALED_NAME, b"content").ok().map(|object| ("sealed", object)));
    let raw = b"the same line again\n".repeat(50);
    let Ok((Encoding::Zstd, frame)) = scratch.compress(&raw, 3) else { return examples };
    examples.push(("blob", [&(raw.len() as u32).to_le_bytes(), frame].concat()));
    let packed = PackBuilder::named(&keys, pack_name(), [6; pack::SALT_BYTES]).and_then(|mut builder| {
        builder.push(BlobKind::Data, keys.blob_id(BlobKind::Data, &raw), Encoding::Zstd, raw.len() as u32, frame)?;
        builder.finish()
    });
    examples.extend(packed.ok().map(|pack| ("pack", pack.bytes.to_vec())));
    examples
}
