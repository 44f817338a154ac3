//! The CustomResourceDefinitions of all kinds, generated from the types.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::labels::DEFINITION_LABEL;
use crate::resource::VERSION;

pub mod kinds;
mod kubernetes;
mod structural;

pub use kinds::{Column, KINDS, Kind};

/// All definitions, in the order of [`KINDS`].
pub fn all() -> Vec<Value> {
    KINDS.iter().map(Kind::definition).collect()
}

/// The structural schema of a type: no references, nothing nullable, no descriptions inside Kubernetes' own types.
fn schema_of<T: JsonSchema>() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let root = generator.subschema_for::<T>().to_value();
    let mut definitions = generator.take_definitions(false);
    for (name, definition) in &mut definitions {
        kubernetes::amend(name, definition);
    }
    structural::inline(&root, &definitions)
}

impl Kind {
    /// Name of the definition.
    pub fn definition_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The definition.
    pub fn definition(&self) -> Value {
        let (label, label_value) = DEFINITION_LABEL;
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": self.definition_name(), "labels": { label: label_value } },
            "spec": {
                "group": self.group,
                "names": self.names(),
                "scope": self.scope,
                "versions": [self.version()],
            },
        })
    }

    fn names(&self) -> Value {
        let mut names = json!({
            "categories": self.categories,
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
        });
        if let Some(short_name) = self.short_name {
            names["shortNames"] = json!([short_name]);
        }
        names
    }

    fn version(&self) -> Value {
        let mut version = json!({
            "name": VERSION,
            "served": true,
            "storage": true,
            "additionalPrinterColumns": self.columns.iter().map(Column::definition).collect::<Vec<_>>(),
            "schema": { "openAPIV3Schema": self.schema() },
        });
        if self.status.is_some() {
            version["subresources"] = json!({ "status": {} });
        }
        version
    }

    /// `spec` is not required: KubeStash's definitions accept an object without one.
    fn schema(&self) -> Value {
        let mut properties = Map::from_iter([
            ("apiVersion".to_owned(), json!({ "type": "string" })),
            ("kind".to_owned(), json!({ "type": "string" })),
            ("metadata".to_owned(), json!({ "type": "object" })),
            ("spec".to_owned(), (self.spec)()),
        ]);
        if let Some(status) = self.status {
            properties.insert("status".to_owned(), status());
        }
        json!({ "description": self.description, "type": "object", "properties": properties })
    }
}

impl Column {
    fn definition(&self) -> Value {
        let mut column =
            json!({ "name": self.name, "type": self.type_, "jsonPath": self.json_path });
        if let Some(format) = self.format {
            column["format"] = json!(format);
        }
        if self.is_wide {
            column["priority"] = json!(1);
        }
        column
    }
}
