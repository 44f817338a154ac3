//! The bytes of a snapshot object.

use super::{Ending, EndingReason, SnapshotObject, SnapshotRecord, SourceRecord, Statistics};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::config::{decode_extensions, encode_extensions};
use crate::id::BlobId;
use crate::index::RunName;
use crate::state::{decode_lease, encode_lease};

const COMMIT: u8 = 1;
const ENDED: u8 = 2;
/// Counts of `Statistics`, in order. More may follow in later versions; a reader takes those it knows.
const COUNTS: usize = 12;

impl SnapshotObject {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        match self {
            Self::Commit(record) => {
                encoder.u8(COMMIT);
                record.encode(&mut encoder);
            }
            Self::Ended(ending) => {
                encoder.u8(ENDED);
                encoder.u8(ending.reason as u8);
                encoder.bytes(ending.by.as_bytes());
            }
        }
        encoder.finish()
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(content);
        let object = match decoder.u8()? {
            COMMIT => Self::Commit(Box::new(SnapshotRecord::decode(&mut decoder)?)),
            ENDED => {
                let reason = match decoder.u8()? {
                    1 => EndingReason::Abandoned,
                    2 => EndingReason::Fenced,
                    3 => EndingReason::Stale,
                    4 => EndingReason::Done,
                    _ => return Err(Malformed("unknown reason of an ending")),
                };
                Self::Ended(Ending { reason, by: decoder.text()?.to_owned() })
            }
            _ => return Err(Malformed("neither commit nor ending")),
        };
        decoder.end()?;
        Ok(object)
    }
}

impl SnapshotRecord {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.bytes(self.host.as_bytes());
        encoder.bytes(self.session.as_bytes());
        encoder.bytes(self.component.as_bytes());
        encoder.i64(self.start_ms);
        encoder.i64(self.end_ms);
        encoder.i64(self.scan_ms);
        encoder.u8(u8::from(self.parent.is_some()));
        if let Some(parent) = &self.parent {
            encode_lease(parent, encoder);
        }
        encoder.count(self.sources.len());
        for source in &self.sources {
            source.encode(encoder);
        }
        encoder.fixed(&self.refs.0);
        encoder.count(self.runs.len());
        for run in &self.runs {
            run.encode(encoder);
        }
        self.statistics.encode(encoder);
        encode_extensions(&self.extensions, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut text = || decoder.text().map(str::to_owned);
        let (host, session, component) = (text()?, text()?, text()?);
        let (start_ms, end_ms, scan_ms) = (decoder.i64()?, decoder.i64()?, decoder.i64()?);
        let parent = if flag(decoder)? { Some(decode_lease(decoder)?) } else { None };
        let sources = (0..decoder.count(SourceRecord::BYTES_MIN)?).map(|_| SourceRecord::decode(decoder)).collect::<Result<_, _>>()?;
        let refs = BlobId(decoder.fixed()?);
        let runs = (0..decoder.count(RunName::BYTES)?).map(|_| RunName::decode(decoder)).collect::<Result<_, _>>()?;
        let statistics = Statistics::decode(decoder)?;
        let extensions = decode_extensions(decoder)?;
        Ok(Self { host, sources, session, component, start_ms, end_ms, scan_ms, parent, refs, runs, statistics, extensions })
    }
}

impl SourceRecord {
    /// Three empty strings, no catalog, no counts.
    const BYTES_MIN: usize = 5;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.bytes(&self.path);
        encoder.bytes(self.pvc_uid.as_bytes());
        encoder.bytes(&self.path_in_volume);
        encoder.u8(u8::from(self.catalog.is_some()));
        if let Some(catalog) = &self.catalog {
            encoder.fixed(&catalog.0);
        }
        self.statistics.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let path = decoder.bytes()?.to_vec();
        let pvc_uid = decoder.text()?.to_owned();
        let path_in_volume = decoder.bytes()?.to_vec();
        let catalog = if flag(decoder)? { Some(BlobId(decoder.fixed()?)) } else { None };
        Ok(Self { path, pvc_uid, path_in_volume, catalog, statistics: Statistics::decode(decoder)? })
    }
}

impl Statistics {
    fn counts(&self) -> [u64; COUNTS] {
        [
            self.files,
            self.directories,
            self.others,
            self.bytes,
            self.bytes_read,
            self.bytes_added,
            self.bytes_stored,
            self.files_read,
            self.files_new,
            self.files_changed,
            self.unreadable,
            self.changed_while_read,
        ]
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.count(COUNTS);
        for count in self.counts() {
            encoder.varint(count);
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut counts = [0; COUNTS];
        for place in 0..decoder.count(1)? {
            let count = decoder.varint()?;
            if let Some(slot) = counts.get_mut(place) {
                *slot = count;
            }
        }
        let [files, directories, others, bytes, bytes_read, bytes_added, bytes_stored, files_read, files_new, files_changed, unreadable, changed_while_read] =
            counts;
        Ok(Self {
            files,
            directories,
            others,
            bytes,
            bytes_read,
            bytes_added,
            bytes_stored,
            files_read,
            files_new,
            files_changed,
            unreadable,
            changed_while_read,
        })
    }
}

fn flag(decoder: &mut Decoder<'_>) -> Result<bool, Malformed> {
    match decoder.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("a flag is neither 0 nor 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LeaseId;
    use proptest::prelude::*;

    fn commit() -> SnapshotObject {
        let lease = LeaseId { state: 3, random: [1; 16] };
        let statistics = Statistics { files: 5, changed_while_read: 300, ..Statistics::default() };
        SnapshotObject::Commit(Box::new(SnapshotRecord {
            host: "node".into(),
            sources: vec![
                SourceRecord { path: b"/data\xff".to_vec(), pvc_uid: "uid".into(), path_in_volume: vec![], catalog: Some(BlobId([4; 32])), statistics },
                SourceRecord::default(),
            ],
            session: "session".into(),
            component: "dump".into(),
            start_ms: 1,
            end_ms: 3,
            scan_ms: 2,
            parent: Some(lease),
            refs: BlobId([5; 32]),
            runs: vec![RunName { lease, number: 9 }],
            statistics,
            extensions: [("kubestash/x".to_owned(), vec![0, 1])].into(),
        }))
    }

    #[test]
    fn both_survive() {
        assert_eq!(SnapshotObject::decode(&commit().encode()), Ok(commit()));
        let ended = SnapshotObject::Ended(Ending { reason: EndingReason::Fenced, by: "pruner".into() });
        assert_eq!(SnapshotObject::decode(&ended.encode()), Ok(ended));
    }

    proptest! {
        #[test]
        fn mutated_bytes_never_panic(place: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut content = commit().encode();
            let place = place.index(content.len());
            content[place] = byte;
            let _ = SnapshotObject::decode(&content);
            prop_assert!(SnapshotObject::decode(&commit().encode()[..cut.index(content.len())]).is_err());
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = SnapshotObject::decode(&bytes);
        }
    }
}
