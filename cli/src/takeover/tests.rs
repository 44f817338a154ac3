#![allow(clippy::unwrap_used, reason = "a test says with it what it expects")]

use holdfast_standalone::Standalone;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

async fn create<K>(api: Api<K>, object: Value) -> Value
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let status = object.get("status").cloned();
    let object: K = serde_json::from_value(object).unwrap();
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    if let Some(status) = status {
        api.patch_status(&made.name_any(), &Default::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }
    serde_json::to_value(made).unwrap()
}

fn deployment(name: &str, namespace: &str, labels: Value, replicas: i32) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}, "status": {"replicas": replicas}})
}

fn cron_job(name: &str, metadata: Value, suspend: bool) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"schedule": "* * * * *", "suspend": suspend,
        "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}}}});
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    object
}

fn job(name: &str, metadata: Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": "demo"},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}, "status": {"active": 1}});
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    object
}

fn webhooks(name: &str, service: &str, groups: &[&str]) -> Value {
    json!({"metadata": {"name": name, "labels": {"kept": "yes"}}, "webhooks": [{"name": "a.kb.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "failurePolicy": "Fail", "clientConfig": {"service": {"name": service, "namespace": "kubestash"}, "caBundle": "Q0E="},
        "rules": [{"apiGroups": groups, "apiVersions": ["v1alpha1"], "operations": ["CREATE"], "resources": ["backupstorages"]}]}]})
}

/// A cluster with KubeStash at work, and with others' objects that look a little like its.
struct Cluster {
    _standalone: Standalone,
    client: Client,
}

