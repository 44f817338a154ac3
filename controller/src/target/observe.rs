//! Looks at a target: workloads by a read, pods and claims in the caches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::{BackupConfiguration, TypedObjectReference};
use holdfast_api::usage_policy::selector_matches;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::Api;

use super::nodes::Nodes;
use super::{Shape, Target, consent, held, paths};
use crate::cache::By;
use crate::caches::Caches;
use crate::holder::{Purpose, is_holder};
use crate::object::Named;

/// The target that an object in `namespace` names; `configuration` is that object, or what it runs, if it is one.
pub async fn target(
    client: &kube::Client,
    caches: &Caches,
    namespace: &str,
    reference: Option<&TypedObjectReference>,
    configuration: Option<&BackupConfiguration>,
    purpose: Purpose,
) -> Result<Target, kube::Error> {
    let Some(reference) = reference else {
        return Ok(without_claims(namespace, purpose, Shape::Unsupported(
            "a backup without a target is not supported yet: set spec.target".into(),
        )));
    };
    let theirs = reference.namespace_or(namespace);
    if theirs != namespace && !consent::given(caches, namespace, reference, configuration) {
        return Ok(without_claims(theirs, purpose, Shape::Unsupported(format!(
            "the target is in namespace {theirs} and does not grant its use to {namespace}: annotate it {}={namespace}",
            consent::GRANTED_TO
        ))));
    }
    let namespace = theirs;
    let group = reference.api_group.as_deref().unwrap_or_default().split('/').next().unwrap_or_default();
    let shape = match (group, reference.kind.as_deref().unwrap_or_default()) {
        ("" | "v1", "PersistentVolumeClaim") => claim(caches, namespace, &reference.name),
        ("apps", "Deployment") => deployment(client, caches, namespace, &reference.name).await?,
        ("apps", "StatefulSet") => stateful_set(client, caches, namespace, &reference.name).await?,
        ("apps", "DaemonSet") => daemon_set(client, caches, namespace, &reference.name).await?,
        (group, kind) => Shape::Unsupported(format!(
            "targets of kind {kind} ({group}) are not supported yet; PersistentVolumeClaim, Deployment, StatefulSet and DaemonSet are"
        )),
    };
    with_claims(client, caches, namespace, purpose, shape).await
}

/// A claim that is a target by itself.
pub async fn claim_target(client: &kube::Client, caches: &Caches, namespace: &str, name: &str, purpose: Purpose) -> Result<Target, kube::Error> {
    with_claims(client, caches, namespace, purpose, claim(caches, namespace, name)).await
}

async fn with_claims(client: &kube::Client, caches: &Caches, namespace: &str, purpose: Purpose, shape: Shape) -> Result<Target, kube::Error> {
    let claims = claims_of(caches, namespace, purpose, &shape);
    let host_path_claims = host_path_claims(client, caches, &claims).await?;
    let holders = caches.pods.of(By::Holder, Named::new(namespace, ""));
    let holders = holders.into_iter().filter_map(|pod| Some((pod.metadata.name.clone()?, pod))).collect();
    Ok(Target { shape, claims, host_path_claims, namespace: namespace.to_owned(), purpose, holders })
}

fn without_claims(namespace: &str, purpose: Purpose, shape: Shape) -> Target {
    let (claims, host_path_claims, holders) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    Target { shape, claims, host_path_claims, namespace: namespace.to_owned(), purpose, holders }
}

fn claim(caches: &Caches, namespace: &str, name: &str) -> Shape {
    if caches.claims.get(namespace, name).is_none() {
        return Shape::Missing(format!("PersistentVolumeClaim {namespace}/{name} does not exist"));
    }
    let mut pods = caches.pods.of(By::Claim, Named::new(namespace, name));
    pods.retain(|pod| !is_holder(pod));
    Shape::Claim { name: name.to_owned(), pods }
}

async fn deployment(client: &kube::Client, caches: &Caches, namespace: &str, name: &str) -> Result<Shape, kube::Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Some(deployment) = deployments.get_opt(name).await? else {
        return Ok(Shape::Missing(format!("Deployment {namespace}/{name} does not exist")));
    };
    let spec = deployment.spec.unwrap_or_default();
    let idle = (spec.replicas == Some(0)).then(|| Box::new(pod_of(namespace, name, spec.template)));
    let selector = spec.selector;
    let prefix = format!("{name}-");
    let pods = selected(caches, namespace, &selector)
        .into_iter()
        // Two Deployments whose selectors overlap: the ReplicaSet's name tells whose pod it is.
        .filter(|pod| owner(pod, "ReplicaSet").is_none_or(|owner| owner.starts_with(&prefix)))
        .collect();
    Ok(Shape::Deployment { pods, idle })
}

async fn stateful_set(
    client: &kube::Client,
    caches: &Caches,
    namespace: &str,
    name: &str,
) -> Result<Shape, kube::Error> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let Some(set) = sets.get_opt(name).await? else {
        return Ok(Shape::Missing(format!("StatefulSet {namespace}/{name} does not exist")));
    };
    let spec = set.spec.unwrap_or_default();
    let pods = selected(caches, namespace, &spec.selector)
        .into_iter()
        .filter(|pod| owner(pod, "StatefulSet").is_none_or(|owner| owner == name))
        .collect();
    let own_claims = spec.volume_claim_templates.unwrap_or_default().into_iter().filter_map(|claim| claim.metadata.name).collect();
    let template = Box::new((pod_of(namespace, name, spec.template), own_claims));
    let count = |number: Option<i32>, default| u32::try_from(number.unwrap_or(default)).unwrap_or(0);
    Ok(Shape::StatefulSet {
        name: name.to_owned(),
        first: count(spec.ordinals.and_then(|ordinals| ordinals.start), 0),
        replicas: count(spec.replicas, 1),
        pods,
        template,
    })
}

