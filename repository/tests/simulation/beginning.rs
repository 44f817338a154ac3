//! What a run begins with: an empty repository, or one with a past. Made once, copied for each run.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use holdfast_repository::testing::cheap_key;
use holdfast_repository::{Repository, SnapshotId};

use crate::chance::Chance;
use crate::process::{Process, password};
use crate::roles::writer::back_up_these;
use crate::run_on_virtual_time;
use crate::world::{Faults, World};

#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    pub(crate) objects: BTreeMap<String, Bytes>,
    pub(crate) committed: BTreeMap<SnapshotId, Vec<u64>>,
    pub(crate) forgotten: Vec<SnapshotId>,
}

static BEGINNINGS: LazyLock<[Beginning; 2]> = LazyLock::new(|| {
    // The test of another thread's mutation must not be in it: made on a thread of its own.
    std::thread::spawn(|| [make(false), make(true)]).join().expect("a beginning in calm weather")
});

impl Beginning {
    pub(crate) fn empty() -> &'static Self {
        &BEGINNINGS[0]
    }

    /// Three snapshots, of which one is forgotten.
    pub(crate) fn with_a_past() -> &'static Self {
        &BEGINNINGS[1]
    }

    pub(crate) fn world(&self) -> Arc<World> {
        let world = World::new(self.objects.clone());
        {
            let mut book = world.book.lock().unwrap();
            book.committed.clone_from(&self.committed);
            book.forgetting.extend(&self.forgotten);
            book.forgotten.extend(&self.forgotten);
        }
        Arc::new(world)
    }
}

fn make(with_a_past: bool) -> Beginning {
    run_on_virtual_time(async {
        let world = Arc::new(World::default());
        let calm = Process::new(&world, "first", Chance::new(0xbe61), Faults::default());
        let repository = Repository::init(calm.store(), &password(), calm.environment()).await.expect("init").repository;
        let (name, key) = cheap_key(&repository, &password()).expect("key");
        world.objects.lock().unwrap().insert(name, key.into());
        if with_a_past {
            let mut last = None;
            for seeds in [vec![0, 1, 2], vec![2, 3, 4], vec![5, 6]] {
                last = Some(back_up_these(&calm, &repository, seeds).await.expect("backup"));
            }
            let last: Vec<SnapshotId> = last.into_iter().collect();
            repository.forget(&last).await.expect("forget");
            world.book.lock().unwrap().forgotten.extend(last);
        }
        let book = world.book.lock().unwrap();
        let objects = world.objects.lock().unwrap().clone();
        Beginning { objects, committed: book.committed.clone(), forgotten: book.forgotten.iter().copied().collect() }
    })
}
