//! Backups and restores of mounted volumes, among pods that are deleted and pods that are hostile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_proto::v1::agent_message::Kind as Said;
use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{
    Assign, BackupResult, BackupTask, GrantAnswer, InitRepository, Release, RepositoryAccess, RestoreResult, RestoreTarget, RestoreTask,
    TaskFinished, VolumeSource, assign,
};
use rustix::mount::{UnmountFlags, unmount};

use crate::controller::{Attended, Controller, PATIENCE};
use crate::node::{Agent, Node, POD, assignment, runtime, volume_access};
use crate::tasks::{reason, silent_store};

const CONTAINER_PATH: &str = "/data";

pub(crate) async fn ready(node: &Node) -> (Controller, Agent, Attended) {
    let mut controller = Controller::start(&node.authority).await;
    let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
    let (mut stream, _) = controller.welcome(1).await;
    stream.say(Say::Assign(assignment(assign::Spec::InitRepository(InitRepository { repository: node.repository(), only_existing: false })))).await;
    assert!(matches!(stream.finished().await.outcome, Some(Outcome::Init(_))));
    (controller, agent, stream)
}

pub(crate) fn backup_of(repository: Option<RepositoryAccess>, pv: &str, path_in_volume: &str) -> Assign {
    let source = VolumeSource { volume: volume_access(pv), path_in_volume: path_in_volume.into(), container_path: CONTAINER_PATH.into() };
    assignment(assign::Spec::Backup(BackupTask {
        repository,
        sources: vec![source],
        host: "default/deployment/app".into(),
        session: "app-1".into(),
        run_as_user: -1,
        run_as_group: -1,
        ..BackupTask::default()
    }))
}

pub(crate) fn backed_up(finished: TaskFinished) -> BackupResult {
    match finished.outcome {
        Some(Outcome::Backup(result)) => result,
        other => panic!("no backup: {other:?}"),
    }
}

pub(crate) fn restore_of(node: &Node, snapshot: &str, pv: &str) -> Assign {
    let target = RestoreTarget { snapshot_path: CONTAINER_PATH.into(), volume: volume_access(pv), path_in_volume: String::new(), snapshot_id: String::new() };
    assignment(assign::Spec::Restore(RestoreTask {
        repository: node.repository(),
        snapshot_id: snapshot.into(),
        targets: vec![target],
        grant_ttl_ms: 30_000,
        same_namespace: true,
        run_as_user: -1,
        run_as_group: -1,
        ..RestoreTask::default()
    }))
}

/// Answers every question for the right to write with `ttl_ms` until the restore ends; 0 refuses.
pub(crate) async fn restore(stream: &mut Attended, assign: Assign, ttl_ms: u64, answers_max: usize) -> (TaskFinished, usize) {
    stream.say(Say::Assign(assign)).await;
    let mut answered = 0;
    loop {
        match stream.next().await {
            Said::GrantRequest(request) if answered < answers_max => {
                answered += 1;
                let (granted, reason) = (ttl_ms > 0, "not now".to_owned());
                stream.say(Say::Grant(GrantAnswer { task: request.task, sequence: request.sequence, granted, ttl_ms, reason })).await;
            }
            Said::Finished(finished) => return (finished, answered),
            _ => {}
        }
    }
}

async fn first_bytes(stream: &mut Attended) {
    stream
        .until(|said| match said {
            Said::Progress(progress) if progress.bytes_done > 0 || progress.bytes_stored > 0 => Some(()),
            Said::Finished(finished) => panic!("it ended before it began: {finished:?}"),
            _ => None,
        })
        .await;
}

pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Bytes that neither compress nor repeat, so that a limit on them takes its time.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

