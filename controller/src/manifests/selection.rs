//! Which objects are taken: the parameters of KubeStash's kubedump-addon.

use std::collections::BTreeMap;

use holdfast_api::addon::parameters::comma_separated;
use serde_json::Value;

use super::is_name;

/// Names of the parameters.
pub mod name {
    /// Labels that an object must have, all of them.
    pub const ALL_LABELS: &str = "ANDedLabelSelectors";
    /// Labels of which an object must have one.
    pub const ANY_LABELS: &str = "ORedLabelSelectors";
    /// Whether objects without a namespace are taken.
    pub const CLUSTER: &str = "IncludeClusterResources";
    /// Namespaces.
    pub const INCLUDE_NAMESPACES: &str = "IncludeNamespaces";
    /// Namespaces that are left out.
    pub const EXCLUDE_NAMESPACES: &str = "ExcludeNamespaces";
    /// Resources.
    pub const INCLUDE_RESOURCES: &str = "IncludeResources";
    /// Resources that are left out.
    pub const EXCLUDE_RESOURCES: &str = "ExcludeResources";
    /// Whether objects that exist become as they were.
    pub const OVERRIDES: &str = "OverrideResources";
    /// The same, of workloads.
    pub const WORKLOAD_OVERRIDES: &str = "overrideResources";
    /// Other names of storage classes.
    pub const STORAGE_CLASSES: &str = "StorageClassMappings";
    /// Whether volumes are restored.
    pub const VOLUMES: &str = "RestorePVs";
    /// Whether roles and their bindings are taken.
    pub const RBAC: &str = "includeRBACResources";
}

/// One label: its key, and its value if that matters.
type Label = (String, Option<String>);

/// Which objects are taken. Empty lists take everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    include_namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    include_resources: Vec<String>,
    exclude_resources: Vec<String>,
    all_labels: Vec<Label>,
    any_labels: Vec<Label>,
    /// Whether objects without a namespace are taken.
    pub cluster: bool,
}

impl Selection {
    /// Everything.
    pub fn everything() -> Self {
        Self { cluster: true, ..Self::default() }
    }

    /// As a task's parameters say.
    pub fn of(parameters: &BTreeMap<String, String>) -> Result<Self, String> {
        let list = |name: &str| parameters.get(name).map(|text| comma_separated(text)).unwrap_or_default();
        // An asterisk is the same as nothing at all.
        let included = |name: &str| {
            let names = list(name);
            if names.iter().any(|name| name == "*") { Vec::new() } else { names }
        };
        let include_namespaces = included(name::INCLUDE_NAMESPACES);
        if let Some(wrong) = include_namespaces.iter().find(|name| !is_name(name)) {
            return Err(format!("parameter {}: {wrong:?} is no name of a namespace", name::INCLUDE_NAMESPACES));
        }
        Ok(Self {
            include_namespaces,
            exclude_namespaces: list(name::EXCLUDE_NAMESPACES),
            include_resources: included(name::INCLUDE_RESOURCES),
            exclude_resources: list(name::EXCLUDE_RESOURCES),
            all_labels: list(name::ALL_LABELS).iter().map(|text| label(text)).collect(),
            any_labels: list(name::ANY_LABELS).iter().map(|text| label(text)).collect(),
            cluster: truth(parameters, name::CLUSTER)?,
        })
    }

    /// The namespaces, if they are named: an account that may read only some cannot list all.
    pub fn named_namespaces(&self) -> Option<Vec<&str>> {
        if self.include_namespaces.is_empty() {
            return None;
        }
        Some(self.include_namespaces.iter().map(String::as_str).filter(|name| self.takes_namespace(name)).collect())
    }

    /// Whether objects of this namespace are taken.
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == namespace);
        (self.include_namespaces.is_empty() || named(&self.include_namespaces)) && !named(&self.exclude_namespaces)
    }

    /// Whether a resource is taken, named `plural`, `plural.group` or, to leave it out, by its whole group.
    pub fn takes_resource(&self, plural: &str, group: &str) -> bool {
        let full = format!("{plural}.{group}");
        let is_it = |name: &String| *name == plural || (*name == full && !group.is_empty());
        (self.include_resources.is_empty() || self.include_resources.iter().any(is_it))
            && !self.exclude_resources.iter().any(|name| is_it(name) || (name == group && !group.is_empty()))
    }

    /// Whether an object with this metadata has the labels.
    pub fn takes_labels(&self, labels: &Value) -> bool {
        let has = |(key, value): &Label| match labels.get(key).and_then(Value::as_str) {
            Some(found) => value.as_deref().is_none_or(|value| value == found),
            None => false,
        };
        self.all_labels.iter().all(has) && (self.any_labels.is_empty() || self.any_labels.iter().any(has))
    }

    /// The labels that all objects must have, as the API server takes them.
    pub fn label_selector(&self) -> Option<String> {
        let terms = self.all_labels.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        });
        let terms: Vec<String> = terms.collect();
        (!terms.is_empty()).then(|| terms.join(","))
    }
}