async fn daemon_set(client: &kube::Client, caches: &Caches, namespace: &str, name: &str) -> Result<Shape, kube::Error> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let Some(set) = sets.get_opt(name).await? else {
        return Ok(Shape::Missing(format!("DaemonSet {namespace}/{name} does not exist")));
    };
    // What was counted for an older spec says nothing of this one.
    let counted = set.status.filter(|status| status.observed_generation >= set.metadata.generation);
    let pods = selected(caches, namespace, &set.spec.unwrap_or_default().selector)
        .into_iter()
        .filter(|pod| owner(pod, "DaemonSet").is_none_or(|owner| owner == name))
        .collect();
    let wanted = counted.and_then(|status| usize::try_from(status.desired_number_scheduled).ok());
    Ok(Shape::DaemonSet(Nodes { name: name.to_owned(), wanted, pods }))
}

/// A pod as a template makes it: named like its workload, since nothing else is known of its name.
fn pod_of(namespace: &str, name: &str, template: PodTemplateSpec) -> Pod {
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None };
    (pod.metadata.namespace, pod.metadata.name) = (Some(namespace.to_owned()), Some(name.to_owned()));
    pod
}

fn selected(caches: &Caches, namespace: &str, selector: &LabelSelector) -> Vec<Arc<Pod>> {
    // An empty selector would mean every pod of the namespace.
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    let none = BTreeMap::new();
    if empty {
        return Vec::new();
    }
    let mut pods = caches.pods.of(By::Namespace, Named::new(namespace, ""));
    pods.retain(|pod| selector_matches(selector, pod.metadata.labels.as_ref().unwrap_or(&none)));
    pods
}

fn owner<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.kind == kind && owner.controller == Some(true)).map(|owner| owner.name.as_str())
}

/// The claims that a pod names.
pub fn claims_in(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|volume| paths::claim_of(pod, volume)).collect()
}

fn claims_of(caches: &Caches, namespace: &str, purpose: Purpose, shape: &Shape) -> BTreeMap<String, Arc<PersistentVolumeClaim>> {
    let (pods, mut names) = match shape {
        Shape::Missing(_) | Shape::Unsupported(_) => return BTreeMap::new(),
        Shape::Claim { name, pods } => (pods, vec![name.clone()]),
        Shape::Deployment { pods, idle } => (pods, idle.iter().flat_map(|pod| claims_in(pod)).collect()),
        Shape::DaemonSet(nodes) => (&nodes.pods, Vec::new()),
        // A backup is of pods that are to run: those that are missing are waited for. If none is to run, it is of all whose claims are there.
        Shape::StatefulSet { pods, replicas: 1.., .. } if purpose == Purpose::Backup => (pods, Vec::new()),
        Shape::StatefulSet { name, pods, template, .. } => (pods, idle_claims(caches, namespace, name, template)),
    };
    names.extend(pods.iter().flat_map(|pod| claims_in(pod)));
    names.into_iter().filter_map(|name| caches.claims.get(namespace, &name).map(|claim| (name, claim))).collect()
}

/// What a StatefulSet's pods would mount: the template's claims, and of each ordinal whose own claims are there, those.
fn idle_claims(caches: &Caches, namespace: &str, name: &str, (template, own): &(Pod, Vec<String>)) -> Vec<String> {
    let is_own = |claim: &str| own.iter().any(|prefix| held::ordinal_of(claim, prefix, name).is_some());
    let mut named = caches.claims.of(By::Namespace, Named::new(namespace, ""));
    named.retain(|claim| claim.metadata.name.as_deref().is_some_and(is_own));
    claims_in(template).into_iter().chain(named.into_iter().filter_map(|claim| claim.metadata.name.clone())).collect()
}

/// A volume's source never changes, so each is read once in this process's life.
async fn host_path_claims(
    client: &kube::Client,
    caches: &Caches,
    claims: &BTreeMap<String, Arc<PersistentVolumeClaim>>,
) -> Result<BTreeSet<String>, kube::Error> {
    let mut found = BTreeSet::new();
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    for (name, claim) in claims {
        let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) else { continue };
        let key = (claim.metadata.uid.clone().unwrap_or_default(), volume);
        let is_host_path = match caches.host_paths.get(&key) {
            Some(known) => known,
            None => match volumes.get_opt(&key.1).await {
                // An older role may not allow it. The agent says for itself what it cannot find.
                Err(kube::Error::Api(status)) if status.is_forbidden() => false,
                Err(error) => return Err(error),
                Ok(Some(volume)) => {
                    let is_host_path = volume.spec.is_some_and(|spec| spec.host_path.is_some());
                    caches.host_paths.remember(key, is_host_path);
                    is_host_path
                }
                Ok(None) => false,
            },
        };
        if is_host_path {
            found.insert(name.clone());
        }
    }
    Ok(found)
}
