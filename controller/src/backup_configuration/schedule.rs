//! When a configuration's sessions run: the first at once, then by their schedules.
//!
//! `status.sessions[].nextSchedule` is the memory: a slot is due when its time has come, and after downtime all missed
//! slots are one. A session's name follows from its slot, so that no slot runs twice whatever crashes in between.

use holdfast_api::backup_configuration::{BackupConfigurationStatus, Session, SessionStatus};
use holdfast_api::backup_session::{BackupSession, BackupSessionSpec};
use holdfast_api::condition::kinds::backup_configuration as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::reference::TypedLocalObjectReference;
use holdfast_api::repository::RepositoryPhase;
use holdfast_api::{labels, names};
use jiff::{SignedDuration, Timestamp};

use super::{Observed, plan};
use crate::action::{Action, Created};
use crate::schedule::Schedule;

/// A schedule is looked at again at least this often, in case the wall clock is set.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_mins(10);

/// Fills `status.sessions`: whether each session has a schedule, and its next slot.
pub(super) fn ensure(observed: &Observed, status: &mut BackupConfigurationStatus, now: Timestamp) {
    let old = std::mem::take(&mut status.sessions);
    for session in &observed.effective.spec.sessions {
        let mut known = old
            .iter()
            .find(|known| known.name == session.name)
            .cloned()
            .unwrap_or_else(|| SessionStatus { name: session.name.clone(), ..SessionStatus::default() });
        let condition = match schedule_of(observed, session) {
            Ok(schedule) => {
                let next = next_slot(&known).filter(|slot| schedule.contains(*slot));
                let next = next.or_else(|| schedule.next(now));
                known.next_schedule = next.map(|slot| slot.to_string());
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
pub(super) fn trigger(observed: &Observed, status: &mut BackupConfigurationStatus, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let paused = observed.configuration.spec.paused == Some(true);
    for session in &observed.effective.spec.sessions {
        let Some(known) = status.sessions.iter_mut().find(|known| known.name == session.name) else { continue };
        let Ok(schedule) = schedule_of(observed, session) else { continue };
        let suspended = session.scheduler.as_ref().and_then(|scheduler| scheduler.suspend) == Some(true);
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
        actions.extend(due(observed, session, known, &schedule, now));
        if let Some(slot) = next_slot(known) {
            let wait = slot.duration_since(now).clamp(SignedDuration::from_millis(1), LONGEST_SLEEP);
            actions.push(Action::Later(wait.unsigned_abs()));
        }
    }
    actions
}

fn initial(observed: &Observed, session: &Session, known: &mut SessionStatus, now: Timestamp) -> Option<Action> {
    let created = observed.configuration.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let action = begin(observed, session, created)?;
    let condition =
        Condition::new(kinds::INITIAL_BACKUP_TRIGGERED, true, kinds::SUCCESSFULLY_TRIGGERED_INITIAL_BACKUP, "", now);
    condition::set(&mut known.conditions, condition);
    Some(action)
}

fn due(
    observed: &Observed,
    session: &Session,
    known: &mut SessionStatus,
    schedule: &Schedule,
    now: Timestamp,
) -> Vec<Action> {
    let Some(first) = next_slot(known).filter(|slot| *slot <= now) else { return Vec::new() };
    let last = schedule.last_within(first, now).unwrap_or(first);
    known.next_schedule =
        schedule.next(last).filter(|next| *next > now).or_else(|| schedule.next(now)).map(|slot| slot.to_string());
    let deadline = session.scheduler.as_ref().and_then(|scheduler| scheduler.starting_deadline_seconds);
    let late = now.duration_since(last);
    if deadline.is_some_and(|seconds| late > SignedDuration::from_secs(seconds.max(0))) {
        let name = session.name.as_deref().unwrap_or_default();
        return vec![Action::warning(
            "MissedSchedule",
            format!("session {name} was due at {last}, later than its startingDeadlineSeconds allow"),
        )];
    }
    begin(observed, session, last).into_iter().collect()
}

fn begin(observed: &Observed, session: &Session, slot: Timestamp) -> Option<Action> {
    let metadata = &observed.configuration.metadata;
    let (invoker, name) = (metadata.name.as_deref()?, session.name.as_deref()?);
    let retries = session.retry_config.as_ref().map(|retry| retry.max_retry.unwrap_or(1));
    Some(create(observed, &names::backup_session(invoker, name, slot), name, retries, session.backup_timeout.clone()))
}

fn create(
    observed: &Observed,
    name: &str,
    session: &str,
    retry_left: Option<i32>,
    backup_timeout: Option<String>,
) -> Action {
    let metadata = &observed.configuration.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let invoker = metadata.name.clone().unwrap_or_default();
    let kind = holdfast_api::BackupConfiguration::KIND;
    let mut object = BackupSession::new(
        name,
        BackupSessionSpec {
            invoker: Some(TypedLocalObjectReference {
                api_group: Some("core.kubestash.com".into()),
                kind: kind.into(),
                name: invoker.clone(),
            }),
            session: Some(session.to_owned()),
            retry_left,
            backup_timeout,
        },
    );
    let mut all = labels::of_invoker(kind, &namespace, &invoker);
    all.insert(labels::SESSION_NAME.into(), names::bounded(session));
    object.metadata.labels = Some(all);
    object.metadata.namespace = Some(namespace);
    object.metadata.owner_references = Some(vec![plan::owner_reference(observed)]);
    Action::Create(Box::new(Created::BackupSession(object)))
}

fn repositories_ready(observed: &Observed, session: &Session) -> bool {
    session.repositories.iter().all(|reference| {
        let repository = reference.name.as_ref().and_then(|name| observed.repositories.get(name));
        repository.and_then(|repository| repository.status.as_ref()).and_then(|status| status.phase)
            == Some(RepositoryPhase::Ready)
    })
}

fn schedule_of(observed: &Observed, session: &Session) -> Result<Schedule, String> {
    let scheduler = session.scheduler.as_ref().ok_or("the session has no scheduler")?;
    Schedule::parse(&scheduler.schedule, &observed.time_zone).map_err(|error| error.to_string())
}

fn next_slot(known: &SessionStatus) -> Option<Timestamp> {
    known.next_schedule.as_deref().and_then(|text| text.parse().ok())
}
