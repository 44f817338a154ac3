//! Of some packs a run is lost that listed only a part of them: another run lists the rest, so they are in the index, and not whole.

use super::*;
use crate::index::Run;
use crate::prune::{PruneOptions, PruneProgress};
use crate::sealed::ObjectKind;
use crate::testing::spilling::Spilling;

impl Place {
    /// In the place of each run two, of which each lists half of every pack. One of them is rubbish.
    async fn lose_halves(&self) {
        let core = &self.open().await.core;
        let state = state::newest(core).await.expect("state");
        let mut halves = Vec::new();
        for (number, name) in state.runs.keys().enumerate() {
            let (run, _) = view::read_run(core, name).await.expect("run");
            let lease = LeaseId { state: state.number, random: [number as u8; 16] };
            for (half, number) in run.halves().iter().zip(0..) {
                halves.push(self.put_run(core, RunName { lease, number }, half).await);
            }
        }
        state::publish(core, |state| Some(State { runs: halves.iter().copied().collect(), ..state.clone() })).await.expect("publish");
        halves.iter().skip(1).step_by(2).for_each(|(run, _)| self.spoil(&run.to_string()));
    }

    async fn put_run(&self, core: &Core, name: RunName, run: &Run) -> (RunName, u64) {
        core.write(ObjectKind::IndexRun, &name.to_string(), &run.encode()).await.expect("write");
        (name, core.store.head(&name.to_string()).await.expect("head"))
    }
}

#[tokio::test]
async fn what_only_the_lost_run_listed_is_listed_again() {
    let place = Place::new().await;
    let id = place.backup(0..20).await;
    place.lose_halves().await;
    assert_eq!(place.check().await.affected(), [id].into());
    let report = place.repair(RepairOptions::default()).await;
    assert_eq!((report.runs_replaced.len(), report.packs_indexed, report.blobs_indexed), (1, 2, 11), "{report:?}");
    assert!(report.left.is_clean() && place.check().await.is_clean(), "{report:?}");
    place.restores(id, 0..20).await;
    let packs = place.names("packs/data").len();
    place.backup(0..20).await;
    assert_eq!(place.names("packs/data").len(), packs, "nothing is sent again");
    let prune = place.open().await.prune(&PruneOptions::default(), &PruneProgress::default(), std::future::pending()).await;
    assert!(prune.is_ok(), "{prune:?}");
    assert!(place.repair(all()).await.is_idle());
}

/// A pack that is listed in part and says nothing any more is the check's matter: its blobs are not in no run.
#[tokio::test]
async fn a_pack_that_is_listed_in_part_and_does_not_say_what_it_holds_stays_as_it_is() {
    let place = Place::new().await;
    place.backup(0..20).await;
    place.lose_halves().await;
    let pack = place.names("packs/data").remove(0);
    let mut cut = place.store.take(&pack).expect("pack").to_vec();
    *cut.last_mut().expect("footer") ^= 1;
    place.store.put(&pack, cut);
    let report = place.repair(RepairOptions::default()).await;
    assert_eq!((report.packs_indexed, report.packs_unreadable.len()), (1, 0), "the one of metadata: {report:?}");
    assert!(!report.left.is_clean(), "{report:?}");
}

#[tokio::test]
async fn whatever_read_of_a_spilled_index_fails_it_says_the_same_or_nothing() {
    let place = Place::new().await;
    place.backup(0..40).await;
    place.lose_halves().await;
    let options = RepairOptions { dry_run: true, ..all() };
    let expected = place.repair(options.clone()).await;
    let directory = tempfile::TempDir::new().expect("folder");
    for reads in 0.. {
        let repository = place.open().await;
        repository.use_spill(std::fs::File::open(directory.path()).expect("folder").into(), 1 << 20).expect("spill");
        let spilling = Spilling::failing_after(reads);
        let outcome = repository.repair_until(&options, &CheckProgress::default(), std::future::pending()).await;
        let has_failed = spilling.end();
        match outcome {
            Ok(report) => assert_eq!(report.as_ref(), Some(&expected), "{reads}"),
            Err(error) => assert!(has_failed && matches!(error, WriteError::Read(ReadError::Store(_))), "{reads}: {error}"),
        }
        if !has_failed {
            assert!(reads > 10, "{reads}");
            break;
        }
    }
}
