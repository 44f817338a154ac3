//! Applications with annotations: workloads, claims, and namespaces whose every claim is meant.

use std::collections::BTreeMap;

use holdfast_api::blueprint::Application;
use holdfast_api::labels;
use holdfast_api::reference::TypedObjectReference;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::api::PartialObjectMeta;
use kube::{Resource, ResourceExt};

use crate::cache::{By, Cache};
use crate::caches::Caches;
use crate::object::{Key, Kind, Named};
use crate::target::consent::GRANTED_TO;

/// On a namespace that asks for a blueprint: which of its claims are meant, as `key=value,key!=value,key,!key`; all without it.
pub const SELECTOR: &str = "holdfast.dev/blueprint-selector";

/// Whether an annotation concerns blueprints or grants: no other is kept.
pub fn is_relevant(annotation: &str) -> bool {
    annotation.starts_with("blueprint.kubestash.com/")
        || annotation.starts_with(labels::VARIABLE_PREFIX)
        || annotation == SELECTOR
        || annotation == GRANTED_TO
}

/// Every application that asks for a blueprint.
pub fn all(caches: &Caches) -> Vec<Application> {
    let mut found = Vec::new();
    found.extend(annotated(&caches.deployments, "apps", "Deployment"));
    found.extend(annotated(&caches.stateful_sets, "apps", "StatefulSet"));
    found.extend(annotated(&caches.daemon_sets, "apps", "DaemonSet"));
    found.extend(annotated(&caches.claims, "", "PersistentVolumeClaim"));
    for namespace in caches.namespaces.select(|namespace| asks(namespace)) {
        let name = namespace.name_any();
        let claims = caches.claims.of(By::Namespace, Named::new(&name, ""));
        found.extend(claims.iter().filter_map(|claim| of_namespace(&namespace, claim)));
    }
    found
}

/// A claim for which its namespace asks.
fn of_namespace(namespace: &PartialObjectMeta<Namespace>, claim: &PersistentVolumeClaim) -> Option<Application> {
    let selector = namespace.annotations().get(SELECTOR).map(String::as_str);
    let meant = asks(namespace) && !asks(claim) && selected(selector, claim.labels());
    meant.then(|| {
        let mut application = application("", "PersistentVolumeClaim", claim);
        for (key, value) in namespace.annotations() {
            application.annotations.entry(key.clone()).or_insert_with(|| value.clone());
        }
        application
    })
}

/// The application that an object of `namespace` names as its target, if it exists.
pub fn find(caches: &Caches, target: &TypedObjectReference, namespace: &str) -> Option<Application> {
    let (namespace, name) = (target.namespace_or(namespace), target.name.as_str());
    match target.kind.as_deref()? {
        "Deployment" => Some(application("apps", "Deployment", caches.deployments.get(namespace, name)?.as_ref())),
        "StatefulSet" => Some(application("apps", "StatefulSet", caches.stateful_sets.get(namespace, name)?.as_ref())),
        "DaemonSet" => Some(application("apps", "DaemonSet", caches.daemon_sets.get(namespace, name)?.as_ref())),
        "PersistentVolumeClaim" => {
            let claim = caches.claims.get(namespace, name)?;
            let own = application("", "PersistentVolumeClaim", claim.as_ref());
            Some(caches.namespaces.get("", namespace).and_then(|whole| of_namespace(&whole, &claim)).unwrap_or(own))
        }
        _ => None,
    }
}

/// Whether the application of this title exists, annotated or not.
pub fn exists(caches: &Caches, title: &str) -> bool {
    let mut parts = title.splitn(3, '/');
    let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return false };
    match kind {
        "Deployment" => caches.deployments.get(namespace, name).is_some(),
        "StatefulSet" => caches.stateful_sets.get(namespace, name).is_some(),
        "DaemonSet" => caches.daemon_sets.get(namespace, name).is_some(),
        "PersistentVolumeClaim" => caches.claims.get(namespace, name).is_some(),
        _ => false,
    }
}

/// The blueprint that an object's annotations name.
pub fn blueprint_of<K: ResourceExt>(object: &K, own_namespace: &str) -> Option<Key> {
    let annotations = object.annotations();
    let name = annotations.get(labels::BLUEPRINT_NAME).filter(|name| !name.trim().is_empty())?;
    let namespace = annotations.get(labels::BLUEPRINT_NAMESPACE).map(|namespace| namespace.trim());
    let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(own_namespace);
    Some(Key::new(Kind::BackupBlueprint, namespace, name.trim()))
}

fn asks<K: ResourceExt>(object: &K) -> bool {
    object.annotations().get(labels::BLUEPRINT_NAME).is_some_and(|name| !name.trim().is_empty())
}

fn annotated<K: Resource>(cache: &Cache<K>, group: &'static str, kind: &'static str) -> Vec<Application> {
    cache.select(|object| asks(object)).iter().map(|object| application(group, kind, object.as_ref())).collect()
}

fn application<K: ResourceExt>(group: &'static str, kind: &'static str, object: &K) -> Application {
    Application {
        group,
        kind,
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        annotations: object.annotations().clone(),
    }
}

/// A selector that cannot be read selects nothing: a claim too few is seen, a claim too many costs money in silence.
fn selected(selector: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    selector.split(',').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        if let Some((key, value)) = part.split_once("!=") {
            labels.get(key.trim()).is_none_or(|found| found != value.trim())
        } else if let Some((key, value)) = part.split_once('=') {
            labels.get(key.trim()).is_some_and(|found| found == value.trim_start_matches('=').trim())
        } else if let Some(key) = part.strip_prefix('!') {
            !labels.contains_key(key.trim())
        } else {
            labels.contains_key(part)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_selected_as_kubectl_selects() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        for (selector, expected) in [
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("tier!=front", true),
            ("app", true),
            ("!app", false),
            ("app=web,tier=front", false),
            ("", true),
        ] {
            assert_eq!(selected(Some(selector), &labels), expected, "{selector}");
        }
        assert!(selected(None, &labels));
    }
}
