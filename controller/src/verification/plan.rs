//! What a try needs: skipped, begun, waited for, judged; and in the end everything that it made goes.

use std::time::Duration;

use holdfast_api::backup_verification_session::{BackupVerificationSessionPhase, BackupVerificationSessionStatus};
use holdfast_api::condition::kinds::{backup_verification_session as kinds, restore_session as restore_kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::restore_session::{RestorePhase, RestoreSession};
use holdfast_api::snapshot::{Snapshot, VerificationStatus};
use holdfast_api::{duration, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{Observed, check, has_ended, history, restore, retry};
use crate::action::{Action, Created, Note};
use crate::first_use;
use crate::function::Run;
use crate::runs::Standing;
use crate::object::{Key, Kind};

/// Pause of one that waits for its turn.
const TURN_PAUSE: Duration = Duration::from_secs(5);
/// How long claims may take to be bound and mounted, and a slot to be free. Then the try says that it could not be made.
const BEGIN_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// How long a try may wait for its turn.
const WAIT_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the backup in the end.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It is there already.
    Skipped,
    /// It restores.
    Verified,
    /// It does not.
    Failed(String),
    /// It does, and is not what it should be.
    Refuted(String),
    /// Nobody could tell.
    Untried(String),
}

enum Step {
    Begin(Box<RestoreSession>),
    Check(Box<Run>),
    Wait(Option<Duration>),
    Over(Verdict),
}

/// What is to be done about a try.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    if session.metadata.deletion_timestamp.is_some() {
        // What it made is its own, and goes with it.
        return Vec::new();
    }
    if has_ended(session) {
        let mut actions = clean_up(observed);
        if !first_use::is_another(session) {
            actions.extend(retry::plan(observed, now));
        }
        return actions;
    }
    let mut status = session.status.clone().unwrap_or_default();
    match step(observed, now) {
        Step::Over(verdict) => end(observed, status, verdict, now),
        Step::Begin(restore) => {
            status.phase = Some(phase::backup_verification_session(&status));
            let mut actions = vec![Action::Create(Box::new(Created::RestoreSession(restore)))];
            actions.extend(Action::status(session.status.as_ref(), &status));
            actions
        }
        Step::Check(run) => {
            let restored = Condition::new(kinds::RESTORE_SUCCEEDED, true, kinds::SUCCESSFULLY_RESTORED_BACKUP, "", now);
            let reason = kinds::SUCCESSFULLY_ENSURED_VERIFICATION_EXECUTOR;
            let ensured = Condition::new(kinds::VERIFICATION_EXECUTOR_ENSURED, true, reason, "", now);
            for condition in [restored, ensured] {
                condition::set(&mut status.conditions, condition);
            }
            status.phase = Some(phase::backup_verification_session(&status));
            let mut actions: Vec<Action> = Action::status(session.status.as_ref(), &status).into_iter().collect();
            actions.push(Action::Function(run));
            actions
        }
        Step::Wait(later) => {
            status.phase = Some(phase::backup_verification_session(&status));
            let mut actions: Vec<Action> = Action::status(session.status.as_ref(), &status).into_iter().collect();
            actions.extend(later.map(Action::Later));
            actions
        }
    }
}

fn step(observed: &Observed, now: Timestamp) -> Step {
    let untried = |why: &str| Step::Over(Verdict::Untried(why.to_owned()));
    if first_use::is_another(&observed.session) {
        return untried("its spec was changed: what a session tries stays as it was made; start another session");
    }
    let (verifier, snapshot) = match (&observed.verifier, &observed.snapshot) {
        (Err(why), _) | (_, Err(why)) => return untried(why),
        (Ok(verifier), Ok(snapshot)) => (verifier, snapshot),
    };
    let restore = match &observed.restore {
        Some(Err(why)) => return untried(why),
        Some(Ok(restore)) => restore,
        None if was_restored(observed) => return untried("what was restored was removed before it had been looked at"),
        None if verification_status(snapshot) == Some(VerificationStatus::Verified) => return Step::Over(Verdict::Skipped),
        None if age(observed.session.metadata.creation_timestamp.as_ref(), now) > WAIT_MAX => {
            return untried("its restore could not be made within a day: too many others were under way, or the controller may make no claims");
        }
        None if !observed.has_turn => return Step::Wait(Some(TURN_PAUSE)),
        None => {
            return match restore::of(observed, snapshot, verifier) {
                Ok(restore) => Step::Begin(Box::new(restore)),
                Err(why) => untried(&why),
            };
        }
    };
    match restore.status.as_ref().and_then(|status| status.phase) {
        Some(RestorePhase::Succeeded) => match (check::of(observed), &observed.check) {
            (None, _) | (_, Some(Standing::Ended(Ok(())))) => Step::Over(Verdict::Verified),
            (_, Some(Standing::Ended(Err(why)))) => Step::Over(Verdict::Refuted(why.clone())),
            (_, Some(Standing::Running)) => Step::Wait(None),
            // After a crash it goes on with the pod that is there.
            (Some(run), None) => Step::Check(Box::new(run)),
        },
        Some(RestorePhase::Failed) if is_blameless(restore) => untried(&problem(restore)),
        Some(RestorePhase::Failed) => Step::Over(Verdict::Failed(problem(restore))),
        Some(RestorePhase::Invalid) => untried(&problem(restore)),
        _ => waits(observed, restore, now),
    }
}