impl Cluster {
    async fn start() -> Self {
        let standalone = Standalone::new();
        for definition in session_definitions() {
            standalone.install(&serde_json::from_value(definition).unwrap()).unwrap();
        }
        let client = standalone.client();
        let cluster = Self { _standalone: standalone, client };
        for name in ["demo", "kubestash", "holdfast"] {
            create::<Namespace>(Api::all(cluster.client.clone()), json!({"metadata": {"name": name}})).await;
        }
        let theirs = json!({"app.kubernetes.io/name": "kubestash-operator"});
        create(cluster.deployments("kubestash"), deployment("kubestash-operator", "kubestash", theirs.clone(), 2)).await;
        create(cluster.deployments("kubestash"), deployment("kubestash-webhook-server", "kubestash", theirs, 1)).await;
        create(cluster.deployments("demo"), deployment("app", "demo", json!({"app": "web"}), 3)).await;
        create(cluster.deployments("holdfast"), deployment("holdfast-controller", "holdfast", json!({}), 1)).await;
        let owner = cluster.objects("BackupConfiguration", "backupconfigurations");
        let owner = owner.create(&PostParams::default(), &object("BackupConfiguration", "app")).await.unwrap();
        let owned = json!({"ownerReferences": [{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "name": "app", "uid": owner.metadata.uid}]});
        create(cluster.cron_jobs(), cron_job("trigger-app-daily", owned, false)).await;
        create(cluster.cron_jobs(), cron_job("trigger-paused", json!({"labels": {"app.kubernetes.io/managed-by": "kubestash.com"}}), true)).await;
        create(cluster.cron_jobs(), cron_job("report", json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), false)).await;
        create(cluster.jobs(), job("backup-app", json!({"labels": {"app.kubernetes.io/managed-by": "kubestash.com"}}))).await;
        create(cluster.jobs(), job("import", json!({}))).await;
        let own = ["storage.kubestash.com", "core.kubestash.com"];
        create::<MutatingWebhookConfiguration>(Api::all(cluster.client.clone()), webhooks("kubestash-operator", "kubestash-webhook", &own)).await;
        create::<ValidatingWebhookConfiguration>(Api::all(cluster.client.clone()), webhooks("kubestash-operator", "kubestash-webhook", &own)).await;
        create::<ValidatingWebhookConfiguration>(Api::all(cluster.client.clone()), webhooks("holdfast", "holdfast-webhook", &own)).await;
        create::<ValidatingWebhookConfiguration>(Api::all(cluster.client.clone()), webhooks("policies", "kyverno", &["*", "core.kubestash.com"])).await;
        create::<ValidatingWebhookConfiguration>(Api::all(cluster.client.clone()), webhooks("lookalike", "x", &["notkubestash.com"])).await;
        cluster
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn objects(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("core.kubestash.com", "v1alpha1", kind), plural);
        Api::namespaced_with(self.client.clone(), "demo", &resource)
    }

    fn cron_jobs(&self) -> Api<CronJob> {
        Api::namespaced(self.client.clone(), "demo")
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), "demo")
    }

    /// What Kubernetes' own controllers do: the pods of a Deployment that is scaled to nothing go.
    fn scale_as_asked(&self) -> tokio::task::JoinHandle<()> {
        let deployments = self.deployments("kubestash");
        tokio::spawn(async move {
            loop {
                for deployment in deployments.list(&ListParams::default()).await.unwrap() {
                    let wanted = deployment.spec.as_ref().unwrap().replicas;
                    let patch = Patch::Merge(json!({"status": {"replicas": wanted}}));
                    deployments.patch_status(&deployment.name_any(), &Default::default(), &patch).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    async fn end_job(&self, name: &str) {
        let patch = Patch::Merge(json!({"status": {"active": 0, "conditions": [{"type": "Complete", "status": "True"}]}}));
        self.jobs().patch_status(name, &Default::default(), &patch).await.unwrap();
    }

    async fn replicas(&self, namespace: &str, name: &str) -> i32 {
        self.deployments(namespace).get(name).await.unwrap().spec.unwrap().replicas.unwrap()
    }

    async fn suspended(&self) -> Vec<String> {
        let all = self.cron_jobs().list(&ListParams::default()).await.unwrap();
        all.into_iter().filter(|cron_job| cron_job.spec.as_ref().unwrap().suspend == Some(true)).map(|cron_job| cron_job.name_any()).collect()
    }

    async fn webhooks(&self) -> Vec<String> {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let mut names: Vec<_> = mutating.into_iter().map(|object| format!("m/{}", object.name_any())).collect();
        names.extend(validating.into_iter().map(|object| format!("v/{}", object.name_any())));
        names
    }

    /// Everything of it, to be compared.
    async fn state(&self) -> (Vec<i32>, Vec<String>, Vec<String>) {
        let mut replicas = Vec::new();
        for (namespace, name) in [("kubestash", "kubestash-operator"), ("kubestash", "kubestash-webhook-server"), ("demo", "app"), ("holdfast", "holdfast-controller")] {
            replicas.push(self.replicas(namespace, name).await);
        }
        (replicas, self.suspended().await, self.webhooks().await)
    }

    async fn run(&self, yes: bool, back: bool, timeout: Duration) -> Result<Outcome, Failure> {
        carry_out(&self.client, &Arguments { yes, back, timeout, namespace: "holdfast".into() }).await
    }
}

fn object(kind: &str, name: &str) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": kind, "metadata": {"name": name}})).unwrap()
}

/// The kinds of which the way back asks whether any runs, and one that owns what KubeStash makes.
fn session_definitions() -> Vec<Value> {
    let definition = |kind: &str, plural: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.core.kubestash.com")},
            "spec": {"group": "core.kubestash.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}, "subresources": {"status": {}}}]}})
    };
    let kinds = [("BackupConfiguration", "backupconfigurations"), ("BackupSession", "backupsessions"), ("RestoreSession", "restoresessions")];
    kinds.into_iter().map(|(kind, plural)| definition(kind, plural)).collect()
}

#[tokio::test]
async fn without_yes_nothing_is_changed() {
    let cluster = Cluster::start().await;
    let before = cluster.state().await;
    assert!(matches!(cluster.run(false, false, Duration::ZERO).await, Ok(Outcome::Done)));
    assert!(matches!(cluster.run(false, true, Duration::ZERO).await, Ok(Outcome::Done)));
    assert_eq!(cluster.state().await, before);
}

#[tokio::test]
async fn kubestash_is_taken_over_and_given_back() {
    let cluster = Cluster::start().await;
    let before = cluster.state().await;
    let scaling = cluster.scale_as_asked();
    let taken = tokio::spawn({
        let client = cluster.client.clone();
        async move { carry_out(&client, &Arguments { yes: true, back: false, timeout: Duration::from_secs(60), namespace: "holdfast".into() }).await }
    });
    let start = Instant::now();
    while cluster.suspended().await != ["trigger-app-daily", "trigger-paused"] {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", cluster.suspended().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cluster.replicas("kubestash", "kubestash-operator").await, 2, "its operator sees to what still runs");
    assert_eq!(cluster.webhooks().await.len(), 5);
    // The operator resumes what it finds suspended.
    cluster.cron_jobs().patch("trigger-app-daily", &Default::default(), &Patch::Merge(json!({"spec": {"suspend": false}}))).await.unwrap();
    cluster.end_job("backup-app").await;
    assert!(matches!(taken.await.unwrap(), Ok(Outcome::Done)));
    assert_eq!(cluster.suspended().await, ["trigger-app-daily", "trigger-paused"]);
    assert_eq!(cluster.webhooks().await, ["v/holdfast", "v/lookalike", "v/policies"], "those of others stay");
    assert_eq!(cluster.state().await.0, [0, 0, 3, 1]);
    // Again: nothing is left to do, and what was there before is not forgotten.
    assert!(matches!(cluster.run(true, false, Duration::from_secs(60)).await, Ok(Outcome::Done)));

    assert!(matches!(cluster.run(true, true, Duration::from_secs(60)).await, Ok(Outcome::Done)));
    let after = cluster.state().await;
    assert_eq!((&after.1, &after.2), (&before.1, &before.2), "what was suspended before stays so");
    assert_eq!(after.0, [2, 1, 3, 0], "and Holdfast's controller rests");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "holdfast");
    assert!(maps.get_opt(change::KEPT).await.unwrap().is_none());
    let made: MutatingWebhookConfiguration = Api::all(cluster.client.clone()).get("kubestash-operator").await.unwrap();
    assert_eq!(made.labels().get("kept").map(String::as_str), Some("yes"));
    assert_eq!(made.webhooks.unwrap()[0].client_config.ca_bundle.as_ref().unwrap().0, b"CA");
    // And over once more.
    assert!(matches!(cluster.run(true, false, Duration::from_secs(60)).await, Ok(Outcome::Done)));
    assert_eq!(cluster.state().await.0, [0, 0, 3, 1]);
    scaling.abort();
}

#[tokio::test]
async fn what_runs_is_not_cut_off() {
    let cluster = Cluster::start().await;
    let refused = cluster.run(true, false, Duration::ZERO).await.unwrap_err();
    assert!(format!("{refused:?}").contains("1 Jobs of KubeStash still run (demo/backup-app)"), "{refused:?}");
    assert_eq!(cluster.replicas("kubestash", "kubestash-operator").await, 2);
    assert_eq!(cluster.webhooks().await.len(), 5);

    let sessions = cluster.objects("BackupSession", "backupsessions");
    sessions.create(&PostParams::default(), &object("BackupSession", "s")).await.unwrap();
    sessions.patch_status("s", &Default::default(), &Patch::Merge(json!({"status": {"phase": "Running"}}))).await.unwrap();
    let refused = cluster.run(true, true, Duration::ZERO).await.unwrap_err();
    assert!(format!("{refused:?}").contains("BackupSession demo/s"), "{refused:?}");
    assert_eq!(cluster.replicas("holdfast", "holdfast-controller").await, 1);
}
