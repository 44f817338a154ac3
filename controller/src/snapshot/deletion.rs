//! What a Snapshot's deletion means for its data: Delete leaves it in the repository, WipeOut has it forgotten.
//!
//! Only WipeOut sets the finalizer, and it is removed as soon as the Repository has written down what is to be forgotten: neither the
//! Snapshot nor its namespace ever waits for a backend.

use std::collections::BTreeSet;

use holdfast_api::Repository;
use holdfast_api::deletion::DeletionPolicy;

use super::Observed;
use crate::action::Action;
use crate::object::{Key, Kind};
use crate::finalizer::{self, hold, is_held};
use crate::repository::ledger::{self, Entry};

/// The finalizer as the policy wants it, and the end of a Snapshot that is being deleted; none if nothing is to be done.
pub(super) fn plan(observed: &Observed) -> Option<Vec<Action>> {
    let snapshot = &observed.snapshot;
    let held = is_held(&snapshot.metadata);
    let wanted = snapshot.spec.deletion_policy == Some(DeletionPolicy::WipeOut);
    if snapshot.metadata.deletion_timestamp.is_none() {
        return finalizer::keep(key(observed), &snapshot.metadata, wanted).map(|keep| vec![keep]);
    }
    if !held {
        return None;
    }
    let mut actions = if wanted { forget(observed) } else { Vec::new() };
    // After the results were looked at: they go with the tasks.
    actions.push(Action::Tasks(Vec::new()));
    actions.push(hold(key(observed), &snapshot.metadata, false));
    Some(actions)
}

/// Has forgotten what a cancelled Snapshot has stored; nothing if that is nothing.
pub(super) fn record(observed: &Observed) -> Option<Action> {
    let repository = living(observed)?;
    let ids = ids(observed);
    if ids.is_empty() || ledger::has(repository, &observed.snapshot) {
        return None;
    }
    let entry = Entry::of(&observed.snapshot, ids)?;
    ledger::record(repository, &[entry])
}

fn forget(observed: &Observed) -> Vec<Action> {
    let ids = ids(observed);
    if !ledger::is_ours(&observed.snapshot) {
        let message = "its data was stored by another tool, and stays where it is";
        return vec![Action::warning("DataLeftBehind", message)];
    }
    let Some(repository) = living(observed) else {
        let name = observed.snapshot.spec.repository.as_deref().unwrap_or_default();
        let wiped = observed.repository.as_ref().is_some_and(|gone| gone.spec.deletion_policy == Some(DeletionPolicy::WipeOut));
        let message = format!("Repository {name} is gone: its data stays in the backend");
        return if wiped { Vec::new() } else { vec![Action::warning("DataLeftBehind", message)] };
    };
    if ledger::has(repository, &observed.snapshot) {
        return Vec::new();
    }
    match Entry::of(&observed.snapshot, ids) {
        Some(entry) => ledger::record(repository, &[entry]).into_iter().collect(),
        None => vec![Action::warning("DataLeftBehind", "its name is longer than Holdfast's are: its data stays in the backend")],
    }
}

fn living(observed: &Observed) -> Option<&Repository> {
    observed.repository.as_deref().filter(|repository| repository.metadata.deletion_timestamp.is_none())
}

fn ids(observed: &Observed) -> BTreeSet<String> {
    let mut ids = ledger::engine_ids(&observed.snapshot);
    ids.extend(ledger::finished_ids(observed.tasks.values()));
    ids
}

fn key(observed: &Observed) -> Key {
    let metadata = &observed.snapshot.metadata;
    Key::of(Kind::Snapshot, metadata)
}
