//! What Kubernetes' controller manager does with deleted objects: dependents follow their owners, content its namespace.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    metadata,
    state::{Server, State},
    store::Key,
    write::{DeleteOptions, FOREGROUND, ORPHAN, Part, WriteOptions},
};

/// Changes are gathered this long, so that a burst of them costs one pass.
const GATHER: Duration = Duration::from_millis(20);

/// Collects after every change, until the server is gone.
pub(crate) async fn collect_forever(server: Weak<Server>) {
    let Some(mut revised) = server.upgrade().map(|server| server.revisions()) else {
        return;
    };
    loop {
        revised.borrow_and_update();
        match server.upgrade() {
            Some(server) => server.with(collect),
            None => return,
        }
        if revised.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(GATHER).await;
    }
}

type Found = (Arc<Kind>, Key, Arc<Value>);

fn collect(state: &mut State) {
    let objects: Vec<Found> = state
        .store
        .everything()
        .filter_map(|(resource, key, object)| {
            Some((
                state.kinds.get(resource)?.clone(),
                key.clone(),
                object.clone(),
            ))
        })
        .collect();
    let living: BTreeSet<&str> = objects
        .iter()
        .map(|(_, _, object)| metadata::text(object, "uid"))
        .collect();
    for (kind, key, object) in &objects {
        let owners = object["metadata"]["ownerReferences"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let has_living = owners.iter().any(|owner| {
            owner["uid"]
                .as_str()
                .is_some_and(|uid| living.contains(uid))
        });
        if !owners.is_empty() && !has_living && !metadata::is_deleting(object) {
            delete(state, kind, key);
        }
    }
    for owner @ (_, _, object) in objects
        .iter()
        .filter(|(_, _, object)| metadata::is_deleting(object))
    {
        if metadata::finalizers(object).contains(&FOREGROUND) {
            finish_foreground(state, owner, &objects);
        }
        if metadata::finalizers(object).contains(&ORPHAN) {
            finish_orphan(state, owner, &objects);
        }
    }
    for (kind, key, _) in objects
        .iter()
        .filter(|(kind, _, object)| kind.is_core("namespaces") && metadata::is_deleting(object))
    {
        empty_namespace(state, kind, key, &objects);
    }
}

fn dependents<'a>(owner: &Value, objects: &'a [Found]) -> impl Iterator<Item = &'a Found> {
    let uid = owner["metadata"]["uid"].clone();
    objects.iter().filter(move |(_, _, object)| {
        object["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|reference| reference["uid"] == uid)
    })
}

fn finish_foreground(state: &mut State, (kind, key, object): &Found, objects: &[Found]) {
    let mut blocked = false;
    for (dependent_kind, dependent_key, dependent) in dependents(object, objects) {
        let references = dependent["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        let blocks = references
            .filter(|reference| reference["uid"] == object["metadata"]["uid"])
            .any(|reference| reference["blockOwnerDeletion"] == true);
        if !metadata::is_deleting(dependent) {
            delete(state, dependent_kind, dependent_key);
        }
        blocked |= blocks
            && state
                .store
                .get(&dependent_kind.group_resource(), dependent_key)
                .is_some();
    }
    if !blocked {
        change(state, kind, key, |object| {
            drop_finalizer(object, FOREGROUND)
        });
    }
}

fn finish_orphan(state: &mut State, (kind, key, owner): &Found, objects: &[Found]) {
    let uid = &owner["metadata"]["uid"];
    for (dependent_kind, dependent_key, _) in dependents(owner, objects) {
        change(state, dependent_kind, dependent_key, |object| {
            if let Some(references) = object["metadata"]["ownerReferences"].as_array_mut() {
                references.retain(|reference| reference["uid"] != *uid);
            }
        });
    }
    change(state, kind, key, |object| drop_finalizer(object, ORPHAN));
}

fn empty_namespace(state: &mut State, kind: &Kind, namespace: &Key, objects: &[Found]) {
    let mut rest = false;
    for (kind, key, object) in objects
        .iter()
        .filter(|(_, key, _)| key.namespace == namespace.name)
    {
        if !metadata::is_deleting(object) {
            delete(state, kind, key);
        }
        rest |= state.store.get(&kind.group_resource(), key).is_some();
    }
    let finalized = state
        .store
        .get("namespaces", namespace)
        .is_none_or(|object| metadata::finalizers(&object).is_empty());
    if !rest && finalized {
        state.forget(kind, namespace);
    }
}

fn delete(state: &mut State, kind: &Kind, key: &Key) {
    // There is no kubelet here to wait for: a collected Pod ends at once.
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    if let Err(failure) = state.delete(kind, key, &options) {
        tracing::debug!(%failure, "garbage collection passes over an object");
    }
}

fn change(state: &mut State, kind: &Kind, key: &Key, edit: impl FnOnce(&mut Value)) {
    let Ok(old) = state.get(kind, key) else {
        return;
    };
    let mut new = (*old).clone();
    edit(&mut new);
    let options = WriteOptions {
        dry_run: false,
        manager: "garbage-collector".to_owned(),
        owners_settled: false,
    };
    if let Err(failure) = state.update(kind, &old, new, Part::Main, &options) {
        tracing::debug!(%failure, "garbage collection passes over an object");
    }
}

fn drop_finalizer(object: &mut Value, name: &str) {
    let kept: Vec<_> = metadata::finalizers(object)
        .into_iter()
        .filter(|one| *one != name)
        .map(str::to_owned)
        .collect();
    object["metadata"]["finalizers"] = json!(kept);
}
