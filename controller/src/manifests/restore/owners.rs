//! Owners of what is restored. They have other UIDs now, so an object names as its owner what was made in the same run under the name that
//! its owner had, and nobody else: an object whose owner does not exist is collected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document::{self, Document};

/// Owners that are remembered: a file is an enemy's.
const OWNERS_MAX: usize = 10_000;
/// References of one object that are looked at.
const REFERENCES_MAX: usize = 32;

/// Group, kind, namespace (none of what is the cluster's), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity(String, String, Option<String>, String);

impl Identity {
    /// Of an object, as it is in the file.
    pub(super) fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        Self(group(&text("/apiVersion")), text("/kind"), namespace, text("/metadata/name"))
    }
}

fn group(api_version: &str) -> String {
    api_version.rsplit_once('/').map(|(group, _)| group).unwrap_or_default().to_owned()
}

/// Owners that are in a file, with the UIDs that they have now as soon as they were made.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<Identity, Option<String>>);

/// What becomes of an object's references.
#[derive(Debug, PartialEq)]
pub(super) enum References {
    /// An owner has its turn later.
    Later,
    /// Those that can be set, and how many cannot.
    Now(Vec<Value>, u64),
}

impl Owners {
    /// Those that objects of a file name and that are in it themselves.
    pub(super) fn in_file(file: &[u8], documents: &[Document]) -> Self {
        let objects = || documents.iter().filter_map(|document| document::parse(document.text(file)).ok());
        let mut named = BTreeSet::new();
        for object in objects() {
            named.extend(references(&object).flat_map(|reference| candidates(&object, reference)));
            if named.len() > OWNERS_MAX {
                break;
            }
        }
        if named.is_empty() {
            return Self::default();
        }
        Self(objects().map(|object| Identity::of(&object)).filter(|identity| named.contains(identity)).map(|identity| (identity, None)).collect())
    }

    /// An object was made, or changed to what it was.
    pub(super) fn made(&mut self, identity: &Identity, uid: Option<String>) {
        if let Some(known) = self.0.get_mut(identity) {
            *known = uid;
        }
    }

    /// An object has had its turn. One that was not made is waited for no longer.
    pub(super) fn settle(&mut self, identity: &Identity) {
        if self.0.get(identity) == Some(&None) {
            self.0.remove(identity);
        }
    }

    /// The references of an object of the file, as they are now.
    pub(super) fn now(&self, object: &Value, is_last: bool) -> References {
        let (mut set, mut dropped) = (Vec::new(), 0);
        for reference in references(object) {
            let owner = candidates(object, reference).into_iter().find_map(|identity| self.0.get(&identity));
            match owner {
                Some(Some(uid)) => set.push(renewed(reference, uid)),
                Some(None) if !is_last => return References::Later,
                _ => dropped += 1,
            }
        }
        References::Now(set, dropped)
    }
}

fn references(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().take(REFERENCES_MAX)
}

/// Whom a reference may mean: something of the object's own namespace, or of the cluster.
fn candidates(object: &Value, reference: &Value) -> Vec<Identity> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
    let of = |namespace: Option<String>| Identity(group(&text("apiVersion")), text("kind"), namespace, text("name"));
    let own = Identity::of(object).2;
    if own.is_some() { vec![of(own), of(None)] } else { vec![of(None)] }
}

/// That it holds up its owner's deletion is left out: whoever sets that must be allowed to change the owner's finalizers.
fn renewed(reference: &Value, uid: &str) -> Value {
    let mut renewed = json!({"apiVersion": reference["apiVersion"], "kind": reference["kind"], "name": reference["name"], "uid": uid});
    if reference["controller"] == true {
        renewed["controller"] = json!(true);
    }
    renewed
}
