//! What a plan wants done. Plans are pure; `apply` does this, in the order of the plan.

use std::time::Duration;

use holdfast_api::{BackupConfiguration, BackupSession, BackupVerificationSession, Repository, RestoreSession, Snapshot};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dispatch::task::Wanted;
use crate::function::Run;
use crate::hooks::call::Call;
use crate::object::{Key, Kind};

/// What waits for a time is looked at again at least this often.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_mins(10);

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Merge this into the object's own status, if the object is still at the observed version.
    Status(Value),
    /// Merge this into another object's status, whatever it has become; that it is gone is as good.
    StatusOf {
        /// Which object.
        key: Key,
        /// The fields, which nobody else writes.
        status: Value,
    },
    /// Merge this into an object's metadata and spec; with the observed version for the object itself.
    Patch {
        /// Which object.
        key: Key,
        /// Version it must still have; `None` to merge whatever it has become.
        resource_version: Option<String>,
        /// The patch.
        patch: Value,
    },
    /// Create this; that it exists already is as good.
    Create(Box<Created>),
    /// Create this as it was before, with its status; what exists stays as it is, and what cannot be created is told of.
    BringBack {
        /// The object.
        object: Box<Created>,
        /// Its status.
        status: Option<Value>,
    },
    /// Create this claim; that it exists already is as good.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Delete this, if it is still the object of this UID.
    Delete {
        /// Which object.
        key: Key,
        /// Its UID.
        uid: String,
    },
    /// These tasks are wanted, and no others.
    Tasks(Vec<Wanted>),
    /// Tell people.
    Event(Note),
    /// Tell people, at another object.
    About(Box<ObjectReference>, Note),
    /// Run this hook.
    Hook(Box<Call>),
    /// Run this Function, or go on with it; its end wakes the object.
    Function(Box<Run>),
    /// The session is over: no hook of it runs on.
    HooksOver,
    /// Look again after this time, whatever happens.
    Later(Duration),
}

/// An object to create.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// A Repository.
    Repository(Repository),
    /// A BackupSession.
    BackupSession(BackupSession),
    /// A Snapshot.
    Snapshot(Snapshot),
    /// A BackupConfiguration.
    BackupConfiguration(Box<BackupConfiguration>),
    /// A BackupVerificationSession.
    Verification(BackupVerificationSession),
    /// A RestoreSession.
    RestoreSession(Box<RestoreSession>),
}

impl Created {
    /// Its name.
    pub fn key(&self) -> Key {
        match self {
            Self::Repository(object) => Key::of(Kind::Repository, &object.metadata),
            Self::BackupSession(object) => Key::of(Kind::BackupSession, &object.metadata),
            Self::Snapshot(object) => Key::of(Kind::Snapshot, &object.metadata),
            Self::BackupConfiguration(object) => Key::of(Kind::BackupConfiguration, &object.metadata),
            Self::Verification(object) => Key::of(Kind::BackupVerificationSession, &object.metadata),
            Self::RestoreSession(object) => Key::of(Kind::RestoreSession, &object.metadata),
        }
    }
}

/// An Event about the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Warning or Normal.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Action {
    /// Look again at this time; or before, in case the wall clock is set.
    pub fn at(time: Timestamp, now: Timestamp) -> Self {
        Self::Later(time.duration_since(now).clamp(SignedDuration::from_millis(1), LONGEST_SLEEP).unsigned_abs())
    }

    /// A Normal event.
    pub fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self::Event(Note { warning: false, reason: reason.into(), message: message.into() })
    }

    /// A Warning event.
    pub fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self::Event(Note { warning: true, reason: reason.into(), message: message.into() })
    }

    /// The write that makes `old` into `new`, if they differ: only what changed, so that unknown fields survive.
    pub fn status<S: Serialize>(old: Option<&S>, new: &S) -> Option<Self> {
        // A status that cannot be written as JSON does not exist: its types are plain data.
        let old = old.and_then(|old| serde_json::to_value(old).ok()).unwrap_or_else(|| json!({}));
        let new = serde_json::to_value(new).ok()?;
        let patch = merge_patch(&old, &new)?;
        Some(Self::Status(patch))
    }
}

/// The merge patch from `old` to `new`; `None` if they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_only_what_changed() {
        let old =
            json!({"phase": "Running", "gone": 1, "components": {"a": {"phase": "Running", "path": "p"}}, "list": [1]});
        let new =
            json!({"phase": "Running", "components": {"a": {"phase": "Failed", "path": "p"}, "b": {}}, "list": [1, 2]});
        assert_eq!(
            merge_patch(&old, &new),
            Some(json!({"gone": null, "components": {"a": {"phase": "Failed"}, "b": {}}, "list": [1, 2]}))
        );
        assert_eq!(merge_patch(&new, &new), None);
    }
}