/// `key:value`, `key=value` or `key`.
fn label(text: &str) -> Label {
    match text.split_once([':', '=']) {
        Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
        None => (text.to_owned(), None),
    }
}

/// A parameter that is `true` or `false`.
pub fn truth(parameters: &BTreeMap<String, String>, name: &str) -> Result<bool, String> {
    match parameters.get(name).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!("parameter {name} is {other:?}; allowed are true and false")),
    }
}

/// `old=new` pairs.
pub fn mappings(parameters: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let pairs = parameters.get(name::STORAGE_CLASSES).map(|text| comma_separated(text)).unwrap_or_default();
    let pair = |text: &String| match text.split_once(['=', ':']) {
        Some((old, new)) if !old.trim().is_empty() && !new.trim().is_empty() => Ok((old.trim().to_owned(), new.trim().to_owned())),
        _ => Err(format!("parameter {} has {text:?}; allowed is old=new", name::STORAGE_CLASSES)),
    };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selection(parameters: &[(&str, &str)]) -> Selection {
        Selection::of(&parameters.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()).unwrap()
    }

    #[test]
    fn namespaces_and_resources_are_taken_by_name_and_left_out_by_name() {
        let all = selection(&[(name::INCLUDE_NAMESPACES, "*"), (name::INCLUDE_RESOURCES, "*")]);
        assert!(all.takes_namespace("demo") && all.takes_resource("pods", "") && all.named_namespaces().is_none() && !all.cluster);
        let some = selection(&[
            (name::INCLUDE_NAMESPACES, "a, b,c"),
            (name::EXCLUDE_NAMESPACES, "b"),
            (name::INCLUDE_RESOURCES, "secrets,statefulsets.apps,pods"),
            (name::EXCLUDE_RESOURCES, "pods.metrics.k8s.io,widgets.example.com,example.com"),
            (name::CLUSTER, "true"),
        ]);
        assert_eq!(some.named_namespaces(), Some(vec!["a", "c"]));
        assert!(some.takes_namespace("a") && !some.takes_namespace("b") && !some.takes_namespace("d") && some.cluster);
        let taken = |plural, group| some.takes_resource(plural, group);
        assert!(taken("secrets", "") && taken("statefulsets", "apps") && taken("pods", ""));
        assert!(!taken("statefulsets", "example.com") && !taken("configmaps", ""));
        assert!(!taken("pods", "metrics.k8s.io") && !taken("secrets", "example.com"), "left out by its name, and by its group");
    }

    #[test]
    fn labels_are_all_or_any_with_or_without_values() {
        let labels = json!({"app": "web", "tier": "front"});
        let takes = |all: &str, any: &str| selection(&[(name::ALL_LABELS, all), (name::ANY_LABELS, any)]).takes_labels(&labels);
        assert!(takes("", "") && takes("app:web,tier", "") && takes("app=web", "app:db,tier:front"));
        assert!(!takes("app:web,tier:back", "") && !takes("app:web", "app:db,other") && !takes("other", ""));
        assert!(!selection(&[(name::ANY_LABELS, "app")]).takes_labels(&Value::Null), "an object without labels");
        assert_eq!(selection(&[(name::ALL_LABELS, "app:web,tier")]).label_selector().as_deref(), Some("app=web,tier"));
    }

    #[test]
    fn what_is_neither_true_nor_false_nor_a_pair_is_said() {
        let one = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
        assert!(Selection::of(&one(name::CLUSTER, "yes")).unwrap_err().contains("IncludeClusterResources is \"yes\""));
        assert!(Selection::of(&one(name::INCLUDE_NAMESPACES, "a,../b")).unwrap_err().contains("\"../b\""));
        assert_eq!(truth(&one(name::RBAC, " True "), name::RBAC), Ok(true));
        assert_eq!(mappings(&one(name::STORAGE_CLASSES, "gp2=fast, a=b")).unwrap().len(), 2);
        assert!(mappings(&one(name::STORAGE_CLASSES, "gp2")).unwrap_err().contains("old=new"));
    }
}
