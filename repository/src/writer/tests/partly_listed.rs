//! Of one pack several runs list a part each: who uses its blobs depends on all of those that no state lists.

use super::*;
use crate::index::Run;
use crate::sealed::ObjectKind;

/// Without the runs that the state lists until now.
async fn put_runs(repository: &Repository, runs: &[Run], lease: LeaseId) -> Vec<(RunName, u64)> {
    let mut put = Vec::new();
    for (run, number) in runs.iter().zip(0..) {
        let name = RunName { lease, number };
        repository.core.write(ObjectKind::IndexRun, &name.to_string(), &run.encode()).await.expect("write");
        put.push((name, repository.core.store.head(&name.to_string()).await.expect("head")));
    }
    put
}

#[tokio::test]
async fn a_snapshot_names_every_run_that_lists_a_pack_which_it_uses() {
    for lists_one_half in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let repository = repository(&store).await;
        let interrupted = repository.begin(purpose(Activity::Backup)).await.expect("begin");
        add(&interrupted, 0..20).await;
        interrupted.checkpoint().await.expect("checkpoint");
        let lease = interrupted.lease().expect("lease");
        interrupted.abandon().await.expect("abandon");
        let whole = RunName { lease, number: 0 };
        let (run, _) = crate::view::read_run(&repository.core, &whole).await.expect("run");
        store.take(&whole.to_string());
        let halves = put_runs(&repository, &run.halves(), LeaseId { random: [7; 16], ..lease }).await;
        if lists_one_half {
            publish(&repository, |state| state.runs.extend(halves.iter().take(1).copied())).await;
        }

        let before = packs(&store).len();
        let id = backup(&repository, 0..20).await;
        assert_eq!(packs(&store).len(), before + 1, "its refs");
        restores(&repository, id, 0..20).await;
        assert!(check(&repository, false).await.is_clean());
        let runs = state::newest(&repository.core).await.expect("state").runs;
        assert!(halves.iter().all(|(half, _)| runs.contains_key(half)), "{lists_one_half}: {runs:?}");
    }
}
