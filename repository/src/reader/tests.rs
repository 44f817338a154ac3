use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::environment::Environment;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore, StandingClock};

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

async fn backup(repository: &Repository, number: u32) -> BlobId {
    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let id = writer.blob_id(BlobKind::Data, &raw(number));
    writer.add_async(BlobKind::Data, id, &raw(number), None, &mut Scratch::new()).await.expect("add");
    writer.commit(SnapshotDraft::default(), || std::iter::once((id, 4000))).await.expect("commit");
    id
}

/// Found by the simulation (seed 1067811332): the one time that a reader looked again was over when a prune took a pack away whose blobs
/// had another copy.
#[tokio::test]
async fn a_reader_looks_again_whenever_there_is_a_newer_state_and_only_then() {
    let loads = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&loads);
    let store = ScriptedStore::new(Arc::new(MemoryStore::new()), move |operation, name| {
        counted.fetch_add(u32::from(operation == Operation::List && name == "snapshots"), Ordering::Relaxed);
        Fate::Through
    });
    let environment = Environment { clock: Arc::new(StandingClock::at(0)), random: Environment::system().random };
    let password = SecretBytes::new(b"p".to_vec());
    let repository = Repository::init(Arc::new(store) as Arc<dyn Store>, &password, environment).await.expect("init").repository;
    let reader = repository.reader(Purpose::new(Activity::Restore, "test")).await.expect("reader");
    for number in 0..3 {
        let id = backup(&repository, number).await;
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("stored after the reader had begun"), raw(number));
    }
    let nowhere = repository.reader(Purpose::new(Activity::Restore, "test")).await.expect("reader");
    let absent = BlobId([7; 32]);
    let before = loads.load(Ordering::Relaxed);
    for _ in 0..20 {
        nowhere.read_blob(BlobKind::Data, &absent).await.expect_err("it is nowhere");
    }
    assert_eq!(loads.load(Ordering::Relaxed) - before, 1, "what is lost does not load the index each time");
}