#[test]
fn what_was_backed_up_is_restored_and_unchanged_files_are_not_read_again() {
    let Some(node) = Node::with_mounts() else { return };
    let (from, to) = (node.volume("pv-1"), node.volume("pv-2"));
    fs::create_dir_all(from.join("sub/deep")).unwrap();
    fs::write(from.join("sub/deep/file"), "content").unwrap();
    fs::write(from.join("sub/large"), noise(3 << 20)).unwrap();
    fs::write(from.join("beside"), "not below the path").unwrap();
    symlink("/etc/passwd", from.join("sub/link")).unwrap();
    std::os::unix::fs::chown(from.join("sub/deep/file"), Some(1234), Some(4321)).unwrap();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", "sub"))).await;
        let first = backed_up(stream.finished().await);
        assert_eq!((first.sources[0].files, first.sources[0].container_path.as_str(), first.unreadable_count), (2, CONTAINER_PATH, 0));
        assert!(first.repository_bytes > 3 << 20);
        // The safe window of local file systems.
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", "sub"))).await;
        let second = backed_up(stream.finished().await);
        assert_eq!(second.parent_id, first.snapshot_id, "{}", second.parent_ignored);

        let (finished, answered) = restore(&mut stream, restore_of(&node, &second.snapshot_id, "pv-2"), 30_000, 1).await;
        let Some(Outcome::Restore(RestoreResult { files: 2, failed_count: 0, .. })) = finished.outcome else { panic!("{finished:?}") };
        assert_eq!(answered, 1);
        assert_eq!(fs::read(to.join("large")).unwrap(), noise(3 << 20));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(to.join("deep/file")).unwrap()), 1234);
        assert!(!to.join("beside").exists());
        let missing = "0000000000000001-00000000000000000000000000000000";
        let (finished, _) = restore(&mut stream, restore_of(&node, missing, "pv-2"), 30_000, 1).await;
        assert_eq!(reason(&finished), Some(Reason::SnapshotNotFound), "{finished:?}");
        agent.stop().await;
    });
}

#[test]
fn a_pod_that_swaps_directories_for_symlinks_shows_nothing_from_outside() {
    let Some(node) = Node::with_mounts() else { return };
    let (from, to) = (node.volume("pv-1"), node.volume("pv-2"));
    let outside = node.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for number in 0..50 {
        fs::write(outside.join(format!("file-{number}")), "SECRET").unwrap();
        fs::create_dir(from.join(format!("dir-{number}"))).unwrap();
        fs::write(from.join(format!("dir-{number}/file-{number}")), "own").unwrap();
    }
    symlink(&outside, from.join("link")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (over, from) = (Arc::clone(&over), from.clone());
        move || {
            let mut swaps = 0_u64;
            while !over.load(Ordering::Relaxed) {
                for number in 0..50 {
                    let directory = from.join(format!("dir-{number}"));
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    // Either may lose a race with the other's name; the next round tries again.
                    if rustix::fs::renameat_with(rustix::fs::CWD, &directory, rustix::fs::CWD, from.join("link"), exchange).is_ok() {
                        swaps += 1;
                    }
                }
            }
            swaps
        }
    });
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        for _ in 0..3 {
            stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
            let result = backed_up(stream.finished().await);
            let (finished, _) = restore(&mut stream, restore_of(&node, &result.snapshot_id, "pv-2"), 30_000, 9).await;
            assert!(matches!(finished.outcome, Some(Outcome::Restore(_))), "{finished:?}");
            for file in files_below(&to).iter().filter(|file| !file.is_symlink()) {
                assert_ne!(fs::read_to_string(file).unwrap(), "SECRET", "{}", file.display());
            }
        }
        agent.stop().await;
    });
    over.store(true, Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 1000, "the swapper hardly swapped");
}

#[test]
fn a_pod_that_is_deleted_in_mid_read_has_its_volume_back_at_once() {
    let Some(node) = Node::with_mounts() else { return };
    let volume = node.volume("pv-1");
    fs::write(volume.join("large"), noise(64 << 20)).unwrap();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let assign = Assign { bandwidth_bytes_per_second: 2 << 20, ..backup_of(node.repository(), "pv-1", "") };
        stream.say(Say::Assign(assign)).await;
        first_bytes(&mut stream).await;
        // The kubelet does not wait for anybody: its unmount is not lazy, and must not find the mount busy.
        unmount(&volume, UnmountFlags::empty()).unwrap();
        let began = Instant::now();
        stream.say(Say::Release(Release { pod_uid: POD.into(), reason: "the pod is being deleted".into() })).await;
        let mut released = None;
        let finished = stream
            .until(|said| match said {
                Said::Released(_) => {
                    released = Some(began.elapsed());
                    None
                }
                Said::Finished(finished) => Some(finished),
                _ => None,
            })
            .await;
        assert!(released.expect("nobody said Released") < Duration::from_secs(5), "{released:?}");
        assert_eq!(reason(&finished), Some(Reason::Released));
        agent.stop().await;
    });
}

