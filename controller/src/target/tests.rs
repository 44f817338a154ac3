//! The cases of the table "Paths" in `docs/compat.md`, by their numbers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::paths::{PathProblem, Place, in_claim, in_pod};
use super::{Reach, Shape, Target};
use crate::holder::{Placement, Purpose, Wish};

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-0", "namespace": "demo", "uid": "pod-uid", "labels": {"tier": "front"}},
        "spec": {
            "nodeName": "node-a",
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-claim"}},
                {"name": "logs", "persistentVolumeClaim": {"claimName": "logs-claim"}},
                {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "password", "secret": {"secretName": "s"}},
                {"name": "host", "hostPath": {"path": "/etc"}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "settings", "configMap": {"name": "c"}},
            ],
            "containers": [
                {"name": "app",
                 "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                         {"name": "DIR", "value": "x/$(POD)"},
                         {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                 "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "logs", "mountPath": "/data/logs"},
                    {"name": "data", "mountPath": "/part", "subPath": "some/part"},
                    {"name": "data", "mountPath": "/expr", "subPathExpr": "$(DIR)/$$(POD)"},
                    {"name": "data", "mountPath": "/broken", "subPathExpr": "$(NOPE)"},
                    {"name": "data", "mountPath": "/keyed", "subPathExpr": "$(KEY)"},
                    {"name": "own", "mountPath": "/own/"},
                    {"name": "password", "mountPath": "/password"},
                    {"name": "settings", "mountPath": "/data/settings"},
                    {"name": "host", "mountPath": "/host"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "data", "mountPath": "/scratch/kept", "subPath": "kept"},
                 ]},
                {"name": "sidecar",
                 "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw"}],
                 "volumeMounts": [{"name": "logs", "mountPath": "/shipped"}, {"name": "logs", "mountPath": "/part"}]},
            ],
        },
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

fn places(path: &str) -> Vec<(String, String, String)> {
    let found = in_pod(&pod(), path).unwrap_or_else(|problem| panic!("{path}: {problem}"));
    found
        .into_iter()
        .map(|Place { claim, path_in_volume, container_path }| (claim, path_in_volume, container_path))
        .collect()
}

fn place(claim: &str, path_in_volume: &str, container_path: &str) -> (String, String, String) {
    (claim.into(), path_in_volume.into(), container_path.into())
}

#[test]
fn case_1_a_path_below_a_mount() {
    assert_eq!(places("/data/photos/2026"), [place("data-claim", "photos/2026", "/data/photos/2026")]);
}

#[test]
fn case_2_the_mount_itself_takes_the_claims_mounted_below_with_it_and_nothing_else_that_is() {
    assert_eq!(places("/data"), [place("data-claim", "", "/data"), place("logs-claim", "", "/data/logs")]);
}

#[test]
fn case_3_the_longest_mount_wins() {
    assert_eq!(places("/data/logs/today"), [place("logs-claim", "today", "/data/logs/today")]);
}

#[test]
fn case_4_a_name_that_only_begins_like_a_mount_is_not_below_it() {
    assert!(matches!(in_pod(&pod(), "/database"), Err(PathProblem::NotInAVolume { .. })));
}

#[test]
fn case_5_a_sub_path_is_a_part_of_the_path_in_the_volume() {
    assert_eq!(places("/part/x"), [place("data-claim", "some/part/x", "/part/x")]);
}

#[test]
fn case_6_a_sub_path_expression_reads_the_environment() {
    assert_eq!(places("/expr"), [place("data-claim", "x/web-0/$(POD)", "/expr")]);
    assert!(in_pod(&pod(), "/broken").unwrap_err().to_string().contains("NOPE"));
    assert!(in_pod(&pod(), "/keyed").unwrap_err().to_string().contains("KEY"));
}

#[test]
fn case_7_a_generic_ephemeral_volume_is_a_claim_named_after_pod_and_volume() {
    assert_eq!(places("/own"), [place("web-0-own", "", "/own")]);
}

#[test]
fn case_8_the_first_container_that_has_the_path_decides() {
    assert_eq!(places("/shipped"), [place("logs-claim", "", "/shipped")]);
    assert_eq!(places("/part"), [place("data-claim", "some/part", "/part")]);
}

#[test]
fn case_9_only_claims_are_backed_up() {
    for (path, kind) in [
        ("/password", "secret"),
        ("/host/passwd", "hostPath"),
        ("/scratch", "emptyDir"),
        ("/data/settings", "configMap"),
    ] {
        let problem = in_pod(&pod(), path).unwrap_err();
        assert!(matches!(&problem, PathProblem::NotAClaim { kind: found, .. } if found == kind), "{path}: {problem}");
    }
}

