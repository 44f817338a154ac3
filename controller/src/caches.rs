//! Everything that is watched, and who is woken by what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_api::{
    Addon, BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, BackupVerificationSession, BackupVerifier,
    Function, Repository, RestoreSession, RetentionPolicy, Snapshot,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{Api, PartialObjectMeta};
use k8s_openapi::Resource as _;
use kube::ResourceExt;
use tokio::task::JoinSet;

use crate::backup_blueprint::applications;
use crate::cache::{Cache, Change, reflect, reflect_metadata};
use crate::object::Key;

pub mod shape;
mod strip;

/// All watched kinds.
#[derive(Debug)]
pub struct Caches {
    /// BackupStorages.
    pub storages: Arc<Cache<BackupStorage>>,
    /// Repositories.
    pub repositories: Arc<Cache<Repository>>,
    /// BackupConfigurations.
    pub configurations: Arc<Cache<BackupConfiguration>>,
    /// BackupBatches.
    pub batches: Arc<Cache<BackupBatch>>,
    /// BackupSessions.
    pub sessions: Arc<Cache<BackupSession>>,
    /// Snapshots; finished ones without the numbers of their components.
    pub snapshots: Arc<Cache<Snapshot>>,
    /// RestoreSessions.
    pub restores: Arc<Cache<RestoreSession>>,
    /// Addons.
    pub addons: Arc<Cache<Addon>>,
    /// Functions.
    pub functions: Arc<Cache<Function>>,
    /// RetentionPolicies.
    pub policies: Arc<Cache<RetentionPolicy>>,
    /// BackupBlueprints.
    pub blueprints: Arc<Cache<BackupBlueprint>>,
    /// BackupVerifiers.
    pub verifiers: Arc<Cache<BackupVerifier>>,
    /// BackupVerificationSessions.
    pub verifications: Arc<Cache<BackupVerificationSession>>,
    /// Deployments: their names, and what they ask of blueprints.
    pub deployments: Arc<Cache<PartialObjectMeta<Deployment>>>,
    /// StatefulSets, likewise.
    pub stateful_sets: Arc<Cache<PartialObjectMeta<StatefulSet>>>,
    /// DaemonSets, likewise.
    pub daemon_sets: Arc<Cache<PartialObjectMeta<DaemonSet>>>,
    /// Namespaces: what they ask of blueprints, and their labels.
    pub namespaces: Arc<Cache<PartialObjectMeta<Namespace>>>,
    /// Pods: what their volumes and mounts need, no more.
    pub pods: Arc<Cache<Pod>>,
    /// PersistentVolumeClaims: names, UIDs, labels and volumes, and what they ask of blueprints.
    pub claims: Arc<Cache<PersistentVolumeClaim>>,
    /// Which claims' volumes are directories of their nodes.
    pub host_paths: HostPaths,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            storages: Arc::default(),
            repositories: Arc::new(Cache::shaped(shape::REPOSITORIES)),
            configurations: Arc::new(Cache::shaped(shape::CONFIGURATIONS)),
            batches: Arc::new(Cache::shaped(shape::BATCHES)),
            sessions: Arc::new(Cache::shaped(shape::SESSIONS)),
            snapshots: Arc::new(Cache::shaped(shape::SNAPSHOTS)),
            restores: Arc::default(),
            addons: Arc::default(),
            functions: Arc::default(),
            policies: Arc::default(),
            blueprints: Arc::default(),
            verifiers: Arc::default(),
            verifications: Arc::new(Cache::shaped(shape::VERIFICATIONS)),
            deployments: Arc::default(),
            stateful_sets: Arc::default(),
            daemon_sets: Arc::default(),
            namespaces: Arc::default(),
            pods: Arc::new(Cache::shaped(shape::PODS)),
            claims: Arc::new(Cache::shaped(shape::CLAIMS)),
            host_paths: HostPaths::default(),
        }
    }
}

/// By UID of the claim and name of its volume: whether that is a hostPath volume.
#[derive(Debug, Default)]
pub struct HostPaths(Mutex<HashMap<(String, String), bool>>);

/// Volumes that are remembered.
const HOST_PATHS_MAX: usize = 100_000;

impl HostPaths {
    /// What is known.
    pub fn get(&self, key: &(String, String)) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// What was found.
    pub fn remember(&self, key: (String, String), is_host_path: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= HOST_PATHS_MAX {
            known.clear();
        }
        known.insert(key, is_host_path);
    }
}

