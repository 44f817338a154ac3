//! Names of objects, components and directories, as KubeStash makes them.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

/// Longest name in characters.
pub const MAX_CHARACTERS: usize = 63;
const KEPT_AT_START: usize = 32;
const KEPT_AT_END: usize = 31;

/// Version of the layout of a repository's directory.
pub const LAYOUT_VERSION: &str = "v1";

/// Shortens a name that is too long to its first 32 and last 31 characters.
///
/// Two long names may become one. Whoever creates an object under such a name has to look at what an existing one
/// is for before taking it for its own.
pub fn bounded(name: &str) -> String {
    let count = name.chars().count();
    if count <= MAX_CHARACTERS {
        return name.to_owned();
    }
    name.chars()
        .take(KEPT_AT_START)
        .chain(name.chars().skip(count - KEPT_AT_END))
        .collect()
}

/// Name of a BackupSession that `invoker` starts at `now`.
pub fn backup_session(invoker: &str, session: &str, now: Timestamp) -> String {
    bounded(&format!("{invoker}-{session}-{}", now.as_second()))
}

/// Name of the Snapshot that a BackupSession makes in a Repository.
pub fn snapshot(repository: &str, backup_session: &str) -> String {
    bounded(&format!("{repository}-{backup_session}"))
}

/// A name in the place of one that is taken: the same whenever it is made for the same `owner`.
pub fn distinct(name: &str, owner: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    bounded(&format!("{name}-{:08x}", hasher.finish() >> 32))
}

/// Name of a BackupVerificationSession that starts at `now`.
pub fn backup_verification_session(repository: &str, session: &str, now: Timestamp) -> String {
    bounded(&format!("{repository}-{session}-{}", now.as_second()))
}

/// Name of the CronJob that KubeStash makes for a session.
pub fn trigger_cron_job(invoker: &str, session: &str) -> String {
    bounded(&format!("trigger-{invoker}-{session}"))
}

/// Name of a VolumeSnapshot of a claim, taken at `now`.
pub fn volume_snapshot(claim: &str, now: Timestamp) -> String {
    bounded(&format!("{claim}-{}", now.as_second()))
}

/// Names of components: what one worker stores.
pub mod component {
    /// The data of a Deployment or a claim.
    pub const DUMP: &str = "dump";
    /// The volume snapshots of anything but a StatefulSet.
    pub const VOLUME_SNAPSHOT: &str = "volumesnapshot";
    /// Manifests.
    pub const MANIFEST: &str = "manifest";

    /// The data of one pod of a StatefulSet.
    pub fn stateful_set_pod(ordinal: u32) -> String {
        format!("dump-pod-{ordinal}")
    }

    /// The data of a DaemonSet's pod on one node.
    pub fn daemon_set_node(node: &str) -> String {
        format!("dump-{node}")
    }

    /// The node of the DaemonSet's pod that a component is of, whether it was named by today's rule or by that of
    /// older snapshots (the node's name alone).
    pub fn daemon_set_node_of(component: &str) -> &str {
        component.strip_prefix("dump-").unwrap_or(component)
    }

    /// The volume snapshots of one pod of a StatefulSet.
    pub fn stateful_set_volume_snapshot(ordinal: u32) -> String {
        format!("volumesnapshot-pod-{ordinal}")
    }

    /// The ordinal of the StatefulSet's pod that a component is of, whether it was named by today's rule or by
    /// that of older snapshots (`pod-0`).
    pub fn stateful_set_ordinal(component: &str) -> Option<u32> {
        let ordinal = component
            .strip_prefix("dump-pod-")
            .or_else(|| component.strip_prefix("volumesnapshot-pod-"))
            .or_else(|| component.strip_prefix("pod-"))?;
        // `+1` and `01` parse as numbers but name no pod.
        let canonical = ordinal == "0" || !ordinal.starts_with(['0', '+']);
        canonical.then(|| ordinal.parse().ok()).flatten()
    }
}

/// Directory of a component below that of its Repository.
pub fn component_path(session: &str, component: &str) -> String {
    format!("repository/{LAYOUT_VERSION}/{session}/{component}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small timestamp")
    }

    #[test]
    fn names_are_kubestash_s() {
        let session = backup_session("sample-deployment", "frequent-backup", at(1_704_957_060));
        assert_eq!(session, "sample-deployment-frequent-backup-1704957060");
        assert_eq!(
            snapshot("s3-repo", "web-frequent-1704957060"),
            "s3-repo-web-frequent-1704957060"
        );
        assert_eq!(trigger_cron_job("web", "daily"), "trigger-web-daily");
        assert_eq!(
            component_path("daily", &component::stateful_set_pod(2)),
            "repository/v1/daily/dump-pod-2"
        );
    }

    #[test]
    fn long_names_keep_start_and_end() {
        let long = snapshot(
            "gcs-repository-of-the-sample-deployment",
            "sample-deployment-frequent-backup-1704957060",
        );
        assert_eq!(
            long,
            "gcs-repository-of-the-sample-depment-frequent-backup-1704957060"
        );
        assert_eq!(long.len(), 63);
        assert_eq!(bounded(&"a".repeat(63)), "a".repeat(63));
    }

    #[test]
    fn components_name_their_pod() {
        assert_eq!(component::stateful_set_ordinal("dump-pod-10"), Some(10));
        assert_eq!(
            component::stateful_set_ordinal("volumesnapshot-pod-0"),
            Some(0)
        );
        assert_eq!(component::stateful_set_ordinal("pod-3"), Some(3));
        for component in [component::daemon_set_node("n-1"), "n-1".to_owned()] {
            assert_eq!(component::daemon_set_node_of(&component), "n-1");
        }
        for other in [
            "dump",
            "dump-node-a",
            "dump-pod-",
            "dump-pod-+1",
            "dump-pod-01",
            "dump-pod-99999999999",
        ] {
            assert_eq!(component::stateful_set_ordinal(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn names_are_bounded_and_end_as_given(invoker in "[a-z0-9-]{1,253}", session in ".{0,100}", second in 0..4_000_000_000_i64) {
            let name = backup_session(&invoker, &session, at(second));
            prop_assert!(name.chars().count() <= MAX_CHARACTERS);
            prop_assert!(name.ends_with(&second.to_string()));
            prop_assert_eq!(bounded(&name), name.clone());
        }
    }
}
