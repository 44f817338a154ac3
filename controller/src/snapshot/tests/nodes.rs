//! A backup of a DaemonSet, whose nodes come and go.

use super::*;
use crate::target::nodes::Nodes;
use crate::target::{Shape, Target};

/// Of one that is to run on so many nodes and does on these.
fn reaches(status: Value, wanted: usize, nodes: &[&str]) -> BTreeMap<String, Reach> {
    let pod = |node: &&str| {
        let pod = json!({"metadata": {"name": format!("logs-{node}")}, "status": {"phase": "Running"}, "spec": {"nodeName": node, "containers": []}});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    let shape = Shape::DaemonSet(Nodes { name: "logs".into(), wanted: Some(wanted), pods: nodes.iter().map(pod).collect() });
    let job = Job { paths: vec!["/data".into()], ..Job::default() };
    super::super::components(&job, &Target::seen(Purpose::Backup, shape, []), &snapshot(status))
}

#[test]
fn nodes_that_come_and_go_change_nothing_of_a_backup_that_has_begun() {
    let begun = json!({"phase": "Running", "totalComponents": 2, "components": {"dump-a": {"phase": "Running"}, "dump-b": {"phase": "Running"}}});
    assert_eq!(reaches(Value::Null, 2, &["a", "c"]).keys().collect::<Vec<_>>(), ["dump-a", "dump-c"]);
    let gone = reaches(begun.clone(), 2, &["a", "c"]);
    assert_eq!(gone.keys().collect::<Vec<_>>(), ["dump-a", "dump-b"]);
    assert!(matches!(&gone["dump-b"], Reach::Impossible(why) if why.contains("node b is gone")), "{gone:?}");
    let replaced = reaches(begun, 2, &["a"]);
    assert_eq!(replaced["dump-b"], Reach::Waiting("DaemonSet logs has no pod on node b".into()));
    assert_eq!(replaced.len(), 2, "that a pod is missing is said of its component only");
}

#[test]
fn a_node_without_its_pod_is_waited_for_and_then_fails_what_the_others_do_not_wait_for() {
    let why = "DaemonSet logs is to run on 2 nodes and has pods on a";
    let mut observed = observed(Value::Null);
    observed.reaches = BTreeMap::from([("dump".into(), Reach::Waiting(why.into())), ("dump-a".into(), reach())]);
    observed.target_found = false;
    let actions = plan(&observed, now());
    assert!(wanted(&actions).is_empty() && format!("{actions:?}").contains(why), "{actions:?}");
    assert!(status(&actions).is_none_or(|status| status["totalComponents"].is_null()), "who is to come is not known yet");
    observed.waited = Duration::from_secs(301);
    let actions = plan(&observed, now());
    assert_eq!(wanted(&actions), ["dump-a"]);
    let components = status(&actions).unwrap()["components"].clone();
    assert_eq!((&components["dump"]["error"], &components["dump-a"]["phase"]), (&json!(why), &json!("Pending")));
}
