//! The kinds of Kubernetes itself that controllers and agents of Holdfast use, and the defaults they rely on.

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
        ServiceAccount,
    },
    discovery::v1::EndpointSlice,
    events::v1::Event,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    storage::v1::StorageClass,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Resource, core::ClusterResourceScope, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::kind::{Generation, Kind, Shape};

/// Every built-in kind. Admission, scheduling, kubelets and controllers of Kubernetes are not here: who needs a Pod to
/// run writes its status. Events are served as events.k8s.io only: a real server shows the same ones as core/v1 too.
pub(crate) fn kinds() -> Vec<Kind> {
    vec![
        cluster::<Namespace>().with_status(),
        cluster::<Node>()
            .with_status()
            .selecting(&["spec.unschedulable"]),
        cluster::<PersistentVolume>().with_status(),
        cluster::<StorageClass>(),
        cluster::<ClusterRole>(),
        cluster::<ClusterRoleBinding>(),
        namespaced::<Role>(),
        namespaced::<RoleBinding>(),
        cluster::<MutatingWebhookConfiguration>().counted(),
        cluster::<ValidatingWebhookConfiguration>().counted(),
        definition(),
        namespaced::<Pod>().with_status().counted().selecting(&[
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ]),
        namespaced::<Secret>().selecting(&["type"]),
        namespaced::<ConfigMap>(),
        namespaced::<Service>().with_status(),
        namespaced::<ServiceAccount>(),
        namespaced::<PersistentVolumeClaim>().with_status(),
        namespaced::<EndpointSlice>(),
        namespaced::<Event>().selecting(&["regarding.kind", "regarding.name", "reason", "type"]),
        namespaced::<Lease>().conditional(),
        namespaced::<Deployment>().with_status().counted(),
        namespaced::<StatefulSet>().with_status().counted(),
        namespaced::<DaemonSet>().with_status().counted(),
        namespaced::<ReplicaSet>().with_status().counted(),
        namespaced::<CronJob>().with_status().counted(),
        namespaced::<Job>().with_status().counted(),
    ]
}

/// The kind of CustomResourceDefinitions.
pub(crate) fn definition() -> Kind {
    cluster::<CustomResourceDefinition>()
        .with_status()
        .counted()
}

/// API groups of Kubernetes itself: what is missing there is missing here, not in the cluster.
pub(crate) fn is_builtin_group(group: &str) -> bool {
    group.is_empty() || !group.contains('.') || group.ends_with(".k8s.io")
}

/// Fields that the real server fills when an object is created.
pub(crate) fn default_on_create(kind: &Kind, object: &mut Value) {
    if !kind.group.is_empty() {
        if kind.group == "apps" && kind.plural != "daemonsets" {
            set_default(object, &["spec", "replicas"], json!(1));
        }
        return;
    }
    match kind.plural.as_str() {
        "namespaces" => {
            set_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
            object["status"] = json!({"phase": "Active"});
            let name = object["metadata"]["name"].clone();
            set_default(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                name,
            );
        }
        "pods" => {
            object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
            set_default(object, &["spec", "restartPolicy"], json!("Always"));
            set_default(
                object,
                &["spec", "terminationGracePeriodSeconds"],
                json!(30),
            );
            set_default(object, &["spec", "serviceAccountName"], json!("default"));
        }
        "persistentvolumeclaims" => {
            object["status"] = json!({"phase": "Pending"});
            set_default(object, &["spec", "volumeMode"], json!("Filesystem"));
        }
        "persistentvolumes" => {
            object["status"] = json!({"phase": "Pending"});
            set_default(object, &["spec", "volumeMode"], json!("Filesystem"));
            set_default(
                object,
                &["spec", "persistentVolumeReclaimPolicy"],
                json!("Retain"),
            );
        }
        "secrets" => set_default(object, &["type"], json!("Opaque")),
        "services" => set_default(object, &["spec", "type"], json!("ClusterIP")),
        _ => {}
    }
}

/// `stringData` is a way to write `data`, and is never read back.
pub(crate) fn fold_string_data(object: &mut Value) {
    let Some(Value::Object(plain)) = object
        .as_object_mut()
        .and_then(|fields| fields.remove("stringData"))
    else {
        return;
    };
    if !object["data"].is_object() {
        object["data"] = Value::Object(Map::new());
    }
    for (key, value) in plain {
        if let Some(text) = value.as_str() {
            object["data"][key] = json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        }
    }
}

fn set_default(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for step in path {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Some(fields) = place.as_object_mut() else {
            return;
        };
        place = fields.entry(*step).or_insert(Value::Null);
    }
    if place.is_null() {
        *place = value;
    }
}

fn canonical<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

fn cluster<T>() -> Kind
where
    T: Resource<DynamicType = (), Scope = ClusterResourceScope> + DeserializeOwned + Serialize,
{
    builtin::<T>(false)
}

fn namespaced<T>() -> Kind
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Serialize,
{
    builtin::<T>(true)
}

fn builtin<T: Resource<DynamicType = ()> + DeserializeOwned + Serialize>(namespaced: bool) -> Kind {
    let kind = T::kind(&()).into_owned();
    Kind {
        group: T::group(&()).into_owned(),
        version: T::version(&()).into_owned(),
        plural: T::plural(&()).into_owned(),
        singular: kind.to_lowercase(),
        kind,
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced,
        has_status: false,
        generation: Generation::Absent,
        unconditional_update: true,
        field_labels: &[],
        shape: Shape::Builtin(canonical::<T>),
    }
}

impl Kind {
    fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    fn counted(mut self) -> Self {
        self.generation = Generation::Counted;
        self
    }

    fn conditional(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    fn selecting(mut self, field_labels: &'static [&'static str]) -> Self {
        self.field_labels = field_labels;
        self
    }
}
