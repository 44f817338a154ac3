//! CustomResourceDefinitions: each adds a kind to the server, and takes it away again.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    builtin,
    failure::{Cause, Failure},
    kind::{Generation, Kind, Shape},
    metadata,
    schema::Schema,
    state::{State, now},
    store::Key,
};

pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.group == "apiextensions.k8s.io" && kind.plural == "customresourcedefinitions"
}

/// Serves the definition's kind from now on, and says so in its status.
pub(crate) fn establish(state: &mut State, definition: &mut Value) -> Result<(), Failure> {
    let kind = kind_of(definition)?;
    let since = metadata::seconds(now());
    let condition = |type_: &str, reason: &str, message: &str| json!({"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    definition["status"] = json!({
        "acceptedNames": definition["spec"]["names"],
        "storedVersions": [kind.version],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
    state.kinds.insert(kind.group_resource(), Arc::new(kind));
    Ok(())
}

/// The definition is gone: so are its objects and its kind.
pub(crate) fn retire(state: &mut State, definition: &Value) {
    let resource = metadata::text(definition, "name").to_owned();
    for object in state.store.list(&resource, None) {
        let key = Key::new(
            metadata::text(&object, "namespace"),
            metadata::text(&object, "name"),
        );
        state.store.remove(&resource, &key);
    }
    state.kinds.remove(&resource);
}

/// The kind that a definition defines, or why it cannot be served.
pub(crate) fn kind_of(definition: &Value) -> Result<Kind, Failure> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
    };
    let versions = spec["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let [version] = versions else {
        return Err(Failure::not_implemented(
            "a CustomResourceDefinition of other than one version",
        ));
    };
    if version["subresources"].get("scale").is_some() {
        return Err(Failure::not_implemented("the scale subresource"));
    }
    let names = &spec["names"];
    let kind = Kind {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        kind: text(&names["kind"]),
        plural: text(&names["plural"]),
        singular: text(&names["singular"]),
        short_names: list(&names["shortNames"]),
        categories: list(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        has_status: version["subresources"].get("status").is_some(),
        generation: Generation::Counted,
        unconditional_update: false,
        field_labels: &[],
        shape: Shape::Custom(Arc::new(Schema::parse(
            &version["schema"]["openAPIV3Schema"],
        )?)),
    };
    let name = metadata::text(definition, "name");
    if name != kind.group_resource() {
        let cause = Cause::invalid(
            "metadata.name",
            &json!(name),
            format!("must be {:?}", kind.group_resource()),
        );
        return Err(Failure::invalid(&builtin::definition(), name, &[cause]));
    }
    Ok(kind)
}