#[test]
fn a_volume_is_let_go_while_the_store_hangs() {
    let Some(node) = Node::with_mounts() else { return };
    let volume = node.volume("pv-1");
    fs::write(volume.join("file"), "x").unwrap();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let (listener, backend) = silent_store().await;
        let repository = RepositoryAccess { backend: Some(backend), ..node.repository().unwrap() };
        stream.say(Say::Assign(backup_of(Some(repository), "pv-1", ""))).await;
        // The worker has resolved `localhost`, with nothing but its own descriptors around it, and connected.
        tokio::time::timeout(PATIENCE, listener.accept()).await.expect("no connection").unwrap();
        let began = Instant::now();
        stream.say(Say::Release(Release { pod_uid: POD.into(), reason: "deleted".into() })).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::Released));
        assert!(began.elapsed() < Duration::from_secs(5));
        unmount(&volume, UnmountFlags::empty()).unwrap();
        agent.stop().await;
    });
}

#[test]
fn a_volume_that_was_unmounted_under_the_scan_makes_no_snapshot() {
    let Some(node) = Node::with_mounts() else { return };
    let volume = node.volume("pv-1");
    fs::write(volume.join("large"), noise(8 << 20)).unwrap();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let assign = Assign { bandwidth_bytes_per_second: 2 << 20, ..backup_of(node.repository(), "pv-1", "") };
        stream.say(Say::Assign(assign)).await;
        first_bytes(&mut stream).await;
        unmount(&volume, UnmountFlags::empty()).unwrap();
        let finished = stream.finished().await;
        assert_eq!(reason(&finished), Some(Reason::VolumeChanged), "{finished:?}");
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
        let finished = stream.finished().await;
        assert_eq!(reason(&finished), Some(Reason::VolumeNotFound), "a stale directory is no volume: {finished:?}");
        agent.stop().await;
    });
}

#[test]
fn nothing_is_written_without_the_right_to_and_nothing_after_its_end() {
    let Some(node) = Node::with_mounts() else { return };
    let (from, to) = (node.volume("pv-1"), node.volume("pv-2"));
    for number in 0..200 {
        let directory = from.join(format!("dir-{number}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..50 {
            fs::write(directory.join(format!("file-{file}")), format!("{number} {file}")).unwrap();
        }
    }
    fs::write(from.join("large"), noise(32 << 20)).unwrap();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
        let snapshot = backed_up(stream.finished().await).snapshot_id;
        let (refused, _) = restore(&mut stream, restore_of(&node, &snapshot, "pv-2"), 0, 1).await;
        assert_eq!(reason(&refused), Some(Reason::GrantLapsed));
        assert_eq!(files_below(&to).len(), 0);
        // One answer, good for a moment, and never another.
        let (lapsed, _) = restore(&mut stream, restore_of(&node, &snapshot, "pv-2"), 60, 1).await;
        assert_eq!(reason(&lapsed), Some(Reason::GrantLapsed), "{lapsed:?}");
        let written = files_below(&to).len();
        assert!(written < 10_001, "all of it was written within the moment");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(files_below(&to).len(), written, "something is written after the end");
        // Short rights that are renewed in time are as good as a long one.
        let (finished, answered) = restore(&mut stream, restore_of(&node, &snapshot, "pv-2"), 3_000, usize::MAX).await;
        assert!(matches!(finished.outcome, Some(Outcome::Restore(RestoreResult { files: 10_001, .. }))), "{finished:?}");
        assert!(answered >= 1);
        agent.stop().await;
    });
}
