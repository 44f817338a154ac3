//! What KubeStash stored with restic, restored by a worker in its sandbox. The repositories are real restic's (`restic/tests/fixtures`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{Assign, Cancel, RepositoryAccess, ResticRepository, RestoreResult, RestoreTarget, RestoreTask, TaskFinished, assign};
use holdfast_restic::testing::copy_fixture;

use crate::backup::{files_below, restore};
use crate::controller::Controller;
use crate::node::{Agent, Node, assignment, runtime, volume_access};
use crate::tasks::{reason, silent_store};

const BELOW: &str = "repository/v1/daily/dump";
/// The snapshot of the second day.
const SNAPSHOT: &str = include_str!("../../../restic/tests/fixtures/v2.second");

fn restore_of(node: &Node, change: impl FnOnce(&mut RestoreTask)) -> Assign {
    let target = RestoreTarget {
        snapshot_path: "/kubestash-data".into(),
        volume: volume_access("pv-1"),
        path_in_volume: String::new(),
        snapshot_id: SNAPSHOT.trim_end().into(),
    };
    let mut task = RestoreTask {
        repository: Some(RepositoryAccess { password: b"kubestash-password\n".to_vec(), ..node.repository().unwrap() }),
        targets: vec![target],
        grant_ttl_ms: 30_000,
        same_namespace: true,
        run_as_user: -1,
        run_as_group: -1,
        restic: Some(ResticRepository { directory: BELOW.into() }),
        ..RestoreTask::default()
    };
    change(&mut task);
    assignment(assign::Spec::Restore(task))
}

fn restored(finished: TaskFinished) -> RestoreResult {
    match finished.outcome {
        Some(Outcome::Restore(result)) => result,
        other => panic!("no restore: {other:?}"),
    }
}

#[test]
fn what_restic_stored_is_restored_in_the_sandbox_and_nothing_is_written_beside_it() {
    let Some(node) = Node::with_mounts() else { return };
    let to = node.volume("pv-1");
    let repository = node.storage().join("bucket/demo/repo").join(BELOW);
    copy_fixture("v2", &repository);
    let before = files_below(&node.storage());
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
        let (mut stream, hello) = controller.welcome(1).await;
        assert!(hello.capabilities.iter().any(|capability| capability == "restore-restic"));
        let (finished, _) = restore(&mut stream, restore_of(&node, |_| {}), 30_000, 1).await;
        let result = restored(finished);
        assert_eq!((result.failed_count, result.warnings_count), (0, 0), "{result:?}");
        assert_eq!(fs::read(to.join("hello.txt")).unwrap(), b"hello, restic\n");
        assert_eq!(fs::read(to.join("dir/deep/new")).unwrap(), b"only in the second\n");
        assert!(!to.join("dir/deep/f7").exists(), "that of the first day");
        assert_eq!(fs::read_link(to.join("dir/outside")).unwrap(), Path::new("/etc/passwd"));
        let setuid = fs::metadata(to.join("setuid")).unwrap();
        assert_eq!((setuid.uid(), setuid.gid(), setuid.mode() & 0o7777), (1000, 1001, 0o4755));
        assert_eq!(fs::metadata(to.join("hello.txt")).unwrap().ino(), fs::metadata(to.join("odd names/hello again")).unwrap().ino());

        let first_of = |change: fn(&mut RestoreTask)| restore_of(&node, change);
        let cases: [(fn(&mut RestoreTask), Reason); 5] = [
            (|task| task.repository.as_mut().unwrap().password = b"wrong".to_vec(), Reason::WrongPassword),
            (|task| task.restic.as_mut().unwrap().directory = "repository/v1/daily/other".into(), Reason::NotARepository),
            (|task| task.targets[0].snapshot_id = "0".repeat(64), Reason::SnapshotNotFound),
            (|task| task.targets[0].snapshot_path = "/data".into(), Reason::SnapshotNotFound),
            (|task| task.restic.as_mut().unwrap().directory = "../elsewhere".into(), Reason::InvalidTask),
        ];
        for (change, expected) in cases {
            let (finished, _) = restore(&mut stream, first_of(change), 30_000, 1).await;
            assert_eq!(reason(&finished), Some(expected), "{finished:?}");
        }
        for pack in files_below(&repository.join("data")) {
            fs::write(pack, "rotten").unwrap();
        }
        let (finished, _) = restore(&mut stream, restore_of(&node, |_| {}), 30_000, 1).await;
        assert_eq!(reason(&finished), Some(Reason::RepositoryDamaged), "{finished:?}");
        agent.stop().await;
    });
    assert_eq!(files_below(&node.storage()), before, "not even a lock");
}

#[test]
fn a_restore_of_restics_data_writes_nothing_without_the_right_to_and_stops_whatever_the_store_does() {
    let Some(node) = Node::with_mounts() else { return };
    let to = node.volume("pv-1");
    copy_fixture("v2", &node.storage().join("bucket/demo/repo").join(BELOW));
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
        let (mut stream, _) = controller.welcome(1).await;
        let (finished, asked) = restore(&mut stream, restore_of(&node, |_| {}), 0, 1).await;
        assert_eq!((reason(&finished), asked), (Some(Reason::GrantLapsed), 1), "{finished:?}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);

        let (_listener, backend) = silent_store().await;
        let assign = restore_of(&node, |task| task.repository.as_mut().unwrap().backend = Some(backend));
        stream.say(Say::Assign(assign.clone())).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.say(Say::Cancel(Cancel { task: assign.task, reason: "the restore was deleted".into() })).await;
        let began = Instant::now();
        assert_eq!(reason(&stream.finished().await), Some(Reason::Cancelled));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        agent.stop().await;
    });
}