fn was_restored(observed: &Observed) -> bool {
    observed.session.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, kinds::RESTORE_SUCCEEDED))
}

fn age(created: Option<&Time>, now: Timestamp) -> SignedDuration {
    created.map_or(SignedDuration::ZERO, |created| now.duration_since(created.0))
}

/// It has begun, or must soon.
fn waits(observed: &Observed, restore: &RestoreSession, now: Timestamp) -> Step {
    if restore.status.as_ref().is_some_and(|status| status.restore_deadline.is_some()) {
        return Step::Wait(None);
    }
    let left = BEGIN_WITHIN - age(restore.metadata.creation_timestamp.as_ref(), now);
    if left.is_positive() {
        return Step::Wait(Some(left.unsigned_abs()));
    }
    let why = match observed.unbound.as_slice() {
        [] => "no pod or no agent was there for its claims".to_owned(),
        unbound => format!(
            "no volume was found for PersistentVolumeClaim {}: the verifier's volumeClaimTemplates say of which class and size it is",
            unbound.join(", ")
        ),
    };
    Step::Over(Verdict::Untried(format!("its restore could not begin within an hour: {why}")))
}

/// Whether what went wrong with a restore says nothing of the backup.
fn is_blameless(restore: &RestoreSession) -> bool {
    restore.status.as_ref().is_some_and(|status| condition::is_false(&status.conditions, restore_kinds::BACKUP_AT_FAULT))
}

/// What a restore says went wrong.
fn problem(restore: &RestoreSession) -> String {
    let Some(status) = &restore.status else { return String::new() };
    let invalid = condition::get(&status.conditions, shared::VALIDATION_PASSED).filter(|condition| condition.status == "False");
    if let Some(message) = invalid.and_then(|condition| condition.message.clone()) {
        return message;
    }
    let failed = status.components.iter().filter_map(|(name, component)| Some(format!("component {name}: {}", component.error.as_ref()?)));
    failed.collect::<Vec<_>>().join("; ")
}

fn verification_status(snapshot: &Snapshot) -> Option<VerificationStatus> {
    snapshot.status.as_ref().and_then(|status| status.verification_status)
}

/// The Snapshot says it first: whoever sees the session's end finds it there.
fn end(observed: &Observed, mut status: BackupVerificationSessionStatus, verdict: Verdict, now: Timestamp) -> Vec<Action> {
    let mut actions: Vec<Action> = mark(observed, &verdict).into_iter().collect();
    for condition in conditions(&verdict, now) {
        condition::set(&mut status.conditions, condition);
    }
    actions.extend(history::clean(observed, verdict == Verdict::Skipped));
    let cleaned = kinds::SUCCESSFULLY_CLEANED_VERIFICATION_SESSION_HISTORY;
    condition::set(&mut status.conditions, Condition::new(kinds::VERIFICATION_SESSION_HISTORY_CLEANED, true, cleaned, "", now));
    status.phase = Some(phase::backup_verification_session(&status));
    let taken = age(observed.session.metadata.creation_timestamp.as_ref(), now).max(SignedDuration::ZERO);
    status.duration = Some(duration::format(taken.unsigned_abs()));
    actions.extend(Action::status(observed.session.status.as_ref(), &status));
    actions.extend(clean_up(observed));
    actions.extend(told(observed, &verdict, &status));
    actions
}

