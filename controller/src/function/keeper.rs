//! Removes the pods of Functions that nobody waits for: of sessions that were stopped, and of a controller that died.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams};

use super::{Functions, Pods, is_function};
use crate::api;
use crate::cache::By;
use crate::caches::Caches;
use crate::object::Named;

/// Looked at this often, and whenever somebody no longer waits.
const PAUSE: Duration = Duration::from_secs(5);
/// After a change of leaders every object is looked at within this time, and goes on with what it had begun.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Pods of ours, that is of objects of ours, that nobody waits for and that are not going already. Before all is settled only those that
/// were waited for here: for another somebody may begin to wait.
fn left_over(pods: &[Arc<Pod>], known: &Pods, is_settled: bool) -> Vec<(Named, String)> {
    let is_ours = |pod: &&Arc<Pod>| {
        let owners = pod.metadata.owner_references.iter().flatten();
        is_function(pod) && owners.into_iter().any(|owner| owner.api_version.starts_with("core.kubestash.com/"))
    };
    let left = pods.iter().filter(is_ours).filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let named = left.map(|pod| (Named::new(pod.namespace().unwrap_or_default(), pod.name_any()), pod.uid().unwrap_or_default()));
    named.filter(|(name, _)| known.left.contains(name) || is_settled && !known.waited_for.contains_key(name)).collect()
}

/// Removes what is left over, until it is dropped.
pub async fn keep(client: kube::Client, caches: Arc<Caches>, functions: &Functions) {
    let settled_at = tokio::time::Instant::now() + SETTLED_AFTER;
    // What is left because this process ends is gone on with by the next.
    while !functions.shutdown.is_cancelled() {
        let pods = caches.pods.of(By::Function, Named::new("", ""));
        let left = {
            let mut known = functions.attended.pods();
            known.left.retain(|name| pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(&name.name)));
            left_over(&pods, &known, tokio::time::Instant::now() >= settled_at)
        };
        for (pod, uid) in left {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
            match api::delete(&pods, &pod.name, uid, DeleteParams::background()).await {
                Ok(()) => tracing::info!(%pod, "a Function's pod that nobody waits for was removed"),
                Err(error) => tracing::warn!(%pod, %error, "a Function's pod that nobody waits for could not be removed; tried again"),
            }
        }
        tokio::select! {
            () = functions.attended.changed.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, group: &str) -> Arc<Pod> {
        let owner = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "BackupSession", "name": "s", "uid": "u"});
        let labels = json!({"holdfast.dev/function": "true"});
        let uid = format!("uid-{name}");
        let metadata = json!({"name": name, "namespace": "demo", "uid": uid, "labels": labels, "ownerReferences": [owner]});
        Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
    }

    #[test]
    fn what_nobody_waits_for_goes_and_nothing_else() {
        let ours = "core.kubestash.com";
        let mut going = pod("holdfast-function-going", ours).as_ref().clone();
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let pods = [
            pod("holdfast-function-left", ours),
            pod("holdfast-function-runs", ours),
            pod("holdfast-function-labelled", "batch"),
            pod("an-application", ours),
            Arc::new(going),
        ];
        let named = |name: &str| Named::new("demo", name);
        let mut known = Pods::default();
        known.waited_for.insert(named("holdfast-function-runs"), 1);
        let expected = [(named("holdfast-function-left"), "uid-holdfast-function-left".to_owned())];
        assert_eq!(left_over(&pods, &known, true), expected);
        assert_eq!(left_over(&pods, &known, false), [], "its session may not have been looked at yet");
        known.left.insert(named("holdfast-function-left"));
        assert_eq!(left_over(&pods, &known, false), expected, "it was, and is no longer waited for");
    }
}
