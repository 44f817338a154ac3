//! Who may refer to an object from another namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Namespaces whose objects may refer to this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePolicy {
    /// Namespaces whose objects may refer to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

/// A set of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// All namespaces, those the selector matches, or only the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Same"))]
    pub from: Option<FromNamespaces>,
    /// Labels of the allowed namespaces; needed when `from` is Selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How a set of namespaces is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// Every namespace.
    All,
    /// Namespaces whose labels match.
    Selector,
    /// The object's own namespace.
    Same,
}

/// A namespace as a usage policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Namespace<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl UsagePolicy {
    /// The policy of an object that has none: its own namespace only.
    pub fn same_namespace() -> Self {
        Self {
            allowed_namespaces: Some(AllowedNamespaces {
                from: Some(FromNamespaces::Same),
                selector: None,
            }),
        }
    }

    /// Whether an object in `user` may refer to one in `owner` that has this policy.
    ///
    /// A policy that names no set allows nobody but its own namespace, as does a selector that is missing or malformed.
    pub fn allows(&self, owner: &str, user: Namespace<'_>) -> bool {
        if owner == user.name {
            return true;
        }
        let Some(allowed) = &self.allowed_namespaces else {
            return false;
        };
        match allowed.from {
            Some(FromNamespaces::All) => true,
            Some(FromNamespaces::Selector) => allowed
                .selector
                .as_ref()
                .is_some_and(|selector| selector_matches(selector, user.labels)),
            Some(FromNamespaces::Same) | None => false,
        }
    }
}

/// Whether `selector` matches `labels`: an unknown operator matches nothing, an empty selector everything.
pub fn selector_matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector
        .match_expressions
        .iter()
        .flatten()
        .all(|requirement| {
            let found = labels.get(&requirement.key);
            let listed = |value: &String| {
                requirement
                    .values
                    .as_ref()
                    .is_some_and(|values| values.contains(value))
            };
            match requirement.operator.as_str() {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        });
    equal && expressions
}
