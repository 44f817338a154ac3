//! What every reconciler shares, and what is done with a plan.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::action::{Action, Created, Note};
use crate::api;
use crate::backup_session::claims::Claims;
use crate::backup_storage::departure::Departed;
use crate::backup_session::creation;
use crate::caches::Caches;
use crate::clock::SharedClock;
use crate::dispatch::Dispatcher;
use crate::dispatch::task::{Owner, Wanted};
use crate::events::Events;
use crate::function::Functions;
use crate::holder::keeper::Holders;
use crate::hooks::Runner;
use crate::lag::Unwritten;
use crate::made::{LAG_MS, Made};
use crate::hooks::call::Call;
use crate::object::{Key, Kind, Named};
use crate::read_back;
use crate::repository::maintenance::Pace;
use crate::snapshot::driver;
use crate::verification::turns::Turns;
use crate::wake::Storages;
use crate::workqueue::WorkQueue;

/// How long it is believed that a Secret exists, and that it does not.
const FOUND_FOR_MS: u64 = 60_000;
const MISSING_FOR_MS: u64 = 3_000;
/// Answers about Secrets that are remembered.
const SECRETS_MAX: usize = 100_000;
/// Notes that are remembered for each object.
const NOTES_MAX: usize = 64;
/// Versions of an object that are remembered as replaced: a plan writes fewer.
const REPLACED_MAX: usize = 4;

/// How soon the cache may show what the API server has.
const OLDER_PAUSE: Duration = Duration::from_millis(200);
/// Pause before a hook is started that found too many running.
const HOOK_PAUSE: Duration = Duration::from_secs(2);

/// Shared by all reconcilers.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// What is watched.
    pub caches: Arc<Caches>,
    /// Where tasks go.
    pub dispatcher: Dispatcher,
    /// What is to be looked at.
    pub queue: WorkQueue,
    /// Where notes for people go.
    pub events: Events,
    /// The time.
    pub clock: SharedClock,
    /// Zone of schedules that name none.
    pub time_zone: TimeZone,
    /// How often space is freed, and how patiently what is deleted waits for its backend.
    pub pace: Pace,
    /// Which session of an invoker runs.
    pub claims: Claims,
    /// Storages that have gone.
    pub departed: Departed,
    /// What was told of storages.
    pub storages: Storages,
    /// Hooks that run.
    pub hooks: Runner,
    /// Functions that run as pods.
    pub functions: Functions,
    /// Pods that hold claims which no other mounts.
    pub holders: Holders,
    /// Which tries of backups run.
    pub turns: Turns,
    /// Objects whose versions in the cache we have replaced ourselves: which, and when last.
    replaced: Mutex<HashMap<Key, (Vec<String>, u64)>>,
    made: Made,
    /// Objects that wait for a pod or claim: since when, and in which namespace.
    waiting: Mutex<HashMap<Key, (u64, String)>>,
    /// Statuses whose writes wait.
    unwritten: Unwritten,
    secrets: Mutex<HashMap<Named, (bool, u64)>>,
    /// Notes made lately about each object: none is made again while it is among them.
    noted: Mutex<HashMap<Key, VecDeque<(ObjectReference, Note)>>>,
}

/// The object that a plan is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// Its version as observed.
    pub resource_version: String,
    /// For Events.
    pub reference: ObjectReference,
}

impl Subject {
    /// An object as observed.
    pub fn of<K: Resource<DynamicType = ()>>(kind: Kind, object: &K) -> Self {
        let meta = object.meta();
        Self {
            key: Key::of(kind, meta),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            reference: object.object_ref(&()),
        }
    }

