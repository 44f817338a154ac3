//! What templates in hooks can speak of: KubeStash's summary of a session, in its words.

use holdfast_api::reference::TypedObjectReference;
use serde_json::{Value, json};

/// A session as templates see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Name of the BackupSession or RestoreSession.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Group, kind and name of what it runs.
    pub invoker: TypedObjectReference,
    /// Its target.
    pub target: TypedObjectReference,
    /// Its phase: Running before the work, then how the work ended.
    pub phase: String,
    /// How long the work took.
    pub duration: String,
    /// Why it failed.
    pub error: String,
}

impl Summary {
    /// The fields that a template names.
    pub fn data(&self) -> Value {
        json!({
            "Name": self.name,
            "Namespace": self.namespace,
            "Invoker": reference(&self.invoker),
            "Target": reference(&self.target),
            "Status": {"Phase": self.phase, "Duration": self.duration, "Error": self.error},
        })
    }
}

fn reference(reference: &TypedObjectReference) -> Value {
    json!({
        "APIGroup": reference.api_group.as_deref().unwrap_or_default(),
        "Kind": reference.kind.as_deref().unwrap_or_default(),
        "Name": reference.name,
        "Namespace": reference.namespace.as_deref().unwrap_or_default(),
    })
}