fn mark(observed: &Observed, verdict: &Verdict) -> Option<Action> {
    let snapshot = observed.snapshot.as_ref().ok()?;
    let found = match verdict {
        Verdict::Skipped => return None,
        Verdict::Verified => VerificationStatus::Verified,
        Verdict::Failed(_) | Verdict::Refuted(_) => VerificationStatus::VerificationFailed,
        // What an earlier try found still holds.
        Verdict::Untried(_) if verification_status(snapshot).is_some() => return None,
        Verdict::Untried(_) => VerificationStatus::NotVerified,
    };
    Some(Action::StatusOf {
        key: Key::of(Kind::Snapshot, &snapshot.metadata),
        status: json!({"verificationStatus": found, "verificationSession": observed.session.metadata.name}),
    })
}

fn conditions(verdict: &Verdict, now: Timestamp) -> Vec<Condition> {
    match verdict {
        Verdict::Skipped => vec![Condition::new(kinds::BACKUP_VERIFICATION_SKIPPED, true, kinds::SNAPSHOT_ALREADY_VERIFIED, "", now)],
        Verdict::Verified => vec![
            Condition::new(kinds::RESTORE_SUCCEEDED, true, kinds::SUCCESSFULLY_RESTORED_BACKUP, "", now),
            Condition::new(kinds::BACKUP_VERIFIED, true, kinds::SUCCESSFULLY_VERIFIED_BACKUP, "", now),
        ],
        Verdict::Refuted(why) => vec![
            Condition::new(kinds::RESTORE_SUCCEEDED, true, kinds::SUCCESSFULLY_RESTORED_BACKUP, "", now),
            Condition::new(kinds::BACKUP_VERIFIED, false, kinds::FAILED_TO_VERIFY_BACKUP, why.clone(), now),
        ],
        Verdict::Failed(why) | Verdict::Untried(why) => {
            vec![Condition::new(kinds::RESTORE_SUCCEEDED, false, kinds::FAILED_TO_RESTORE_BACKUP, why.clone(), now)]
        }
    }
}

/// The restore goes, and with it the claims that it owns.
fn clean_up(observed: &Observed) -> Vec<Action> {
    let Some(Ok(restore)) = &observed.restore else { return Vec::new() };
    if restore.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    vec![Action::Delete { key: Key::of(Kind::RestoreSession, &restore.metadata), uid: restore.metadata.uid.clone().unwrap_or_default() }]
}

/// At the session; what is bad also where people look: at what takes the backups.
fn told(observed: &Observed, verdict: &Verdict, status: &BackupVerificationSessionStatus) -> Vec<Action> {
    let snapshot = observed.snapshot.as_ref().ok().and_then(|snapshot| snapshot.metadata.name.as_deref());
    let what = snapshot.or(observed.session.spec.snapshot.as_deref()).unwrap_or_default();
    let taken = status.duration.as_deref().unwrap_or_default();
    let (reason, message) = match verdict {
        Verdict::Skipped => return vec![Action::normal("Skipped", format!("Snapshot {what} was verified before"))],
        Verdict::Verified => return vec![Action::normal("Verified", format!("Snapshot {what} was restored into claims of its own in {taken}"))],
        Verdict::Failed(why) => ("VerificationFailed", format!("Snapshot {what} could not be restored: {why}")),
        Verdict::Refuted(why) => ("VerificationFailed", format!("Snapshot {what} was restored, and is not what it should be: {why}")),
        Verdict::Untried(why) => ("NotVerified", format!("Snapshot {what} could not be tried out: {why}")),
    };
    let mut actions = vec![Action::warning(reason, message.clone())];
    if let Some(invoker) = &observed.invoker {
        let note = Note { warning: true, reason: reason.into(), message };
        actions.push(Action::About(Box::new(reference(invoker)), note));
    }
    actions
}

fn reference(invoker: &crate::invoker::Invoker) -> ObjectReference {
    let owner = invoker.owner_reference();
    ObjectReference {
        api_version: Some(owner.api_version),
        kind: Some(owner.kind),
        namespace: invoker.metadata().namespace.clone(),
        name: Some(owner.name),
        uid: Some(owner.uid),
        ..ObjectReference::default()
    }
}

/// Whether a try said that the backup is bad, or that nobody could tell.
pub(super) fn has_failed(status: Option<&BackupVerificationSessionStatus>) -> bool {
    status.and_then(|status| status.phase) == Some(BackupVerificationSessionPhase::Failed)
}
