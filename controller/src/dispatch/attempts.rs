//! Attempt numbers of restores, persisted before they are assigned: one annotation on the task's owner, written by compare-and-swap.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::table::Start;
use super::task::{Attempt, NotStarted};
use crate::api;

/// The annotation: a JSON object, component to `{"attempt": n, "node": "..."}`. One annotation and not one for each
/// component, because a component's name may be longer than an annotation's may.
pub const ANNOTATION: &str = "holdfast.dev/attempts";
/// Somebody else writes the object at the same time; more often than this is not chance.
const TRIES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    attempt: u32,
    node: String,
}

/// The attempts that an object names. What cannot be read names none: a newer attempt then fails its compare-and-swap.
pub fn persisted(metadata: &ObjectMeta) -> BTreeMap<String, Attempt> {
    entries(metadata)
        .into_iter()
        .map(|(component, entry)| (component, Attempt { number: entry.attempt, node: entry.node }))
        .collect()
}

fn entries(metadata: &ObjectMeta) -> BTreeMap<String, Entry> {
    metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(ANNOTATION))
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Writes the attempt of `start` if the newest one is still the one it follows. `known` saves a read if it is current.
pub async fn persist(client: &kube::Client, start: &Start, known: Option<ObjectMeta>) -> Result<(), NotStarted> {
    let key = &start.owner.key;
    let objects = api::of_kind(client, key.kind, &key.namespace);
    let mut known = known;
    for _ in 0..TRIES {
        let metadata = match known.take() {
            Some(metadata) => metadata,
            None => match objects.get_opt(&key.name).await {
                Ok(Some(object)) => object.metadata,
                Ok(None) => return Err(NotStarted::Superseded(format!("{key} is gone"))),
                Err(error) => return Err(NotStarted::Api(format!("{key} could not be read: {}", api::said(&error)))),
            },
        };
        let patch = next(&metadata, start)?;
        match objects.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                return Err(NotStarted::Superseded(format!("{key} is gone")));
            }
            Err(error) => return Err(NotStarted::Api(format!("the attempt could not be written to {key}: {}", api::said(&error)))),
        }
    }
    Err(NotStarted::Api(format!("{key} was changed by others {TRIES} times in a row")))
}

fn next(metadata: &ObjectMeta, start: &Start) -> Result<serde_json::Value, NotStarted> {
    let key = &start.owner.key;
    if metadata.uid.as_deref() != Some(&start.owner.uid) {
        return Err(NotStarted::Superseded(format!("{key} was replaced by another of that name")));
    }
    let mut entries = entries(metadata);
    let newest = entries.get(&start.key.component).map_or(0, |entry| entry.attempt);
    // Refused or never sent attempts are spent without having been written, so a gap is fine; a newer one is not.
    if newest > start.previous_attempt {
        return Err(NotStarted::Superseded(format!("attempt {newest} of {key} was begun by another controller")));
    }
    entries.insert(start.key.component.clone(), Entry { attempt: start.attempt, node: start.node.clone() });
    let text = serde_json::to_string(&entries).map_err(|error| NotStarted::Superseded(error.to_string()))?;
    Ok(json!({"metadata": {"resourceVersion": metadata.resource_version, "annotations": {ANNOTATION: text}}}))
}
