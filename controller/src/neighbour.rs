//! KubeStash's own operator. Two operators never work on the same objects: while one of its Deployments is wanted or still ready, no
//! replica of ours stands for election, and one that leads steps down. What agents have begun comes to its end, and is taken up when we
//! lead again.

use std::collections::BTreeMap;

use futures::StreamExt;
use holdfast_api::labels;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::watch;

use crate::action::Note;
use crate::events::Events;
use crate::object::Named;

/// On those of its Deployments that reconcile nothing.
const COMPONENT: &str = "component";

/// Whether KubeStash's operator is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// That is not known yet: nothing is done meanwhile.
    Unknown,
    /// There is none, or it is scaled to nothing.
    Away,
    /// It is: its Deployment.
    AtWork(Named),
}

/// Looks out for it as long as anybody wants to know.
pub async fn look_out(client: kube::Client, events: Events, told: watch::Sender<Neighbour>) {
    let deployments: Api<Deployment> = Api::all(client);
    let mut changes = watcher(deployments, watcher::Config::default().labels(labels::KUBESTASH_OPERATOR)).default_backoff().boxed();
    let mut known: BTreeMap<Named, Deployment> = BTreeMap::new();
    let mut is_listed = false;
    while let Some(change) = changes.next().await {
        match change {
            Ok(watcher::Event::Init) => {
                is_listed = false;
                known.clear();
            }
            Ok(watcher::Event::InitApply(deployment) | watcher::Event::Apply(deployment)) => _ = known.insert(name(&deployment), deployment),
            Ok(watcher::Event::Delete(deployment)) => _ = known.remove(&name(&deployment)),
            Ok(watcher::Event::InitDone) => is_listed = true,
            Err(error) => tracing::warn!(%error, "the Deployments of KubeStash's operator cannot be watched; tried again"),
        }
        if !is_listed {
            continue;
        }
        let at_work = known.iter().find(|(_, deployment)| is_at_work(deployment));
        let now = at_work.map_or(Neighbour::Away, |(name, _)| Neighbour::AtWork(name.clone()));
        if told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now)
            && let Some((name, deployment)) = at_work
        {
            let message = format!(
                "Holdfast does nothing while KubeStash's operator {name} is wanted or ready: `holdfast takeover` ends its work in good order"
            );
            tracing::warn!("{message}");
            events.publish(deployment.object_ref(&()), Note { warning: true, reason: "HoldfastStandsBy".into(), message });
        }
    }
}

fn name(deployment: &Deployment) -> Named {
    Named::new(deployment.namespace().unwrap_or_default(), deployment.name_any())
}

/// Also one that is not ready at the moment: it may be between two pods.
fn is_at_work(deployment: &Deployment) -> bool {
    if deployment.labels().contains_key(COMPONENT) {
        return false;
    }
    let wanted = deployment.spec.as_ref().map_or(0, |spec| spec.replicas.unwrap_or(1));
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    wanted > 0 || ready > 0
}
