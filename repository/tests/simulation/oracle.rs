//! The rules, looked at from outside the run: by a reader that nothing can go wrong for, after each step that could break one.

use std::sync::Arc;

use futures::executor::block_on;
use holdfast_repository::testing::needed_packs;
use holdfast_repository::{Activity, CheckOptions, CheckProgress, Purpose, Repository};

use crate::roles::reader::restore;
use crate::world::World;

pub(crate) struct Oracle {
    repository: Repository,
    world: Arc<World>,
}

impl Oracle {
    /// `repository` reads the world at once and writes nothing.
    pub(crate) fn new(repository: Repository, world: Arc<World>) -> Self {
        Self { repository, world }
    }

    /// Every snapshot that readers accept restores whole; every one that a writer was told is committed is accepted, until it is
    /// forgotten; what was forgotten stays so.
    pub(crate) fn look(&self) -> Result<(), String> {
        // Nothing of it waits: the store answers at once. Tokio's budget is the surrounding task's, and must not end here.
        block_on(tokio::task::unconstrained(self.look_around()))
    }

    async fn look_around(&self) -> Result<(), String> {
        let reader = self.repository.reader(Purpose::new(Activity::Browse, "oracle")).await.map_err(|error| format!("nobody can read: {error}"))?;
        let snapshots = reader.snapshots().await.map_err(|error| format!("nobody can list: {error}"))?;
        if !snapshots.unreadable.is_empty() {
            return Err(format!("accepted and unreadable: {:?}", snapshots.unreadable));
        }
        let is_damaged = self.world.is_damaged();
        let mut whole = Vec::new();
        for (id, _) in &snapshots.readable {
            match restore(&reader, id).await {
                Ok(seeds) => whole.push((id, seeds)),
                // What may be missing then is looked at in the end, after the healing.
                Err(error) if is_damaged && error.is_damage() => {}
                Err(error) => return Err(format!("{id} is accepted and not whole: {error}")),
            }
        }
        let book = self.world.book.lock().unwrap();
        for (id, seeds) in book.committed.iter().filter(|(id, _)| !book.forgetting.contains(id)) {
            if !snapshots.readable.iter().any(|(accepted, _)| accepted == id) {
                return Err(format!("{id} was committed ({seeds:?}) and is not accepted"));
            }
        }
        if let Some((id, _)) = snapshots.readable.iter().find(|(id, _)| book.forgotten.contains(id)) {
            return Err(format!("{id} was forgotten and came back"));
        }
        for (id, restored) in whole {
            if book.committed.get(id).is_some_and(|seeds| *seeds != restored) {
                return Err(format!("{id} restores something else"));
            }
        }
        Ok(())
    }

    /// At the end: `check` reads everything and finds nothing.
    pub(crate) async fn check_all(&self) -> Result<(), String> {
        let options = CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() };
        let report = self.repository.check(options, &CheckProgress::default()).await.map_err(|error| format!("check fails: {error}"))?;
        if report.is_clean() { Ok(()) } else { Err(format!("check finds {:?}", report.findings)) }
    }

    /// After quiet prunes: nothing is left that nothing can reach.
    pub(crate) async fn nothing_is_left_over(&self) -> Result<(), String> {
        let needed = needed_packs(&self.repository).await.map_err(|error| format!("what is needed cannot be read: {error}"))?;
        let left: Vec<String> = self.world.names("packs/").into_iter().filter(|pack| !needed.contains(pack)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("no snapshot needs {left:?}, and quiet prunes leave it")) }
    }
}
