//! A restore that has begun, and misses something that was there then. Nothing of it is written meanwhile; and it ends some day, for its
//! volumes are half written and the backups of its target wait.

use holdfast_api::condition::kinds::restore_session as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::phase;
use holdfast_api::restore_session::{RestorePhase, RestoreSessionStatus};
use jiff::{SignedDuration, Timestamp};

use super::Observed;
use super::plan::{LOOK_AGAIN, Pass, TOO_LATE, pause, write};
use crate::action::Action;

/// How long what it reads from may be away: somebody who has removed that by mistake can apply it again. It comes back by nothing else, so
/// nobody is to wait for longer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What is to be done about one that misses this.
pub(super) fn plan(observed: &Observed, mut status: RestoreSessionStatus, missing: String, now: Timestamp) -> Vec<Action> {
    let mut run = Pass::new(observed, now);
    // What has failed or is complete needs nothing more of it.
    if !matches!(phase::restored_components(&status), RestorePhase::Succeeded | RestorePhase::Failed) {
        let deadline = status.restore_deadline.as_ref().map(|deadline| (deadline.0.duration_since(now), TOO_LATE.to_owned()));
        let ends = [deadline, patience(observed, &mut status, now)].into_iter().flatten();
        match ends.min_by_key(|(left, _)| *left) {
            Some((left, why)) if left <= SignedDuration::ZERO => run.break_off(&mut status, &why),
            next => {
                let later = next.map_or(LOOK_AGAIN, |(left, _)| LOOK_AGAIN.min(left.unsigned_abs()));
                let mut actions = write(observed, &status);
                actions.extend([Action::Tasks(Vec::new()), Action::normal("Waiting", missing), Action::Later(later)]);
                return actions;
            }
        }
    }
    pause(observed, &mut status);
    run.end(&mut status);
    run.finish(status)
}

/// How long what it reads from may still be away, and what that is; none if it is there.
fn patience(observed: &Observed, status: &mut RestoreSessionStatus, now: Timestamp) -> Option<(SignedDuration, String)> {
    let Some(why) = source_gone(observed) else {
        condition::remove(&mut status.conditions, kinds::RESTORE_SOURCE_FOUND);
        return None;
    };
    let gone = Condition::new(kinds::RESTORE_SOURCE_FOUND, false, kinds::RESTORE_SOURCE_GONE, &why, now);
    condition::set(&mut status.conditions, gone);
    // In the status, so that a change of leaders does not begin it anew.
    let since = condition::get(&status.conditions, kinds::RESTORE_SOURCE_FOUND).map_or(now, |gone| gone.last_transition_time.0);
    Some((PATIENCE - now.duration_since(since), why))
}

/// Why there is nothing to read from.
fn source_gone(observed: &Observed) -> Option<String> {
    let name = match &observed.chosen {
        Ok(name) => name,
        Err(why) => return Some(why.clone()),
    };
    let Some(snapshot) = &observed.snapshot else { return Some(format!("Snapshot {name} does not exist")) };
    let repository = snapshot.spec.repository.as_deref().unwrap_or_default();
    observed.repository.is_none().then(|| format!("Repository {repository} does not exist"))
}

impl Pass<'_> {
    /// It fails for what tells nothing of the backup.
    fn break_off(&mut self, status: &mut RestoreSessionStatus, why: &str) {
        self.blame.elsewhere(why);
        for component in status.components.values_mut().filter(|component| !component.phase.is_some_and(RestorePhase::is_terminal)) {
            self.fail_elsewhere(component, why);
        }
        self.blame.note(status, self.now);
        let reason = kinds::RESTORE_EXECUTOR_TERMINATED_BEFORE_COMPLETION;
        condition::set(&mut status.conditions, Condition::new(kinds::RESTORE_INCOMPLETE, true, reason, why, self.now));
    }
}
