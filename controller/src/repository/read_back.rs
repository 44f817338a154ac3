//! The Snapshots that were in a repository before: read once, when it is first opened, and when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::condition::kinds::{read_back as reasons, repository as kinds};
use holdfast_api::condition::{self, Condition};
use holdfast_api::repository::RepositoryStatus;
use holdfast_api::Snapshot;
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Observed, ledger};
use crate::action::{Action, Created};
use crate::dispatch::task::{Wanted, Work};
use crate::events::first_of;
use crate::object::Named;
use crate::read_back::{self, Failed, NAMED_MAX, SNAPSHOTS_MAX, Turn};

#[cfg(test)]
mod tests;

/// A repository is open for the first time, or its directory has none. Also one that was made just now: another tool's views may be there.
pub(super) fn begin(status: &mut RepositoryStatus, now: Timestamp) {
    if !condition::has(&status.conditions, kinds::SNAPSHOTS_READ_BACK) {
        condition::set(&mut status.conditions, Condition::new(kinds::SNAPSHOTS_READ_BACK, false, reasons::RUNNING, "", now));
    }
}

/// What is wanted of what was there before; the status says how far that is.
pub(super) fn plan(
    observed: &Observed,
    storage: Named,
    status: &mut RepositoryStatus,
    actions: &mut Vec<Action>,
    now: Timestamp,
) -> Vec<Wanted> {
    let known = condition::get(&status.conditions, kinds::SNAPSHOTS_READ_BACK);
    let asked = read_back::asked(&observed.repository.metadata, now);
    let is_done = known.is_none_or(|known| known.status == "True");
    if is_done {
        let since = known.map(|known| known.last_transition_time.clone());
        let is_due = asked.is_some_and(|asked| since.is_none_or(|Time(since)| asked > since));
        if !is_due {
            return Vec::new();
        }
        condition::set(&mut status.conditions, Condition::new(kinds::SNAPSHOTS_READ_BACK, false, reasons::RUNNING, "", now));
    }
    if observed.storage.is_none() || !observed.allowed {
        return Vec::new();
    }
    let key = ledger::key_of(&observed.repository);
    let name = Named::new(key.namespace, key.name);
    let want = |after: &str, again_after| {
        let work = Work::ReadSnapshots { repository: name.clone(), after: after.to_owned() };
        vec![read_back::want(after, again_after, storage.clone(), name.namespace.clone(), work)]
    };
    let Some(page) = &observed.page else { return want("", None) };
    let result = match read_back::turn(page) {
        Turn::Read(result) => result,
        Turn::Under(wanted) => return vec![wanted],
        Turn::Again(Failed { attempt, message, event }) => {
            actions.extend(event);
            condition::set(&mut status.conditions, Condition::new(kinds::SNAPSHOTS_READ_BACK, false, reasons::FAILED, message, now));
            return want(&page.after, Some(attempt));
        }
    };
    actions.extend(bring_back(observed, result, now));
    let is_too_much = observed.snapshots.len() >= SNAPSHOTS_MAX;
    if is_too_much {
        actions.push(Action::warning("TooManyToReadBack", format!("{SNAPSHOTS_MAX} Snapshots are there; no more are read back")));
    }
    if !result.next.is_empty() && !is_too_much {
        return want(&result.next, None);
    }
    condition::set(&mut status.conditions, Condition::new(kinds::SNAPSHOTS_READ_BACK, true, reasons::SUCCEEDED, "", now));
    Vec::new()
}

/// The Snapshots of a page that are not there, as they were. Those that are stay as they are.
fn bring_back(observed: &Observed, result: &v1::ReadBackResult, now: Timestamp) -> Vec<Action> {
    let there: BTreeMap<&str, &Arc<Snapshot>> =
        observed.snapshots.iter().filter_map(|snapshot| Some((snapshot.metadata.name.as_deref()?, snapshot))).collect();
    let mut actions = Vec::new();
    let (mut made, mut missed) = (Vec::new(), Vec::new());
    for view in &result.views {
        let known = read_back::snapshot::name(view).and_then(|name| there.get(name));
        // One that has no phase yet is ours, and the end of us came before its status.
        if known.is_some_and(|known| !read_back::is_read_back(&known.metadata) || known.status.as_ref().is_some_and(|status| status.phase.is_some())) {
            continue;
        }
        match read_back::snapshot::from_view(view, &observed.repository, now) {
            Ok((snapshot, status)) => {
                made.push(snapshot.metadata.name.clone().unwrap_or_default());
                let status = serde_json::to_value(&status).ok();
                actions.push(Action::BringBack { object: Box::new(Created::Snapshot(snapshot)), status });
            }
            // It may quote the view.
            Err(why) => missed.push(format!("{} ({})", read_back::shown(&view.path), read_back::shown(&why))),
        }
    }
    for (names, warning) in [(made, false), (missed, true)] {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            continue;
        }
        let message = first_of(&names, NAMED_MAX);
        actions.push(if warning { Action::warning("SnapshotsNotReadBack", message) } else { Action::normal("SnapshotsReadBack", message) });
    }
    actions.extend(read_back::damage(result).map(|message| Action::warning("ViewsDamaged", message)));
    actions
}
