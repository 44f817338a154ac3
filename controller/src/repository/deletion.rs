//! What a Repository's deletion means for its data: Delete leaves it, WipeOut removes it.
//!
//! Only WipeOut sets the finalizer, so nothing else ever waits for a backend. It is given up when the backend cannot be reached for
//! too long, or when what reaching it needs is gone: an Event then names what was left behind.

use std::sync::Arc;

use holdfast_api::condition;
use holdfast_api::condition::kinds::repository as kinds;
use holdfast_api::deletion::DeletionPolicy;
use holdfast_api::{BackupStorage, Repository};
use jiff::{SignedDuration, Timestamp};

use super::{Observed, WIPE, ledger, views};
use crate::action::Action;
use crate::dispatch::assign::{Reachable, provider, storage_of};
use crate::dispatch::task::{Class, NotStarted, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::first_use;
use crate::finalizer::{self, hold, is_held, waited};
use crate::object::{Key, Kind, Named};

/// The finalizer as the policy wants it; none if it is so already.
pub(super) fn keep_finalizer(repository: &Repository) -> Option<Action> {
    let wanted = repository.spec.deletion_policy == Some(DeletionPolicy::WipeOut);
    finalizer::keep(ledger::key_of(repository), &repository.metadata, wanted)
}

/// A Repository that is being deleted.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let repository = &observed.repository;
    if !is_held(&repository.metadata) {
        return vec![Action::Tasks(Vec::new())];
    }
    if repository.spec.deletion_policy != Some(DeletionPolicy::WipeOut) {
        return vec![Action::Tasks(Vec::new()), release(repository)];
    }
    let storage = match may_wipe(observed) {
        Ok(storage) => storage,
        Err(reason) => return give_up(repository, &reason),
    };
    // Its Snapshots first: that stops what still writes here.
    let living = observed.snapshots.iter().filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none());
    let mut actions: Vec<Action> = living
        .map(|snapshot| Action::Delete {
            key: Key::of(Kind::Snapshot, &snapshot.metadata),
            uid: snapshot.metadata.uid.clone().unwrap_or_default(),
        })
        .collect();
    if !observed.snapshots.is_empty() || observed.is_used {
        actions.push(Action::Tasks(Vec::new()));
        actions.push(Action::Later(std::time::Duration::from_secs(2)));
        return actions;
    }
    actions.extend(wipe(observed, storage, now));
    actions
}

fn wipe(observed: &Observed, storage: Named, now: Timestamp) -> Vec<Action> {
    let repository = &observed.repository;
    let patience = SignedDuration::try_from(observed.pace.patience).unwrap_or(SignedDuration::MAX);
    let left = patience - waited(&repository.metadata, now);
    let mut again_after = None;
    match &observed.wipe {
        Some(TaskView::Finished { outcome, .. }) if matches!(outcome.as_ref(), Outcome::Wiped(_)) => {
            return vec![
                Action::normal("WipedOut", format!("everything in {} was removed", place(repository))),
                release(repository),
                Action::Tasks(Vec::new()),
            ];
        }
        Some(TaskView::Finished { attempt, outcome, .. }) => {
            let message = outcome.problem().0;
            let is_final = matches!(outcome.as_ref(), Outcome::NotStarted(NotStarted::Secret(_) | NotStarted::Storage(_)));
            if is_final || !left.is_positive() {
                return give_up(repository, &message);
            }
            again_after = Some(*attempt);
        }
        Some(TaskView::Waiting(why)) if !left.is_positive() => return give_up(repository, why),
        _ => {}
    }
    let directory = views::directory(repository);
    let others: Vec<Arc<Repository>> =
        observed.neighbours.iter().filter(|other| other.metadata.uid != repository.metadata.uid).cloned().collect();
    let put = views::metadata(&others, now).into_iter().collect();
    let request = TaskRequest {
        component: WIPE.into(),
        class: Class::Service,
        node: None,
        storage: storage.clone(),
        group: ledger::key_of(repository).namespace,
        persisted: None,
        again_after,
        pod_uids: Vec::new(),
        work: Work::Wipe { storage, directory, put },
    };
    let look_again = if left.is_positive() { left.unsigned_abs() } else { observed.pace.retry };
    vec![Action::Tasks(vec![Wanted::Task(Box::new(request))]), Action::Later(look_again)]
}

/// The storage, if this Repository may remove what is there.
fn may_wipe(observed: &Observed) -> Result<Named, String> {
    let repository = &observed.repository;
    let key = ledger::key_of(repository);
    let name = storage_of(repository, &Named::new(key.namespace, key.name)).map_err(|reason| reason.to_string())?;
    if observed.storage.is_none() {
        return Err(format!("BackupStorage {name} does not exist any more"));
    }
    if !observed.allowed {
        return Err(format!("the usagePolicy of BackupStorage {name} does not allow this namespace"));
    }
    // Whoever may write a Repository must not thereby remove what others have stored: it must have been opened, there, with its password.
    let opened = repository.status.as_ref().and_then(|status| condition::get(&status.conditions, kinds::REPOSITORY_INITIALIZED));
    if !opened.is_some_and(|opened| opened.status == "True" && opened.message.as_deref() == Some(&place(repository))) {
        return Err(first_use::elsewhere(repository).unwrap_or_else(|| "it was never opened there with its own password".into()));
    }
    match &observed.shared_with {
        Some(other) => Err(format!("Repository {other} has its data there, too")),
        None => Ok(name),
    }
}

fn give_up(repository: &Repository, reason: &str) -> Vec<Action> {
    let message = format!("what is in {} was left behind: {reason}", place(repository));
    tracing::warn!(object = %ledger::key_of(repository), message, "a Repository goes without its data");
    vec![Action::warning("DataLeftBehind", message), release(repository), Action::Tasks(Vec::new())]
}

fn release(repository: &Repository) -> Action {
    hold(ledger::key_of(repository), &repository.metadata, false)
}

/// Where a Repository is, for people, and to see later whether it is still there.
pub fn place(repository: &Repository) -> String {
    let namespace = repository.metadata.namespace.as_deref().unwrap_or_default();
    let storage = repository.spec.storage_ref.as_ref();
    let storage = storage.map(|storage| format!("{}/{}", storage.namespace_or(namespace), storage.name)).unwrap_or_default();
    format!("BackupStorage {storage}, directory {:?}", views::directory(repository))
}

/// Where in the world a directory of a storage is: equal only for those that share it.
pub fn location(storage: &BackupStorage, directory: &str) -> Option<String> {
    let name = Named::new(
        storage.metadata.namespace.clone().unwrap_or_default(),
        storage.metadata.name.clone().unwrap_or_default(),
    );
    let (backend, prefix) = match provider(&name, storage.spec.storage.as_ref()).ok()? {
        Reachable::S3(s3) => {
            let endpoint = s3.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
            let bucket = s3.bucket.as_deref().unwrap_or_default().trim_matches('/');
            (format!("s3 {endpoint} {bucket}"), s3.prefix.clone().unwrap_or_default())
        }
        Reachable::Local(path) => ("local".to_owned(), path),
    };
    let parts = [prefix.as_str(), directory];
    let path: Vec<&str> = parts.iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty() && *part != ".").collect();
    Some(format!("{backend} {}", path.join("/")))
}