#[test]
fn case_10_a_path_above_mounts_means_the_claims_below_it() {
    assert_eq!(places("/scratch/kept"), [place("data-claim", "kept", "/scratch/kept")]);
    let mut whole = pod();
    let mounts = whole.spec.as_mut().unwrap().containers[0].volume_mounts.as_mut().unwrap();
    mounts.retain(|mount| !["/broken", "/keyed"].contains(&mount.mount_path.as_str()));
    let found = in_pod(&whole, "/").unwrap().into_iter();
    let all: Vec<_> = found.map(|place| (place.claim, place.path_in_volume, place.container_path)).collect();
    assert!(
        all.contains(&place("data-claim", "", "/data")) && all.contains(&place("web-0-own", "", "/own")),
        "{all:?}"
    );
}

#[test]
fn case_11_what_is_no_path_of_a_container_is_refused() {
    for path in ["", "data", "./data", "/data/../etc", "/da\0ta"] {
        assert!(matches!(in_pod(&pod(), path), Err(PathProblem::NotAbsolute(_))), "{path:?}");
    }
    assert_eq!(places("//data//logs/./today/"), [place("logs-claim", "today", "/data/logs/today")]);
    assert!(matches!(in_pod(&pod(), "/dev/raw"), Err(PathProblem::BlockDevice(_))));
}

#[test]
fn case_12_a_claim_that_is_the_target_is_seen_at_kubestash_data() {
    assert_eq!(in_claim("c", "/kubestash-data", "/kubestash-data").unwrap().path_in_volume, "");
    assert_eq!(in_claim("c", "/kubestash-data", "/kubestash-data/a/b").unwrap().path_in_volume, "a/b");
    assert!(matches!(in_claim("c", "/kubestash-data", "/data"), Err(PathProblem::OutsideClaim { .. })));
    assert!(matches!(in_claim("c", "/kubestash-data", "/kubestash-database"), Err(PathProblem::OutsideClaim { .. })));
}

fn claim(name: &str) -> (String, Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim>) {
    let claim = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid")},
        "spec": {"volumeName": format!("pv-{name}")},
    }));
    (name.to_owned(), Arc::new(claim.unwrap()))
}

#[test]
fn a_stateful_set_is_reached_ordinal_by_ordinal() {
    let template = Box::new((Pod::default(), Vec::new()));
    let shape = Shape::StatefulSet { name: "web".into(), first: 0, replicas: 2, pods: vec![Arc::new(pod())], template };
    let target = Target::seen(Purpose::Backup, shape, [claim("data-claim"), claim("logs-claim")]);
    let components = target.components(&["/data".into()]);
    let Some(Reach::Ready(access)) = components.get("dump-pod-0") else { panic!("{components:?}") };
    assert_eq!((access.node.as_str(), access.volumes.len()), ("node-a", 2));
    assert_eq!(access.volumes[0].volume.pv_name, "pv-data-claim");
    assert_eq!(components.get("dump-pod-1"), Some(&Reach::Waiting("pod web-1 is not running".into())));
}

#[test]
fn a_pod_that_is_being_deleted_is_not_used() {
    let mut going = pod();
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let shape = Shape::Claim { name: "data-claim".into(), pods: vec![Arc::new(going)] };
    let target = Target::seen(Purpose::Backup, shape, [claim("data-claim")]);
    assert!(matches!(target.reach("dump", &["/kubestash-data".into()]), Reach::Waiting(_)));
}

#[test]
fn a_claim_on_a_host_path_volume_is_named() {
    let shape = Shape::Claim { name: "data-claim".into(), pods: vec![Arc::new(pod())] };
    let mut target = Target::seen(Purpose::Backup, shape, [claim("data-claim")]);
    assert!(matches!(target.reach("dump", &["/kubestash-data".into()]), Reach::Ready(_)));
    target.host_path_claims.insert("data-claim".into());
    let Reach::Impossible(why) = target.reach("dump", &["/kubestash-data".into()]) else { panic!() };
    assert!(why.contains("hostPath"), "{why}");
}

fn unmounted(target: &Target, of: &str, path: &str) -> Wish {
    match target.reach(of, &[path.into()]) {
        Reach::Unmounted(wish) => *wish,
        other => panic!("{other:?}"),
    }
}

/// As the kubelet shows it once it runs.
fn holding(wish: &Wish) -> Arc<Pod> {
    let mut pod = wish.pod(&crate::holder::pod::Image { name: "agent".into(), pull_policy: "Never".into() });
    pod.metadata.uid = Some("holder-uid".into());
    pod.spec.as_mut().unwrap().node_name = Some("node-b".into());
    pod.status = serde_json::from_value(json!({"phase": "Running"})).unwrap();
    Arc::new(pod)
}