/// An event of any kind.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A BackupStorage.
    Storage(&'a Change<BackupStorage>),
    /// A Repository.
    Repository(&'a Change<Repository>),
    /// A BackupConfiguration.
    Configuration(&'a Change<BackupConfiguration>),
    /// A BackupBatch.
    Batch(&'a Change<BackupBatch>),
    /// A BackupSession.
    Session(&'a Change<BackupSession>),
    /// A Snapshot.
    Snapshot(&'a Change<Snapshot>),
    /// A RestoreSession.
    Restore(&'a Change<RestoreSession>),
    /// An Addon.
    Addon(&'a Change<Addon>),
    /// A Function.
    Function(&'a Change<Function>),
    /// A RetentionPolicy.
    Policy(&'a Change<RetentionPolicy>),
    /// A Pod.
    Pod(&'a Change<Pod>),
    /// A PersistentVolumeClaim.
    Claim(&'a Change<PersistentVolumeClaim>),
    /// A BackupBlueprint.
    Blueprint(&'a Change<BackupBlueprint>),
    /// A BackupVerifier.
    Verifier(&'a Change<BackupVerifier>),
    /// A BackupVerificationSession.
    Verification(&'a Change<BackupVerificationSession>),
    /// A workload: its kind, namespace and name, and the blueprint that it asks for.
    Workload {
        /// `<kind>/<namespace>/<name>`.
        title: String,
        /// The blueprint.
        blueprint: Option<Key>,
    },
    /// A Namespace.
    Namespace(&'a Change<PartialObjectMeta<Namespace>>),
}

impl Caches {
    /// Labels of a namespace; none if it is gone.
    pub async fn namespace_labels(&self, client: &kube::Client, name: &str) -> Result<BTreeMap<String, String>, kube::Error> {
        if let Some(namespace) = self.namespaces.get("", name) {
            return Ok(namespace.metadata.labels.clone().unwrap_or_default());
        }
        // One that has just come.
        let namespaces: Api<Namespace> = Api::all(client.clone());
        Ok(namespaces.get_opt(name).await?.and_then(|namespace| namespace.metadata.labels).unwrap_or_default())
    }

    /// Begins to watch everything; `seen` hears of every change. The watches end with the set.
    pub fn watch(&self, client: &kube::Client, seen: impl Fn(Seen<'_>) + Clone + Send + Sync + 'static) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        macro_rules! watch {
            ($cache:ident, $variant:ident, $strip:expr) => {{
                let seen = seen.clone();
                let (api, cache) = (Api::all(client.clone()), Arc::clone(&self.$cache));
                watches.spawn(reflect(api, cache, $strip, move |change| seen(Seen::$variant(change))));
            }};
        }
        macro_rules! watch_workloads {
            ($cache:ident, $kind:ty) => {{
                let seen = seen.clone();
                let (api, cache) = (Api::<PartialObjectMeta<$kind>>::all(client.clone()), Arc::clone(&self.$cache));
                watches.spawn(reflect_metadata(api, cache, strip::metadata, false, move |change| {
                    let object = change.object();
                    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                    let blueprint = applications::blueprint_of(object.as_ref(), &namespace);
                    seen(Seen::Workload { title: format!("{}/{namespace}/{name}", <$kind>::KIND), blueprint });
                }));
            }};
        }
        watch_workloads!(deployments, Deployment);
        watch_workloads!(stateful_sets, StatefulSet);
        watch_workloads!(daemon_sets, DaemonSet);
        watches.spawn({
            let (seen, api, cache) = (seen.clone(), Api::<PartialObjectMeta<Namespace>>::all(client.clone()), Arc::clone(&self.namespaces));
            reflect_metadata(api, cache, strip::namespace, true, move |change| seen(Seen::Namespace(change)))
        });
        watch!(blueprints, Blueprint, |_| {});
        watch!(verifiers, Verifier, |_| {});
        watch!(verifications, Verification, |_| {});
        watch!(storages, Storage, |_| {});
        watch!(repositories, Repository, |_| {});
        watch!(configurations, Configuration, |_| {});
        watch!(batches, Batch, |_| {});
        watch!(sessions, Session, |_| {});
        watch!(snapshots, Snapshot, strip::snapshot);
        watch!(restores, Restore, |_| {});
        watch!(addons, Addon, |_| {});
        watch!(functions, Function, |_| {});
        watch!(policies, Policy, |_| {});
        watch!(pods, Pod, strip::pod);
        watch!(claims, Claim, strip::claim);
        watches
    }

    /// Waits until every kind has been listed once.
    pub async fn synced(&self) {
        self.storages.synced().await;
        self.repositories.synced().await;
        self.configurations.synced().await;
        self.batches.synced().await;
        self.sessions.synced().await;
        self.snapshots.synced().await;
        self.restores.synced().await;
        self.addons.synced().await;
        self.functions.synced().await;
        self.policies.synced().await;
        self.pods.synced().await;
        self.claims.synced().await;
        self.blueprints.synced().await;
        self.verifiers.synced().await;
        self.verifications.synced().await;
        self.deployments.synced().await;
        self.stateful_sets.synced().await;
        self.daemon_sets.synced().await;
        self.namespaces.synced().await;
    }
}
