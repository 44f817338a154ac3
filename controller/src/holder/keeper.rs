//! Who wants which holder pods, and the pods that follow from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use tokio::sync::Notify;

use super::pod::Image;
use super::{Purpose, Wish, is_holder};
use crate::api;
use crate::cache::By;
use crate::caches::Caches;
use crate::object::{Key, Named};
use crate::target::observe::claims_in;

/// Looked at this often while there is anything to look at, and whenever a wish changes.
const PAUSE: Duration = Duration::from_secs(5);
/// After a change of leaders every object is looked at within this time, and says what it wants.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// What is wanted, by those who want it.
#[derive(Debug, Default)]
pub struct Holders {
    wishes: Mutex<HashMap<Key, Vec<Wish>>>,
    changed: Notify,
}

impl Holders {
    /// `owner` wants these, and no others.
    pub fn want(&self, owner: &Key, wishes: Vec<Wish>) {
        let mut all = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if wishes.is_empty() { all.remove(owner) } else { all.insert(owner.clone(), wishes.clone()) };
        if before.unwrap_or_default() != wishes {
            self.changed.notify_one();
        }
    }

    /// Another leader hears what is wanted.
    pub fn let_go(&self) {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// By the pod. Of several for one pod a restore's counts.
    fn wanted(&self) -> BTreeMap<Named, Wish> {
        let all = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted: BTreeMap<Named, Wish> = BTreeMap::new();
        for wish in all.values().flatten() {
            let known = wanted.entry(Named::new(&wish.namespace, wish.pod_name())).or_insert_with(|| wish.clone());
            if wish.purpose > known.purpose {
                *known = wish.clone();
            }
        }
        wanted
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: Vec<Wish>,
    /// With their UIDs.
    delete: Vec<(Named, String)>,
}

fn plan(wanted: &BTreeMap<Named, Wish>, pods: &[Arc<Pod>], is_settled: bool) -> Plan {
    let name_of = |pod: &Pod| Named::new(pod.namespace().unwrap_or_default(), pod.name_any());
    let mut plan = Plan::default();
    let mut standing = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_holder(pod)) {
        standing.insert(name_of(pod), pod);
        let wish = wanted.get(&name_of(pod));
        let is_over = wish.map_or(is_settled, |wish| has_ended(pod) || gives_way(wish, pods));
        if is_over && pod.metadata.deletion_timestamp.is_none() {
            plan.delete.push((name_of(pod), pod.uid().unwrap_or_default()));
        }
    }
    let missing = wanted.iter().filter(|(name, wish)| !standing.contains_key(name) && !gives_way(wish, pods));
    plan.create.extend(missing.map(|(_, wish)| wish.clone()));
    plan
}

/// What is read is let go as soon as somebody else wants it, even if their pod only waits; what is written is not: nobody is to
/// begin with half of it.
fn gives_way(wish: &Wish, pods: &[Arc<Pod>]) -> bool {
    wish.purpose == Purpose::Backup
        && pods.iter().any(|pod| {
            pod.metadata.namespace.as_deref() == Some(wish.namespace.as_str())
                && !is_holder(pod)
                && !has_ended(pod)
                && claims_in(pod).iter().any(|claim| wish.claims.contains(claim))
        })
}

/// Whether a pod's containers have ended for good: it mounts nothing any more.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Keeps the pods as they are wanted, until it is dropped.
pub async fn keep(client: kube::Client, caches: Arc<Caches>, holders: &Holders, image: Image) {
    let settled_at = tokio::time::Instant::now() + SETTLED_AFTER;
    loop {
        let wanted = holders.wanted();
        let plan = plan(&wanted, &concerned(&caches, &wanted), tokio::time::Instant::now() >= settled_at);
        apply(&client, plan, &image).await;
        tokio::select! {
            () = holders.changed.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The holders that are there, and whoever mounts what is wanted.
fn concerned(caches: &Caches, wanted: &BTreeMap<Named, Wish>) -> Vec<Arc<Pod>> {
    let mut pods = caches.pods.of(By::Holder, Named::new("", ""));
    for wish in wanted.values() {
        let users = wish.claims.iter().flat_map(|claim| caches.pods.of(By::Claim, Named::new(&wish.namespace, claim)));
        pods.extend(users.filter(|pod| !is_holder(pod)));
    }
    pods
}

async fn apply(client: &kube::Client, plan: Plan, image: &Image) {
    for wish in plan.create {
        let (pods, pod): (Api<Pod>, _) = (Api::namespaced(client.clone(), &wish.namespace), wish.pod(image));
        match pods.create(&PostParams::default(), &pod).await {
            Ok(_) => tracing::info!(pod = %format!("{}/{}", wish.namespace, wish.pod_name()), claims = ?wish.claims, "a pod holds claims that no other mounts"),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => tracing::warn!(namespace = %wish.namespace, claims = ?wish.claims, %error, "a pod that holds claims could not be made; tried again"),
        }
    }
    for (pod, uid) in plan.delete {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
        if let Err(error) = api::delete(&pods, &pod.name, uid, DeleteParams::default()).await {
            tracing::warn!(%pod, %error, "a pod that holds claims could not be removed; tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Placement;
    use super::*;
    use crate::object::Kind;

    fn wish(claim: &str, purpose: Purpose) -> Wish {
        Wish { namespace: "demo".into(), claims: [claim.to_owned()].into(), purpose, placement: Placement::default() }
    }

    fn pod(name: &str, claim: &str, labels: serde_json::Value, phase: &str) -> Arc<Pod> {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"), "labels": labels},
                "spec": {"containers": [], "volumes": volumes}, "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    fn holder(wish: &Wish, phase: &str) -> Arc<Pod> {
        let claim = wish.claims.first().unwrap();
        pod(&wish.pod_name(), claim, json!({"holdfast.dev/holder": "true"}), phase)
    }

    fn wanted(wishes: &[Wish]) -> BTreeMap<Named, Wish> {
        let holders = Holders::default();
        let key = |number| Key { kind: Kind::Snapshot, namespace: "demo".into(), name: format!("{number}") };
        wishes.iter().enumerate().for_each(|(number, wish)| holders.want(&key(number), vec![wish.clone()]));
        holders.wanted()
    }

    #[test]
    fn what_is_wanted_is_made_once_and_what_nobody_wants_goes() {
        let wish = wish("data", Purpose::Backup);
        let both = wanted(&[wish.clone(), wish.clone()]);
        assert_eq!(plan(&both, &[], true), Plan { create: vec![wish.clone()], delete: vec![] });
        let standing = holder(&wish, "Running");
        assert_eq!(plan(&both, &[standing.clone()], true), Plan::default());
        assert_eq!(plan(&BTreeMap::new(), &[standing.clone()], false), Plan::default(), "its owner may not have been looked at yet");
        assert_eq!(plan(&BTreeMap::new(), &[standing], true).delete.len(), 1);
        let other = pod("app", "data", json!({}), "Running");
        assert_eq!(plan(&BTreeMap::new(), &[other], true), Plan::default(), "somebody's own");
    }

    #[test]
    fn a_backup_gives_way_and_a_restore_does_not() {
        let (backup, restore) = (wish("data", Purpose::Backup), wish("data", Purpose::Restore));
        let waiting = pod("app", "data", json!({}), "Pending");
        let pods = [holder(&backup, "Running"), waiting.clone()];
        assert_eq!(plan(&wanted(std::slice::from_ref(&backup)), &pods, true).delete.len(), 1);
        assert_eq!(plan(&wanted(std::slice::from_ref(&backup)), &[waiting], true), Plan::default(), "nor is one made");
        assert_eq!(plan(&wanted(&[backup.clone(), restore]), &pods, true), Plan::default());
        let (elsewhere, done) = (pod("app", "other", json!({}), "Running"), pod("job", "data", json!({}), "Succeeded"));
        assert_eq!(plan(&wanted(std::slice::from_ref(&backup)), &[holder(&backup, "Running"), elsewhere, done], true), Plan::default());
    }

    #[test]
    fn one_that_has_ended_makes_room_for_another() {
        let wish = wish("data", Purpose::Restore);
        let ended = plan(&wanted(std::slice::from_ref(&wish)), &[holder(&wish, "Failed")], false);
        assert_eq!((ended.create.len(), ended.delete.len()), (0, 1));
    }
}
