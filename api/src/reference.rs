//! References from one object to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names an object of a kind that the field itself implies.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; that of the referring object when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl ObjectReference {
    /// The same reference, meaning the same wherever it is read.
    #[must_use]
    pub fn absolute(&self, own_namespace: &str) -> Self {
        Self {
            name: self.name.clone(),
            namespace: Some(self.namespace_or(own_namespace).to_owned()),
        }
    }

    /// The namespace to look in, for a reference made from `own_namespace`.
    pub fn namespace_or<'a>(&'a self, own_namespace: &'a str) -> &'a str {
        self.namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or(own_namespace)
    }
}

/// Names an object of any kind.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct TypedObjectReference {
    /// API group of the object; empty for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; that of the referring object when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl TypedObjectReference {
    /// The same reference, meaning the same wherever it is read; an empty API group is no group.
    #[must_use]
    pub fn absolute(&self, own_namespace: &str) -> Self {
        if *self == Self::not_applicable() {
            return self.clone();
        }
        Self {
            api_group: self.api_group.clone().filter(|group| !group.is_empty()),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: Some(self.namespace_or(own_namespace).to_owned()),
        }
    }

    /// The namespace to look in, for a reference made from `own_namespace`.
    pub fn namespace_or<'a>(&'a self, own_namespace: &'a str) -> &'a str {
        self.namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or(own_namespace)
    }

    /// What a Repository without an application names: KubeStash writes `na` for a missing target.
    pub fn not_applicable() -> Self {
        Self {
            api_group: Some("na".into()),
            kind: None,
            name: "na".into(),
            namespace: None,
        }
    }
}

/// Names an object of the referring object's own namespace.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct TypedLocalObjectReference {
    /// API group of the object; empty for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// Whether an object that another depends on exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceFoundStatus {
    /// API group of the object; empty for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the object exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<bool>,
}

impl ResourceFoundStatus {
    /// An object of which it is not known yet whether it exists.
    pub fn of(reference: &TypedObjectReference) -> Self {
        Self {
            api_group: reference.api_group.clone(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            namespace: reference.namespace.clone(),
            found: None,
        }
    }
}
