//! Snapshots of any entries, whose blobs may get lost on the way.

use holdfast_mover::catalog::{BlobSink, CatalogWriter, Entry, EntryKind, RelPath, testing};
use holdfast_repository::{
    Activity, BlobId, BlobKind, Purpose, Scratch, SnapshotDraft, SnapshotId, SourceRecord, WriteError, Writer,
};

use crate::fixture::Fixture;

pub(crate) fn entry(path: &[u8], kind: EntryKind) -> Entry {
    testing::entry(RelPath::parse(path).unwrap(), kind)
}

pub(crate) fn root() -> Entry {
    entry(b"", EntryKind::Directory)
}

/// Whether a blob is lost before it is stored.
type Loses<'a> = &'a mut (dyn FnMut(BlobKind, &[u8]) -> bool + Send);

pub(crate) struct Sink<'a> {
    writer: Writer,
    refs: Vec<(BlobId, u64)>,
    scratch: Scratch,
    loses: Loses<'a>,
}

impl BlobSink for Sink<'_> {
    fn store(&mut self, kind: BlobKind, raw: &[u8]) -> Result<BlobId, WriteError> {
        let id = self.writer.blob_id(kind, raw);
        if !(self.loses)(kind, raw) {
            self.writer.add(kind, id, raw, None, &mut self.scratch)?;
            self.refs.push((id, raw.len() as u64));
        }
        Ok(id)
    }
}

/// Commits a snapshot of exactly these entries. `data` is stored as one blob and given to them.
pub(crate) fn commit(fixture: &Fixture, data: &[u8], entries: impl FnOnce(BlobId) -> Vec<Entry>) -> SnapshotId {
    commit_losing(fixture, &mut |_, _| false, |sink| entries(sink.store(BlobKind::Data, data).unwrap()))
}

/// The same without what `loses` says; `entries` may store more than data.
pub(crate) fn commit_losing<'a>(fixture: &Fixture, loses: Loses<'a>, entries: impl FnOnce(&mut Sink<'a>) -> Vec<Entry>) -> SnapshotId {
    let writer = fixture.runtime.block_on(fixture.repository.begin(Purpose::new(Activity::Backup, "enemy"))).unwrap();
    let mut sink = Sink { writer: writer.clone(), refs: Vec::new(), scratch: Scratch::new(), loses };
    let entries = entries(&mut sink);
    let mut catalog = CatalogWriter::new(sink, fixture.repository.chunker().gear_seed);
    for entry in entries {
        catalog.append(&entry).unwrap();
    }
    let (summary, mut sink) = catalog.finish().unwrap();
    sink.refs.sort();
    sink.refs.dedup();
    let source = SourceRecord { path: b"/data".to_vec(), catalog: Some(summary.root), ..SourceRecord::default() };
    let draft = SnapshotDraft { sources: vec![source], ..SnapshotDraft::default() };
    fixture.runtime.block_on(writer.commit(draft, || sink.refs.iter().copied())).unwrap()
}
