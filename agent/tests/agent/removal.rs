//! What removes: forgetting, pruning, and wiping out, in sandboxed workers on a real repository.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{Assign, Cancel, ForgetTask, PruneResult, PruneTask, RepositoryAccess, View, WipeTask, assign};

use crate::backup::{backed_up, backup_of, files_below, noise, ready, restore, restore_of};
use crate::controller::Attended;
use crate::node::{Node, assignment, runtime};
use crate::tasks::{reason, silent_store};

fn forget(node: &Node, ids: &[&str], views: &[&str]) -> Assign {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    assignment(assign::Spec::Forget(ForgetTask { repository: node.repository(), snapshot_ids: owned(ids), remove_views: owned(views) }))
}

async fn prune(node: &Node, stream: &mut Attended) -> PruneResult {
    stream.say(Say::Assign(assignment(assign::Spec::Prune(PruneTask { repository: node.repository(), wait_ms: 10_000 })))).await;
    match stream.finished().await.outcome {
        Some(Outcome::Prune(result)) => result,
        other => panic!("no prune: {other:?}"),
    }
}

fn packs(node: &Node) -> Vec<PathBuf> {
    files_below(&node.storage().join("bucket/demo/repo/holdfast/v1/packs"))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn what_is_forgotten_is_freed_by_two_prunes_and_the_rest_restores() {
    let Some(node) = Node::with_mounts() else { return };
    let (source, target) = (node.volume("pv-source"), node.volume("pv-target"));
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        fs::write(source.join("old"), noise(3 << 20)).unwrap();
        stream.say(Say::Assign(backup_of(node.repository(), "pv-source", ""))).await;
        let first = backed_up(stream.finished().await).snapshot_id;
        fs::remove_file(source.join("old")).unwrap();
        fs::write(source.join("new"), "what is kept").unwrap();
        stream.say(Say::Assign(backup_of(node.repository(), "pv-source", ""))).await;
        let second = backed_up(stream.finished().await).snapshot_id;
        let view = node.storage().join("bucket/demo/repo/snapshots/first.yaml");
        write(&view, "a: 1\n");

        // Nothing happens when one name is wrong.
        stream.say(Say::Assign(forget(&node, &[&first], &["demo/repo/holdfast/v1/config"]))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask));
        stream.say(Say::Assign(forget(&node, &["nonsense"], &[]))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask));
        for already in [false, true] {
            stream.say(Say::Assign(forget(&node, &[&first], &["demo/repo/snapshots/first.yaml"]))).await;
            let Some(Outcome::Forget(result)) = stream.finished().await.outcome else { panic!("not forgotten") };
            assert_eq!((result.snapshot_ids, result.forgotten), (vec![first.clone()], u64::from(!already)));
        }
        assert!(!view.exists());

        let before = packs(&node).len();
        let marked = prune(&node, &mut stream).await;
        assert!(marked.packs_unused > 0 && marked.packs_deleted == 0, "{marked:?}");
        let freed = prune(&node, &mut stream).await;
        assert!(freed.bytes_deleted > 3 << 20, "{freed:?}");
        assert_eq!(packs(&node).len() as u64, before as u64 - freed.packs_deleted);

        let (finished, _) = restore(&mut stream, restore_of(&node, &first, "pv-target"), 30_000, 9).await;
        assert_eq!(reason(&finished), Some(Reason::SnapshotNotFound));
        let (finished, _) = restore(&mut stream, restore_of(&node, &second, "pv-target"), 30_000, 9).await;
        assert!(matches!(finished.outcome, Some(Outcome::Restore(_))), "{finished:?}");
        assert_eq!(fs::read_to_string(target.join("new")).unwrap(), "what is kept");
        agent.stop().await;
    });
}

#[test]
fn wiping_out_removes_a_repository_and_nothing_else() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let bucket = node.storage().join("bucket");
        let directory = bucket.join("demo/repo");
        write(&directory.join("repository.yaml"), "a: 1\n");
        write(&directory.join("snapshots/s.yaml"), "a: 1\n");
        let others = [
            directory.join("repository/v1/daily/dump/config"),
            directory.join("snapshots/deeper/s.yaml"),
            directory.join("snapshots/notes.txt"),
            bucket.join("demo/repo-2/holdfast/v1/config"),
        ];
        others.iter().for_each(|path| write(path, "somebody else's"));
        let wipe = |directory: &str| {
            let put = vec![View { path: "metadata.yaml".into(), yaml: b"a: 1\n".to_vec() }];
            assignment(assign::Spec::Wipe(WipeTask { backend: node.backend(), directory: directory.into(), put }))
        };
        stream.say(Say::Assign(wipe("../elsewhere"))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask));
        assert!(directory.join("holdfast/v1/config").exists());
        for _ in 0..2 {
            stream.say(Say::Assign(wipe("demo/repo"))).await;
            assert!(matches!(stream.finished().await.outcome, Some(Outcome::Wipe(_))));
            let mut left = files_below(&bucket);
            left.sort();
            let mut expected: Vec<PathBuf> = others.to_vec();
            expected.push(bucket.join("metadata.yaml"));
            expected.sort();
            assert_eq!(left, expected);
        }
        stream.say(Say::Assign(forget(&node, &[], &[]))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::NotARepository));
        agent.stop().await;
    });
}

#[test]
fn what_removes_is_cancelled_while_its_store_hangs() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let (_listener, backend) = silent_store().await;
        let repository = Some(RepositoryAccess { backend: Some(backend.clone()), ..node.repository().unwrap() });
        for spec in [
            assign::Spec::Forget(ForgetTask { repository: repository.clone(), ..ForgetTask::default() }),
            assign::Spec::Prune(PruneTask { repository: repository.clone(), wait_ms: 1_000 }),
            assign::Spec::Wipe(WipeTask { backend: Some(backend.clone()), directory: "demo/repo".into(), put: Vec::new() }),
        ] {
            let assign = assignment(spec);
            stream.say(Say::Assign(assign.clone())).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            stream.say(Say::Cancel(Cancel { task: assign.task, reason: "no longer wanted".into() })).await;
            assert_eq!(reason(&stream.finished().await), Some(Reason::Cancelled));
        }
        agent.stop().await;
    });
}
