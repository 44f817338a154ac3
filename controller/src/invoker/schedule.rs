//! When an invoker's sessions run: the first at once, then by their schedules.
//!
//! `status.sessions[].nextSchedule` is the memory: a slot is due when its time has come, and after downtime all missed
//! slots are one. A session's name follows from its slot, so that no slot runs twice whatever crashes in between.

use holdfast_api::backup_batch::BackupBatchStatus;
use holdfast_api::backup_configuration::SessionStatus;
use holdfast_api::backup_session::{BackupSession, BackupSessionSpec};
use holdfast_api::condition::kinds::backup_configuration as kinds;
use holdfast_api::condition::kinds::repository::REPOSITORY_INITIALIZED;
use holdfast_api::condition::{self, Condition};
use holdfast_api::invoker::SessionView;
use holdfast_api::repository::RepositoryPhase;
use holdfast_api::{labels, names};
use jiff::Timestamp;

use super::{Observed, jitter};
use crate::action::{Action, Created};
use crate::schedule::Schedule;

/// Fills `status.sessions`: whether each session has a schedule, and its next slot.
pub(super) fn ensure(observed: &Observed, status: &mut BackupBatchStatus, now: Timestamp) {
    let old = std::mem::take(&mut status.sessions);
    for session in &observed.effective.sessions() {
        let mut known = old
            .iter()
            .find(|known| known.name.as_deref() == session.name)
            .cloned()
            .unwrap_or_else(|| SessionStatus { name: session.name.map(str::to_owned), ..SessionStatus::default() });
        let timing = schedule_of(observed, session).and_then(|schedule| Ok((schedule, jitter::delay(&observed.invoker, session.name)?)));
        let condition = match timing {
            Ok((schedule, _)) => {
                known.next_schedule = schedule.kept(next_slot(&known), now).map(|slot| slot.to_string());
                Condition::new(kinds::SCHEDULER_ENSURED, true, kinds::SCHEDULER_ENSURED, "", now)
            }
            Err(problem) => {
                known.next_schedule = None;
                Condition::new(kinds::SCHEDULER_ENSURED, false, kinds::SCHEDULER_NOT_ENSURED, problem, now)
            }
        };
        condition::set(&mut known.conditions, condition);
        status.sessions.push(known);
    }
}

/// The sessions that are due, and when to look again.
pub(super) fn trigger(observed: &Observed, status: &mut BackupBatchStatus, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let paused = observed.invoker.is_paused();
    for session in &observed.effective.sessions() {
        let Some(known) = status.sessions.iter_mut().find(|known| known.name.as_deref() == session.name) else { continue };
        let Ok(schedule) = schedule_of(observed, session) else { continue };
        let Ok(delay) = jitter::delay(&observed.invoker, session.name) else { continue };
        let suspended = session.scheduler.and_then(|scheduler| scheduler.suspend) == Some(true);
        if paused || suspended {
            // The slot stays where it is: what was missed runs once when the pause is over, as a CronJob does it.
            continue;
        }
        if !condition::has(&known.conditions, kinds::INITIAL_BACKUP_TRIGGERED) {
            if repositories_ready(observed, session) {
                actions.extend(initial(observed, session, known, now));
            }
            continue;
        }
        // With a delay every slot is as if its clock were late by so much.
        let clock = now.checked_sub(delay).unwrap_or(now);
        actions.extend(due(observed, session, known, &schedule, clock));
        if let Some(slot) = next_slot(known) {
            actions.push(Action::at(slot, clock));
        }
    }
    actions
}

fn initial(observed: &Observed, session: &SessionView<'_>, known: &mut SessionStatus, now: Timestamp) -> Option<Action> {
    let created = observed.invoker.metadata().creation_timestamp.as_ref().map_or(now, |time| time.0);
    let action = begin(observed, session, created)?;
    let condition =
        Condition::new(kinds::INITIAL_BACKUP_TRIGGERED, true, kinds::SUCCESSFULLY_TRIGGERED_INITIAL_BACKUP, "", now);
    condition::set(&mut known.conditions, condition);
    Some(action)
}

fn due(
    observed: &Observed,
    session: &SessionView<'_>,
    known: &mut SessionStatus,
    schedule: &Schedule,
    now: Timestamp,
) -> Vec<Action> {
    let late_seconds_max = session.scheduler.and_then(|scheduler| scheduler.starting_deadline_seconds);
    let Some(due) = next_slot(known).and_then(|first| schedule.due(first, late_seconds_max, now)) else { return Vec::new() };
    known.next_schedule = due.next.map(|slot| slot.to_string());
    if due.is_too_late {
        let name = session.name.unwrap_or_default();
        return vec![Action::warning(
            "MissedSchedule",
            format!("session {name} was due at {}, later than its startingDeadlineSeconds allow", due.slot),
        )];
    }
    begin(observed, session, due.slot).into_iter().collect()
}

fn begin(observed: &Observed, session: &SessionView<'_>, slot: Timestamp) -> Option<Action> {
    let metadata = observed.invoker.metadata();
    let (invoker, name) = (metadata.name.as_deref()?, session.name?);
    let key = observed.invoker.key();
    let mut object = BackupSession::new(
        &names::backup_session(invoker, name, slot),
        BackupSessionSpec {
            invoker: Some(observed.invoker.reference()),
            session: Some(name.to_owned()),
            retry_left: session.retry_config.map(|retry| retry.max_retry.unwrap_or(1)),
            backup_timeout: session.backup_timeout.map(str::to_owned),
        },
    );
    let mut all = labels::of_invoker(key.kind.as_str(), &key.namespace, &key.name);
    all.insert(labels::SESSION_NAME.into(), names::bounded(name));
    object.metadata.labels = Some(all);
    object.metadata.namespace = Some(key.namespace);
    object.metadata.owner_references = Some(vec![observed.invoker.owner_reference()]);
    Some(Action::Create(Box::new(Created::BackupSession(object))))
}

/// Whether a first backup has where to go. A repository that could not be opened says so and holds up no other: its Snapshot
/// fails and says why, and a retry is for it alone.
fn repositories_ready(observed: &Observed, session: &SessionView<'_>) -> bool {
    let mut ready = 0;
    for (_, reference) in session.repositories() {
        let repository = reference.name.as_ref().and_then(|name| observed.repositories.get(name));
        let status = repository.and_then(|repository| repository.status.as_ref());
        if status.and_then(|status| status.phase) == Some(RepositoryPhase::Ready) {
            ready += 1;
        } else if !status.is_some_and(|status| condition::is_false(&status.conditions, REPOSITORY_INITIALIZED)) {
            return false;
        }
    }
    ready > 0
}

fn schedule_of(observed: &Observed, session: &SessionView<'_>) -> Result<Schedule, String> {
    let scheduler = session.scheduler.ok_or("the session has no scheduler")?;
    Schedule::parse(&scheduler.schedule, &observed.time_zone).map_err(|error| error.to_string())
}

fn next_slot(known: &SessionStatus) -> Option<Timestamp> {
    known.next_schedule.as_deref().and_then(|text| text.parse().ok())
}
