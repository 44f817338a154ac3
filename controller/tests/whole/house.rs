//! A controller on an in-process API server, with what it needs around it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_controller::holder::pod::Image;
use holdfast_controller::repository::maintenance::Pace;
use holdfast_controller::{Config, RunError, run};
use holdfast_standalone::Standalone;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Ahead;
use crate::faults::BadDay;

/// Everything, in one process.
pub(crate) struct House {
    pub(crate) standalone: Standalone,
    pub(crate) client: kube::Client,
    /// What happens to the controller's requests.
    day: Option<BadDay>,
    pub(crate) address: SocketAddr,
    /// The controller's.
    pub(crate) clock: Ahead,
    /// Where webhooks are served.
    pub(crate) webhooks: SocketAddr,
    /// Where it says how it is.
    pub(crate) health: SocketAddr,
    pace: Pace,
    /// Whether there are pods that hold claims.
    holders: bool,
    shutdown: CancellationToken,
    controller: Option<JoinHandle<Result<(), RunError>>>,
}

fn resource(kind: &str) -> ApiResource {
    let (group, version, plural) = match kind {
        "BackupStorage" => ("storage.kubestash.com", "v1alpha1", "backupstorages"),
        "Repository" => ("storage.kubestash.com", "v1alpha1", "repositories"),
        "RetentionPolicy" => ("storage.kubestash.com", "v1alpha1", "retentionpolicies"),
        "Snapshot" => ("storage.kubestash.com", "v1alpha1", "snapshots"),
        "BackupConfiguration" => ("core.kubestash.com", "v1alpha1", "backupconfigurations"),
        "BackupBatch" => ("core.kubestash.com", "v1alpha1", "backupbatches"),
        "BackupSession" => ("core.kubestash.com", "v1alpha1", "backupsessions"),
        "RestoreSession" => ("core.kubestash.com", "v1alpha1", "restoresessions"),
        "HookTemplate" => ("core.kubestash.com", "v1alpha1", "hooktemplates"),
        "BackupBlueprint" => ("core.kubestash.com", "v1alpha1", "backupblueprints"),
        "BackupVerifier" => ("core.kubestash.com", "v1alpha1", "backupverifier"),
        "BackupVerificationSession" => ("core.kubestash.com", "v1alpha1", "backupverificationsession"),
        "Deployment" => ("apps", "v1", "deployments"),
        "StatefulSet" => ("apps", "v1", "statefulsets"),
        "DaemonSet" => ("apps", "v1", "daemonsets"),
        "Addon" => ("addons.kubestash.com", "v1alpha1", "addons"),
        "Function" => ("addons.kubestash.com", "v1alpha1", "functions"),
        "Lease" => ("coordination.k8s.io", "v1", "leases"),
        "Namespace" => ("", "v1", "namespaces"),
        "Node" => ("", "v1", "nodes"),
        "Pod" => ("", "v1", "pods"),
        "Secret" => ("", "v1", "secrets"),
        "ConfigMap" => ("", "v1", "configmaps"),
        "ServiceAccount" => ("", "v1", "serviceaccounts"),
        "Event" => ("events.k8s.io", "v1", "events"),
        "PersistentVolumeClaim" => ("", "v1", "persistentvolumeclaims"),
        other => panic!("the tests do not know {other}"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl House {
    /// An API server with our kinds, agents' identities on the nodes `a` and `b`, and a controller.
    pub(crate) async fn start() -> Self {
        Self::start_at(Pace::default()).await
    }

    /// The same, with upkeep at another pace.
    pub(crate) async fn start_at(pace: Pace) -> Self {
        Self::start_as(pace, false, holdfast_api::crd::all(), &[], None).await
    }

    /// The same, with an API server that has a bad day for its controller.
    pub(crate) async fn start_on(day: BadDay) -> Self {
        // What failed is tried again in minutes: too late for a test.
        let pace = Pace { retry: Duration::from_secs(2), ..Pace::default() };
        Self::start_as(pace, false, holdfast_api::crd::all(), &[], Some(day)).await
    }

    /// The same, with pods that hold claims which no other mounts.
    pub(crate) async fn start_with_holders(pace: Pace) -> Self {
        Self::start_as(pace, true, holdfast_api::crd::all(), &[], None).await
    }

    /// The same with other definitions, and objects that were there before the controller.
    pub(crate) async fn start_with(pace: Pace, definitions: impl IntoIterator<Item = Value>, before: &[Value]) -> Self {
        Self::start_as(pace, false, definitions, before, None).await
    }

    async fn start_as(
        pace: Pace,
        holders: bool,
        definitions: impl IntoIterator<Item = Value>,
        before: &[Value],
        day: Option<BadDay>,
    ) -> Self {
        let standalone = Standalone::new();
        for definition in definitions {
            standalone.install(&serde_json::from_value(definition).unwrap()).unwrap();
        }
        let client = standalone.client();
        let house = Self {
            standalone,
            client,
            day,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: Ahead::default(),
            webhooks: SocketAddr::from(([127, 0, 0, 1], 0)),
            health: SocketAddr::from(([127, 0, 0, 1], 0)),
            pace,
            holders,
            shutdown: CancellationToken::new(),
            controller: None,
        };
        for name in ["holdfast", "demo"] {
            house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
        }
        house.create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "holdfast-agent", "namespace": "holdfast"}})).await;
        for node in ["a", "b"] {
            house.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})).await;
            house.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("agent-{node}"), "namespace": "holdfast"},
                "spec": {"nodeName": node, "serviceAccountName": "holdfast-agent", "containers": [{"name": "agent", "image": "agent"}]}})).await;
        }
        for name in ["pvc-addon", "workload-addon", "kubedump-addon"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/catalog/{name}.yaml"));
            house.create(serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).await;
        }
        for object in before {
            house.create(object.clone()).await;
        }
        house.start_controller().await
    }

    /// Another controller; the last one must have been stopped.
    pub(crate) async fn start_controller(mut self) -> Self {
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // The last controller is still letting go of it.
                Err(error) if start.elapsed() > Duration::from_secs(5) => panic!("{}: {error}", self.address),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        self.address = listener.local_addr().unwrap();
        self.shutdown = CancellationToken::new();
        let webhooks = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.webhooks = webhooks.local_addr().unwrap();
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.health = health.local_addr().unwrap();
        let client = self.day.as_ref().map_or_else(|| self.client.clone(), |day| day.client(self.standalone.service()));
        let mut config = Config::new(client, listener, "holdfast", "controller-0");
        config.webhook_listener = Some(webhooks);
        config.health_listener = Some(health);
        config.pace = self.pace;
        config.clock = Arc::new(self.clock.clone());
        // A new leader's first restores wait until nothing of the one before can write any more, and these agents ask for no rights.
        config.limits.grant_ttl_ms = 800;
        config.limits.grant_margin_ms = 200;
        config.holder_image = self.holders.then(|| Image { name: "agent".into(), pull_policy: "Never".into() });
        self.controller = Some(tokio::spawn(run(config, self.shutdown.clone())));
        self.until("the certificate authority", || async { !self.ca().await.is_empty() }).await;
        self
    }

    /// Ends the controller as a crash does: nothing is given back.
    pub(crate) async fn kill_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.abort();
            let _ = controller.await;
        }
    }

    pub(crate) async fn ca(&self) -> String {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "holdfast");
        let map = maps.get_opt("holdfast-ca").await.unwrap();
        map.and_then(|map| map.data).and_then(|mut data| data.remove("ca.crt")).unwrap_or_default()
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        match kind {
            "Namespace" | "Node" | "Addon" | "Function" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    pub(crate) async fn create(&self, object: Value) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("demo").to_owned();
        let status = object.get("status").cloned();
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let name = object.metadata.name.clone().unwrap();
        let api = self.api(&kind, &namespace);
        api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        if let Some(status) = status {
            let patch = kube::api::Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &Default::default(), &patch).await.unwrap();
        }
    }

    pub(crate) async fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.patch_in("demo", kind, name, patch).await;
    }

    pub(crate) async fn patch_in(&self, namespace: &str, kind: &str, name: &str, patch: Value) {
        self.api(kind, namespace).patch(name, &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn patch_status_in(&self, namespace: &str, kind: &str, name: &str, status: Value) {
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        self.api(kind, namespace).patch_status(name, &Default::default(), &patch).await.unwrap();
    }

    /// A backup by hand, to its end.
    pub(crate) async fn back_up(&self, configuration: &str, name: &str) {
        self.begin(configuration, name).await;
        self.until_phase("BackupSession", name, "Succeeded").await;
    }

    /// A backup by hand, asked for.
    pub(crate) async fn begin(&self, configuration: &str, name: &str) {
        self.create(json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": {"name": name, "namespace": "demo"},
            "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": configuration}, "session": "daily"}}))
            .await;
    }

    /// Names of the objects of a kind, in order.
    pub(crate) async fn names(&self, kind: &str) -> Vec<String> {
        let listed = self.list(kind).await;
        let mut names: Vec<_> = listed.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    pub(crate) async fn until_gone(&self, kind: &str, name: &str) {
        self.until(&format!("{kind} {name} to be gone"), || async { self.get(kind, name).await.is_none() }).await;
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.delete_in("demo", kind, name).await;
    }

    pub(crate) async fn delete_in(&self, namespace: &str, kind: &str, name: &str) {
        self.api(kind, namespace).delete(name, &Default::default()).await.unwrap();
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.get_in("demo", kind, name).await
    }

    pub(crate) async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind, namespace).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub(crate) async fn list(&self, kind: &str) -> Vec<Value> {
        let found = self.api(kind, "demo").list(&Default::default()).await.unwrap();
        found.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    /// Waits, at most a minute, until the condition holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        self.until_within(Duration::from_secs(60), what, holds).await;
    }

    pub(crate) async fn until_within<F: Future<Output = bool>>(&self, patience: Duration, what: &str, holds: impl Fn() -> F) {
        let start = Instant::now();
        while !holds().await {
            assert!(start.elapsed() < patience, "waited in vain for {what}\n{}", self.describe().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn until_phase(&self, kind: &str, name: &str, phase: &str) {
        self.until(&format!("{kind} {name} to be {phase}"), || async {
            self.get(kind, name).await.is_some_and(|object| object["status"]["phase"] == phase)
        })
        .await;
    }

    async fn describe(&self) -> String {
        let mut text = String::new();
        for kind in
            [
                "BackupStorage", "Repository", "BackupConfiguration", "BackupBatch", "BackupSession", "Snapshot", "RestoreSession",
                "BackupVerificationSession",
            ]
        {
            for object in self.list(kind).await {
                text += &format!("{kind} {} {}: {:#}\n", object["metadata"]["name"], object["metadata"]["annotations"], object["status"]);
            }
        }
        for event in self.list("Event").await {
            text += &format!("{} {}: {} {}\n", event["regarding"]["kind"], event["regarding"]["name"], event["reason"], event["note"]);
        }
        text
    }

    /// A storage, its Secrets, a claim, and a pod on node `a` that mounts it.
    pub(crate) async fn furnish(&self) {
        self.secrets().await;
        self.create(storage()).await;
        self.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "demo"},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv-data", "resources": {"requests": {"storage": "1Gi"}}}})).await;
        self.create(pod("app", "a")).await;
    }

    pub(crate) async fn secrets(&self) {
        self.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3", "namespace": "demo"},
            "stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}}))
            .await;
        self.create(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "demo"},
            "stringData": {"RESTIC_PASSWORD": "hush\n"}}),
        )
        .await;
    }
}

