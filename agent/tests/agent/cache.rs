//! What a node keeps of a repository for its next task.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_finished::Outcome;

use crate::backup::{backed_up, backup_of, files_below, noise, ready, restore, restore_of};
use crate::node::{Node, runtime};

#[test]
fn what_was_read_or_stored_once_is_not_fetched_again() {
    let Some(node) = Node::with_mounts() else { return };
    let volume = node.volume("pv-1");
    for number in 0..20 {
        fs::write(volume.join(format!("file-{number}")), noise(40_000 + number)).unwrap();
    }
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
        let first = backed_up(stream.finished().await);

        let cache = node.path().join("cache");
        let folders: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(folders.len(), 1, "one repository, one folder: {folders:?}");
        assert_eq!(fs::metadata(&folders[0]).unwrap().permissions().mode() & 0o777, 0o700);
        let kept = files_below(&cache);
        assert!(kept.iter().any(|path| path.to_string_lossy().contains("/index/")), "no part of the index: {kept:?}");
        let plain = kept.iter().any(|path| fs::read(path).unwrap().windows(6).any(|window| window == b"file-1"));
        assert!(!plain, "names lie open in the cache");

        // The store loses its index; what the cache has of it is enough to find the parent and to restore.
        let index = node.storage().join("bucket/demo/repo/holdfast/v1/index");
        fs::rename(&index, node.path().join("index")).unwrap();
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
        let second = backed_up(stream.finished().await);
        assert_eq!((second.parent_id.as_str(), second.bytes_stored), (first.snapshot_id.as_str(), 0));
        let back = node.volume("pv-2");
        let (restored, _) = restore(&mut stream, restore_of(&node, &first.snapshot_id, "pv-2"), 60_000, usize::MAX).await;
        assert!(matches!(restored.outcome, Some(Outcome::Restore(result)) if result.failed_count == 0));
        assert_eq!(fs::read(back.join("file-7")).unwrap(), noise(40_007));

        // And without the cache it is not.
        fs::remove_dir_all(&cache).unwrap();
        fs::write(&cache, "no directory can be made here").unwrap();
        stream.say(Say::Assign(backup_of(node.repository(), "pv-1", ""))).await;
        let third = backed_up(stream.finished().await);
        assert!(third.bytes_stored > 0, "the cache was not what the others used");
        agent.stop().await;
    });
}
