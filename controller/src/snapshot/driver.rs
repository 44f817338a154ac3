//! Snapshots where the definitions in the cluster are KubeStash's own, whose list of drivers does not have ours: the status names one that
//! they take, and an annotation says the truth. Everything else that we add to KubeStash's fields is dropped there without harm.

use holdfast_api::{Driver, Snapshot};
use serde_json::{Value, json};

/// On a Snapshot whose status could not name our driver.
pub const ANNOTATION: &str = "holdfast.dev/driver";

/// A Snapshot as it is meant, of one as it was read.
pub fn understand(snapshot: &mut Snapshot) {
    let says = snapshot.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    if says.is_none_or(|says| says != Driver::Holdfast.as_str()) {
        return;
    }
    for component in snapshot.status.iter_mut().flat_map(|status| status.components.values_mut()) {
        if component.driver == Some(Driver::Restic) {
            component.driver = Some(Driver::Holdfast);
        }
    }
}

/// Whether a status was refused for its driver alone: then it can be said in words that are known.
pub fn is_refused(refused: &kube::core::Status) -> bool {
    let unknown = format!("Unsupported value: \"{}\"", Driver::Holdfast.as_str());
    refused.code == 422 && refused.message.contains(&unknown)
}

/// Says a patch of a status in KubeStash's words; whether there was anything to say otherwise. Then the annotation is needed, first.
pub fn rephrase(status: &mut Value) -> bool {
    let Some(components) = status.get_mut("components").and_then(Value::as_object_mut) else { return false };
    let mut rephrased = false;
    for component in components.values_mut() {
        if component["driver"] == Driver::Holdfast.as_str() {
            component["driver"] = json!(Driver::Restic.as_str());
            rephrased = true;
        }
    }
    rephrased
}

/// The annotation.
pub fn annotation() -> Value {
    json!({"metadata": {"annotations": {ANNOTATION: Driver::Holdfast.as_str()}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_in_kubestash_s_words_is_understood_and_nothing_else_is() {
        let mut status = json!({"phase": "Running", "components": {"dump": {"driver": "Holdfast", "path": "p"}, "other": {"driver": "WalG"}, "gone": null}});
        assert!(rephrase(&mut status));
        assert_eq!(status["components"]["dump"], json!({"driver": "Restic", "path": "p"}));
        assert!(!rephrase(&mut status) && !rephrase(&mut json!({"phase": "Running"})));
        status["components"].as_object_mut().unwrap().remove("gone");
        let read = |metadata: Value| -> Snapshot {
            let mut snapshot = serde_json::from_value(json!({"metadata": metadata, "spec": {}, "status": status})).unwrap();
            understand(&mut snapshot);
            snapshot
        };
        let drivers = |snapshot: Snapshot| {
            let components = snapshot.status.unwrap().components.into_values();
            components.map(|component| component.driver.unwrap()).collect::<Vec<_>>()
        };
        let annotated = annotation()["metadata"].clone();
        assert_eq!(drivers(read(annotated)), [Driver::Holdfast, Driver::WalG]);
        assert_eq!(drivers(read(json!({}))), [Driver::Restic, Driver::WalG], "KubeStash's own");
    }
}
