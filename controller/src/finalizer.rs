//! Our finalizer: set while an object's end needs something of us, and always for a bounded time once the object is being deleted.

use holdfast_api::labels::FINALIZER;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::action::Action;
use crate::object::Key;

/// Whether our finalizer is set.
pub fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Sets the finalizer, or removes it.
pub fn hold(key: Key, metadata: &ObjectMeta, held: bool) -> Action {
    let mut finalizers: Vec<&str> = metadata.finalizers.iter().flatten().map(String::as_str).collect();
    finalizers.retain(|finalizer| *finalizer != FINALIZER);
    if held {
        finalizers.push(FINALIZER);
    }
    Action::Patch {
        key,
        resource_version: metadata.resource_version.clone(),
        patch: json!({"metadata": {"finalizers": finalizers}}),
    }
}

/// The finalizer as it is wanted; none if it is so already.
pub fn keep(key: Key, metadata: &ObjectMeta, wanted: bool) -> Option<Action> {
    (is_held(metadata) != wanted).then(|| hold(key, metadata, wanted))
}

/// How long an object has been waiting to go.
pub fn waited(metadata: &ObjectMeta, now: Timestamp) -> SignedDuration {
    metadata.deletion_timestamp.as_ref().map_or(SignedDuration::ZERO, |since| now.duration_since(since.0))
}