#[test]
fn a_claim_that_no_pod_mounts_is_held_by_one_of_ours() {
    let shape = Shape::Claim { name: "data-claim".into(), pods: Vec::new() };
    let mut target = Target::seen(Purpose::Backup, shape, [claim("data-claim")]);
    let wish = unmounted(&target, "dump", "/kubestash-data/photos");
    assert_eq!((wish.namespace.as_str(), wish.claims.len(), wish.purpose), ("demo", 1, Purpose::Backup));
    target.holders.insert(wish.pod_name(), holding(&wish));
    let Reach::Ready(access) = target.reach("dump", &["/kubestash-data/photos".into()]) else { panic!() };
    assert_eq!((access.node.as_str(), access.pod_uid.as_str()), ("node-b", "holder-uid"));
    assert_eq!(access.volumes[0].path_in_volume, "photos");
    assert_eq!(access.held.as_deref(), Some(&wish), "it is wanted for as long as this goes on");
    // The application comes, and is still pending: it has the volume to itself.
    let mut coming = pod();
    coming.status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
    target.shape = Shape::Claim { name: "data-claim".into(), pods: vec![Arc::new(coming.clone())] };
    assert!(matches!(target.reach("dump", &["/kubestash-data".into()]), Reach::Waiting(why) if why.contains("web-0")));
    coming.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    target.shape = Shape::Claim { name: "data-claim".into(), pods: vec![Arc::new(coming)] };
    assert!(matches!(target.reach("dump", &["/kubestash-data".into()]), Reach::Ready(_)), "a job that is done mounts nothing");
}

#[test]
fn only_a_restore_binds_a_claim_that_waits_for_its_first_consumer() {
    let unbound = ("new".to_owned(), Arc::new(serde_json::from_value(json!({"metadata": {"name": "new", "uid": "u"}, "spec": {}})).unwrap()));
    let shape = || Shape::Claim { name: "new".into(), pods: Vec::new() };
    let backup = Target::seen(Purpose::Backup, shape(), [unbound.clone()]);
    assert!(matches!(backup.reach("dump", &["/kubestash-data".into()]), Reach::Waiting(why) if why.contains("not bound")));
    let restore = Target::seen(Purpose::Restore, shape(), [unbound]);
    assert_eq!(unmounted(&restore, "dump", "/kubestash-data").purpose, Purpose::Restore);
}

#[test]
fn a_workload_that_is_scaled_to_nothing_is_reached_by_what_its_pods_would_mount() {
    let mut idle = pod();
    (idle.status, idle.metadata.uid) = (None, None);
    idle.spec.as_mut().unwrap().node_selector = Some([("disk".to_owned(), "fast".to_owned())].into());
    let shape = Shape::Deployment { pods: Vec::new(), idle: Some(Box::new(idle.clone())) };
    let deployment = Target::seen(Purpose::Restore, shape, [claim("data-claim"), claim("logs-claim")]);
    let wish = unmounted(&deployment, "dump", "/data");
    assert_eq!(wish.claims.iter().collect::<Vec<_>>(), ["data-claim", "logs-claim"]);
    assert_eq!(wish.placement, Placement { node_selector: Some([("disk".to_owned(), "fast".to_owned())].into()), ..Placement::default() });
    // One that goes still has its volumes.
    let shape = Shape::Deployment { pods: vec![Arc::new(pod())], idle: Some(Box::new(idle)) };
    let going = Target::seen(Purpose::Restore, shape, [claim("data-claim"), claim("logs-claim")]);
    assert!(matches!(going.reach("dump", &["/data".into()]), Reach::Ready(access) if access.held.is_none()));

    let template: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": {"containers": [{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/own"}]}]},
    }))
    .unwrap();
    let shape = Shape::StatefulSet { name: "web".into(), first: 0, replicas: 1, pods: Vec::new(), template: Box::new((template, vec!["own".into()])) };
    let set = Target::seen(Purpose::Restore, shape, [claim("own-web-0"), claim("own-web-2")]);
    assert_eq!(unmounted(&set, "dump-pod-2", "/own").claims.iter().collect::<Vec<_>>(), ["own-web-2"]);
    assert!(matches!(set.reach("dump-pod-0", &["/own".into()]), Reach::Waiting(_)), "that pod is to run, and will");
}

#[test]
fn a_backup_of_a_stateful_set_that_is_scaled_to_nothing_is_of_all_whose_claims_are_there() {
    let template: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": {"containers": [{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/own"}]}]},
    }))
    .unwrap();
    let shape = || Shape::StatefulSet { name: "web".into(), first: 0, replicas: 0, pods: Vec::new(), template: Box::new((template.clone(), vec!["own".into()])) };
    let claims = ["own-web-0", "own-web-2", "own-web-02", "own-web-x", "own-webber-1", "other-web-3"].map(claim);
    let set = Target::seen(Purpose::Backup, shape(), claims);
    let reached = set.components(&["/own".into()]);
    let held = |name: &str| match &reached[name] {
        Reach::Unmounted(wish) => wish.claims.iter().cloned().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reached.keys().collect::<Vec<_>>(), ["dump-pod-0", "dump-pod-2"]);
    assert_eq!([held("dump-pod-0"), held("dump-pod-2")], [["own-web-0"], ["own-web-2"]]);
    let nothing = Target::seen(Purpose::Backup, shape(), []);
    assert!(matches!(&nothing.components(&["/own".into()])["dump"], Reach::Waiting(why) if why.contains("no replicas")));
}
