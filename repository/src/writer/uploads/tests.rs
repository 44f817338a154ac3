//! Memory of packs on a store that is slow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};
use crate::{Activity, BlobKind, Purpose, Repository, Scratch, SecretBytes, Store, Writer, WriterOptions};

const MIB: usize = 1 << 20;

fn noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    aws_lc_rs::rand::fill(&mut noise).expect("random");
    noise
}

/// A repository whose packs do not arrive while `held`.
async fn held_repository(held: &Arc<AtomicBool>) -> Repository {
    let (store, password) = (Arc::new(MemoryStore::new()) as Arc<dyn Store>, SecretBytes::new(b"p".to_vec()));
    Repository::init(Arc::clone(&store), &password, Environment::system()).await.expect("init");
    let held = Arc::clone(held);
    let held_store = ScriptedStore::new(store, move |operation, name| {
        while operation == Operation::Create && name.starts_with("packs/") && held.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Fate::Through
    });
    Repository::open(Arc::new(held_store), &password, Environment::system()).await.expect("open")
}

fn add_blobs(writer: &Writer, count: usize, blob_bytes: usize, taken_bytes: &AtomicUsize) {
    let mut scratch = Scratch::new();
    for _ in 0..count {
        let raw = noise(blob_bytes);
        let added = writer.add(BlobKind::Data, writer.blob_id(BlobKind::Data, &raw), &raw, None, &mut scratch).expect("add");
        taken_bytes.fetch_add(added.stored_bytes as usize, Ordering::Relaxed);
    }
}

/// Waits until nothing more is taken.
fn standstill(taken_bytes: &AtomicUsize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    while last == 0 || since.elapsed() < Duration::from_millis(700) {
        std::thread::sleep(Duration::from_millis(20));
        let now = taken_bytes.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_slow_store_holds_no_more_than_the_bound_and_nobody_waits_for_ever() {
    for (blob_bytes, count) in [(MIB, 60), (4 * MIB, 15), (5000, 12_000)] {
        let held = Arc::new(AtomicBool::new(true));
        let repository = held_repository(&held).await;
        let options = WriterOptions { data_pack_bytes: 48 * MIB, ..WriterOptions::default() };
        let writer = repository.begin_with(Purpose::new(Activity::Backup, "test"), options).await.expect("begin");
        let taken = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (writer, taken) = (writer.clone(), Arc::clone(&taken));
                std::thread::spawn(move || add_blobs(&writer, count, blob_bytes, &taken))
            })
            .collect();
        let standing = tokio::task::block_in_place(|| standstill(&taken));
        assert!(standing <= 48 * MIB, "{} KiB are held", standing >> 10);
        assert!(standing >= 48 * MIB - 3 * blob_bytes.max(MIB), "only {} KiB are taken of blobs of {blob_bytes}", standing >> 10);
        held.store(false, Ordering::Release);
        tokio::task::block_in_place(|| threads.into_iter().for_each(|thread| thread.join().expect("adds")));
        writer.checkpoint().await.expect("checkpoint");
        assert!(writer.stored_bytes() as usize >= 3 * count * blob_bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_blob_larger_than_all_room_still_gets_through() {
    let held = Arc::new(AtomicBool::new(false));
    let repository = held_repository(&held).await;
    let options = WriterOptions { data_pack_bytes: 1, ..WriterOptions::default() };
    let writer = repository.begin_with(Purpose::new(Activity::Backup, "test"), options).await.expect("begin");
    let taken = AtomicUsize::new(0);
    tokio::task::block_in_place(|| {
        add_blobs(&writer, 31, MIB, &taken);
        add_blobs(&writer, 4, 16 * MIB, &taken);
    });
    writer.checkpoint().await.expect("checkpoint");
    assert!(writer.stored_bytes() as usize >= 95 * MIB);
}