pub(crate) fn storage() -> Value {
    json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store", "namespace": "demo"},
        "spec": {"storage": {"provider": "s3", "s3": {"bucket": "b", "endpoint": "https://s3", "prefix": "p", "secretName": "s3"}}}})
}

/// A policy that keeps the last ones.
pub(crate) fn policy(last: u32) -> Value {
    json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "keep", "namespace": "demo"},
        "spec": {"successfulSnapshots": {"last": last}, "failedSnapshots": {"last": 1}}})
}

pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"nodeName": node, "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [{"name": "app", "image": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// A BackupConfiguration of the claim, whose only slot is far away: what runs is its first backup.
pub(crate) fn configuration(name: &str) -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": {"name": name, "namespace": "demo"},
    "spec": {
        "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"},
        "backends": [{"name": "s3", "storageRef": {"name": "store"}, "retentionPolicy": {"name": "keep"}}],
        "sessions": [{
            "name": "daily",
            "scheduler": {"schedule": "0 0 1 1 *", "jobTemplate": {"backoffLimit": 1}},
            "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
            "repositories": [{"name": format!("{name}-repo"), "backend": "s3", "directory": format!("/{name}"),
                "encryptionSecret": {"name": "password"}}],
        }],
    }})
}

pub(crate) fn restore(name: &str) -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"},
            "dataSource": {"repository": "one-repo", "snapshot": "latest"},
            "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]}}})
}