    /// An object that others name and that does not exist.
    pub fn absent(key: Key) -> Self {
        let reference = ObjectReference {
            kind: Some(key.kind.as_str().to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            ..ObjectReference::default()
        };
        Self { key, uid: String::new(), resource_version: String::new(), reference }
    }

    /// The object as owner of what is made for it.
    pub fn as_owner(&self) -> OwnerReference {
        let resource = api::resource(self.key.kind);
        OwnerReference {
            api_version: resource.api_version,
            kind: resource.kind,
            name: self.key.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// The object as an owner of tasks.
    pub fn owner(&self) -> Owner {
        Owner { key: self.key.clone(), uid: self.uid.clone() }
    }
}

impl Context {
    /// A context.
    pub fn new(
        client: kube::Client,
        caches: Arc<Caches>,
        dispatcher: Dispatcher,
        queue: WorkQueue,
        events: Events,
        clock: SharedClock,
        time_zone: TimeZone,
        pace: Pace,
        functions: Functions,
        hooks_exec: bool,
    ) -> Self {
        Self {
            hooks: Runner::new(functions.clone(), client.clone(), queue.clone(), hooks_exec),
            functions,
            client,
            caches,
            dispatcher,
            queue,
            events,
            clock,
            time_zone,
            pace,
            claims: Claims::default(),
            departed: Departed::default(),
            storages: Storages::default(),
            holders: Holders::default(),
            turns: Turns::default(),
            replaced: Mutex::default(),
            made: Made::default(),
            waiting: Mutex::default(),
            unwritten: Unwritten::default(),
            secrets: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// Whether the cache still shows a version that we have replaced ourselves: its successor is on the way, and a plan
    /// made from the old one would do things twice.
    pub fn is_behind(&self, subject: &Subject) -> bool {
        let now_ms = self.clock.boottime_ms();
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        match replaced.get(&subject.key) {
            // The event that brings the successor wakes the object; the pause is for a watch that never delivers it.
            Some((versions, at_ms)) if versions.contains(&subject.resource_version) && now_ms < at_ms + LAG_MS => {
                drop(replaced);
                self.queue.add_after(subject.key.clone(), Duration::from_millis(LAG_MS));
                true
            }
            Some(_) => {
                replaced.remove(&subject.key);
                false
            }
            None => false,
        }
    }

    /// Whether the API server has another version of the object than was observed. Then the object is looked at again soon.
    pub async fn is_older(&self, subject: &Subject) -> Result<bool, kube::Error> {
        let key = &subject.key;
        let newest = api::of_kind(&self.client, key.kind, &key.namespace).get_opt(&key.name).await?;
        let is_older = newest.is_none_or(|newest| newest.metadata.resource_version.as_deref() != Some(subject.resource_version.as_str()));
        if is_older {
            self.queue.add_after(key.clone(), OLDER_PAUSE);
        }
        Ok(is_older)
    }

    /// Does what a plan says. Stops at the first thing that fails: the object is looked at again then.
    pub async fn apply(&self, subject: &Subject, actions: Vec<Action>) -> Result<(), kube::Error> {
        // Several writes of one plan follow each other; what anybody else writes in between still stops it.
        let subject = &mut subject.clone();
        for action in actions {
            match action {
                Action::Status(status) => {
                    match self.unwritten.wait(&subject.key, &status, self.clock.boottime_ms()) {
                        Some(left) => self.queue.add_after(subject.key.clone(), left),
                        None => self.write_status(subject, status).await?,
                    }
                }
                Action::Patch { key, resource_version: Some(_), patch } if key == subject.key => {
                    let version = subject.resource_version.clone();
                    if let Some(after) = self.patch(&key, Some(version), patch).await? {
                        subject.resource_version = after;
                    }
                }
                Action::Patch { key, resource_version, patch } => {
                    self.patch(&key, resource_version, patch).await?;
                }
                Action::StatusOf { key, status } => self.write_status_of(&key, status).await?,
                Action::Create(object) => self.create(subject, *object).await?,
                Action::CreateClaim(claim) => unless_there(create(&self.client, claim.as_ref()).await)?,
                Action::BringBack { object, status } => self.bring_back(subject, &object, status).await?,
                Action::Delete { key, uid } => self.delete(&key, uid).await?,
                Action::Tasks(wanted) => self.want(subject, wanted),
                Action::Event(note) => self.note(subject, subject.reference.clone(), note),
                Action::About(object, note) => self.note(subject, *object, note),
                Action::Hook(call) => self.run_hook(subject, *call).await?,
                Action::Function(run) => {
                    if !self.functions.start(&subject.key, *run) {
                        self.queue.add_after(subject.key.clone(), HOOK_PAUSE);
                    }
                }
                Action::HooksOver => self.hooks.forget(&subject.key),
                Action::Later(delay) => self.queue.add_after(subject.key.clone(), delay),
            }
        }
        Ok(())
    }

    /// Before the hook starts its status is written, so that the next controller knows that it may have run.
    async fn run_hook(&self, subject: &Subject, call: Call) -> Result<(), kube::Error> {
        let concrete = call.prepare(self, subject).await?;
        if let Err(error) = &concrete {
            tracing::info!(object = %subject.key, error, "a hook cannot run");
        }
        if !self.hooks.start(subject.key.clone(), call.id, concrete) {
            self.queue.add_after(subject.key.clone(), HOOK_PAUSE);
        }
        Ok(())
    }

    async fn write_status(&self, subject: &mut Subject, status: Value) -> Result<(), kube::Error> {
        match self.put_status(subject, &status).await {
            Err(kube::Error::Api(refused)) if subject.key.kind == Kind::Snapshot && driver::is_refused(&refused) => {
                self.put_rephrased(subject, status).await
            }
            written => written,
        }
    }

    /// The annotation comes first: a Snapshot never passes for KubeStash's.
    async fn put_rephrased(&self, subject: &mut Subject, mut status: Value) -> Result<(), kube::Error> {
        tracing::debug!(object = %subject.key, "the cluster's definitions do not know our driver; an annotation says it");
        driver::rephrase(&mut status);
        let version = subject.resource_version.clone();
        if let Some(after) = self.patch(&subject.key, Some(version), driver::annotation()).await? {
            subject.resource_version = after;
        }
        self.put_status(subject, &status).await
    }

    async fn put_status(&self, subject: &mut Subject, status: &Value) -> Result<(), kube::Error> {
        let key = &subject.key;
        let patch = json!({"metadata": {"resourceVersion": subject.resource_version}, "status": status});
        let written = api::of_kind(&self.client, key.kind, &key.namespace)
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        self.unwritten.forget(key);
        let after = written.resource_version();
        self.remember(key, &subject.resource_version, after.as_deref());
        if let Some(after) = after {
            subject.resource_version = after;
        }
        Ok(())
    }

    async fn write_status_of(&self, key: &Key, status: Value) -> Result<(), kube::Error> {
        let objects = api::of_kind(&self.client, key.kind, &key.namespace);
        match objects.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn remember(&self, key: &Key, before: &str, after: Option<&str>) {
        if after.is_some_and(|after| after != before) {
            let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
            let (versions, at_ms) = replaced.entry(key.clone()).or_default();
            if versions.len() >= REPLACED_MAX {
                versions.remove(0);
            }
            versions.push(before.to_owned());
            *at_ms = self.clock.boottime_ms();
        }
    }

    /// Patches an object, and says which version it has now; none if it is gone.
    async fn patch(&self, key: &Key, version: Option<String>, mut patch: Value) -> Result<Option<String>, kube::Error> {
        if let Some(version) = &version {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        let objects = api::of_kind(&self.client, key.kind, &key.namespace);
        match objects.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(written) => {
                let after = written.resource_version();
                if let Some(version) = version {
                    self.remember(key, &version, after.as_deref());
                }
                Ok(after)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A Snapshot that was created a moment ago is on its way into the cache; if it is gone instead, another look creates it again. Of
    /// other kinds two may be meant by one name.
    async fn create(&self, subject: &Subject, object: Created) -> Result<(), kube::Error> {
        let Created::Snapshot(_) = &object else { return unless_there(self.create_new(&object).await) };
        let (key, now_ms) = (object.key(), self.clock.boottime_ms());
        if self.made.is_recent(&key, now_ms) {
            self.queue.add_after(subject.key.clone(), Duration::from_millis(LAG_MS));
            return Ok(());
        }
        unless_there(self.create_new(&object).await)?;
        self.made.note(key, now_ms);
        Ok(())
    }

    async fn create_new(&self, object: &Created) -> Result<(), kube::Error> {
        match object {
            Created::Repository(object) => create(&self.client, object).await,
            Created::BackupSession(object) => creation::create(&self.client, object).await,
            Created::Snapshot(object) => create(&self.client, object).await,
            Created::BackupConfiguration(object) => create(&self.client, object.as_ref()).await,
            Created::Verification(object) => creation::create(&self.client, object).await,
            Created::RestoreSession(object) => create(&self.client, object.as_ref()).await,
        }
    }

    /// One object that the API server does not take must not stand in the way of the others.
    async fn bring_back(&self, subject: &Subject, object: &Created, status: Option<Value>) -> Result<(), kube::Error> {
        let key = object.key();
        let refused = match self.create_new(object).await {
            Err(kube::Error::Api(refused)) if refused.is_already_exists() => None,
            Err(kube::Error::Api(refused)) if (400..429).contains(&refused.code) => Some(refused.message),
            Err(error) => return Err(error),
            Ok(()) => None,
        };
        if let Some(why) = refused {
            self.note(subject, subject.reference.clone(), Note { warning: true, reason: "NotReadBack".into(), message: format!("{key}: {why}") });
            return Ok(());
        }
        let Some(status) = status else { return Ok(()) };
        let objects = api::of_kind(&self.client, key.kind, &key.namespace);
        let Some(found) = objects.get_opt(&key.name).await? else { return Ok(()) };
        // Made by us, and we died before we had said the rest; anything else is left alone.
        if !read_back::is_read_back(&found.metadata) || !found.data["status"]["phase"].is_null() {
            return Ok(());
        }
        let about = &mut Subject { resource_version: found.metadata.resource_version.unwrap_or_default(), ..Subject::absent(key.clone()) };
        match self.write_status(about, status).await {
            Err(kube::Error::Api(refused)) if refused.code == 422 => {
                self.note(subject, subject.reference.clone(), Note { warning: true, reason: "NotReadBack".into(), message: format!("{key}: {}", refused.message) });
                Ok(())
            }
            other => other,
        }
    }

    async fn delete(&self, key: &Key, uid: String) -> Result<(), kube::Error> {
        api::delete(&api::of_kind(&self.client, key.kind, &key.namespace), &key.name, uid, DeleteParams::background()).await
    }

    fn want(&self, subject: &Subject, wanted: Vec<Wanted>) {
        let (mut wishes, mut runs, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for wanted in wanted {
            match wanted {
                Wanted::Hold(wish) => wishes.push(*wish),
                Wanted::Function(run) => runs.push(*run),
                task => tasks.push(task),
            }
        }
        self.holders.want(&subject.key, wishes);
        if !self.functions.want(&subject.key, runs) {
            self.queue.add_after(subject.key.clone(), HOOK_PAUSE);
        }
        if !self.dispatcher.want(&subject.owner(), tasks) {
            tracing::warn!(object = %subject.key, "too many tasks wait; this object's are taken later");
            self.queue.add_after(subject.key.clone(), Duration::from_secs(5));
        }
    }

    fn note(&self, subject: &Subject, about: ObjectReference, note: Note) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = noted.entry(subject.key.clone()).or_default();
        // Another version of the same object is no news.
        let about = ObjectReference { resource_version: None, ..about };
        let said = (about.clone(), note.clone());
        if lately.contains(&said) {
            return;
        }
        if lately.len() >= NOTES_MAX {
            lately.pop_front();
        }
        lately.push_back(said);
        self.events.publish(about, note);
    }

    /// The object is gone: nothing of it stays.
    pub fn forget(&self, key: &Key) {
        self.hooks.forget(key);
        self.functions.forget(key);
        self.turns.end(key);
        self.holders.want(key, Vec::new());
        self.dispatcher.want(&Owner { key: key.clone(), uid: String::new() }, Vec::new());
        self.unwritten.forget(key);
        self.made.forget(key);
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// This replica does not lead, or no longer: whatever was begun for objects has stopped here when this returns. Whoever leads next
    /// begins with as little as a new process, since of what goes meanwhile nobody here takes note; but the cache may still be behind what
    /// was written a moment ago.
    pub async fn let_go(&self) {
        self.queue.close();
        self.hooks.let_go().await;
        self.functions.let_go().await;
        self.claims.let_go();
        self.turns.let_go();
        self.holders.let_go();
        self.unwritten.let_go();
        let now_ms = self.clock.boottime_ms();
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, at_ms)| now_ms < *at_ms + LAG_MS);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes that an object waits for pods or claims of a namespace, or no longer; says for how long it has waited.
    pub fn waits(&self, key: &Key, namespace: &str, waits: bool) -> Duration {
        let now_ms = self.clock.boottime_ms();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waits {
            waiting.remove(key);
            return Duration::ZERO;
        }
        let since_ms = waiting.entry(key.clone()).or_insert_with(|| (now_ms, namespace.to_owned())).0;
        Duration::from_millis(now_ms.saturating_sub(since_ms))
    }

    /// Objects of a namespace that wait for pods or claims.
    pub fn waiting_in(&self, namespace: &str) -> Vec<Key> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().filter(|(_, (_, theirs))| theirs == namespace).map(|(key, _)| key.clone()).collect()
    }

    /// Whether a Secret exists, as of a moment ago. Its contents are not kept.
    pub async fn secret_exists(&self, name: &Named) -> Result<bool, kube::Error> {
        let now_ms = self.clock.boottime_ms();
        let known = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let Some((found, at_ms)) = known
            && now_ms < at_ms + if found { FOUND_FOR_MS } else { MISSING_FOR_MS }
        {
            return Ok(found);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let found = secrets.get_opt(&name.name).await?.is_some();
        let mut known = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SECRETS_MAX {
            known.clear();
        }
        known.insert(name.clone(), (found, now_ms));
        Ok(found)
    }

    /// Labels of a namespace; none if it is gone.
    pub async fn namespace_labels(&self, name: &str) -> Result<BTreeMap<String, String>, kube::Error> {
        self.caches.namespace_labels(&self.client, name).await
    }
}

fn unless_there(created: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match created {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other,
    }
}

async fn create<K>(client: &kube::Client, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    objects.create(&PostParams::default(), object).await.map(|_| ())
}
