//! What a storage's deletion means: Delete leaves everything, WipeOut takes its Repositories and their data with it.

use holdfast_api::deletion::DeletionPolicy;
use holdfast_api::labels::FINALIZER;
use holdfast_api::{BackupStorage, Repository};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::plan::name_of;
use super::{Observed, VIEWS};
use crate::action::Action;
use crate::dispatch::task::{Class, TaskRequest, TaskView, Wanted, Work};
use crate::object::{Key, Kind};
use crate::finalizer::{self, hold, is_held, waited};
use crate::repository::ledger;

/// The view that a storage itself has.
const METADATA: &str = "metadata.yaml";

fn key_of(storage: &BackupStorage) -> Key {
    let name = name_of(storage);
    Key::new(Kind::BackupStorage, name.namespace, name.name)
}

/// The finalizer as the policy wants it; none if it is so already.
pub(super) fn keep_finalizer(storage: &BackupStorage) -> Option<Action> {
    let wanted = storage.spec.deletion_policy == Some(DeletionPolicy::WipeOut);
    finalizer::keep(key_of(storage), &storage.metadata, wanted)
}

/// A storage that is being deleted.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let storage = &observed.storage;
    if !is_held(&storage.metadata) {
        return vec![Action::Tasks(Vec::new())];
    }
    if storage.spec.deletion_policy != Some(DeletionPolicy::WipeOut) {
        return vec![Action::Tasks(Vec::new()), hold(key_of(storage), &storage.metadata, false)];
    }
    // Each Repository has its own patience; twice that is more than all of them together need, since they go beside each other.
    let patience = SignedDuration::try_from(observed.pace.patience).unwrap_or(SignedDuration::MAX).saturating_mul(2);
    let left = patience - waited(&storage.metadata, now);
    if !left.is_positive() {
        let message = if observed.repositories.is_empty() {
            format!("{METADATA} was left behind")
        } else {
            let names: Vec<String> = observed.repositories.iter().take(5).map(|repository| name(repository)).collect();
            format!("the data of {} Repositories was left behind, of these first: {}", observed.repositories.len(), names.join(", "))
        };
        tracing::warn!(object = %key_of(storage), message, "a BackupStorage goes without its data");
        return vec![
            Action::warning("DataLeftBehind", message),
            hold(key_of(storage), &storage.metadata, false),
            Action::Tasks(Vec::new()),
        ];
    }
    if !observed.repositories.is_empty() {
        let mut actions: Vec<Action> = observed.repositories.iter().flat_map(|repository| take_along(repository)).collect();
        actions.push(Action::Tasks(Vec::new()));
        actions.push(Action::Later(left.unsigned_abs().min(std::time::Duration::from_secs(5))));
        return actions;
    }
    if matches!(&observed.views, Some(TaskView::Finished { .. })) {
        // Gone, or not to be had: a list of nothing is not worth waiting for.
        return vec![
            Action::normal("WipedOut", "the storage and everything in it that Holdfast knows was removed"),
            hold(key_of(storage), &storage.metadata, false),
            Action::Tasks(Vec::new()),
        ];
    }
    let request = TaskRequest {
        component: VIEWS.into(),
        class: Class::Service,
        node: None,
        storage: name_of(storage),
        group: name_of(storage).namespace,
        persisted: None,
        again_after: None,
        pod_uids: Vec::new(),
        work: Work::Views { storage: name_of(storage), put: Vec::new(), remove: vec![METADATA.into()] },
    };
    vec![Action::Tasks(vec![Wanted::Task(Box::new(request))]), Action::Later(left.unsigned_abs())]
}

/// A Repository of a storage that is wiped out is wiped out.
fn take_along(repository: &Repository) -> Vec<Action> {
    let metadata = &repository.metadata;
    let key = ledger::key_of(repository);
    if metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let delete = Action::Delete { key: key.clone(), uid: metadata.uid.clone().unwrap_or_default() };
    if repository.spec.deletion_policy == Some(DeletionPolicy::WipeOut) && is_held(metadata) {
        return vec![delete];
    }
    let mut finalizers: Vec<&str> = metadata.finalizers.iter().flatten().map(String::as_str).collect();
    if !is_held(metadata) {
        finalizers.push(FINALIZER);
    }
    // Both at once: with only one of them its own look would undo the other.
    let patch = json!({"metadata": {"finalizers": finalizers}, "spec": {"deletionPolicy": DeletionPolicy::WipeOut}});
    vec![Action::Patch { key, resource_version: metadata.resource_version.clone(), patch }, delete]
}

fn name(repository: &Repository) -> String {
    let key = ledger::key_of(repository);
    format!("{}/{}", key.namespace, key.name)
}
