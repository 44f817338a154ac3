//! Is everything there, and is it what was written? Once a day the objects are looked at and the next thirtieth of the data is read: what
//! a day costs is bounded by that, and every byte is met once in thirty days, since each part begins where the one before has ended.

use std::time::Duration;

use holdfast_api::condition::kinds::repository as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::repository::RepositoryStatus;
use holdfast_api::size;
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_proto::v1;
use v1::task_failure::Reason;

use super::Upkeep;
use crate::action::Action;
use crate::dispatch::task::{Class, Outcome, TaskView, Work};
use crate::repository::CHECK;
use crate::repository::maintenance::Checks;

/// In so many parts all of it is read. A month: what is found rotten can mostly still be stored again, from a volume that has it or
/// by a Snapshot that retention has kept, and a day's part is small beside the day's backups of most.
const PARTS: u32 = 30;
/// Findings that are named.
const NAMED_MAX: usize = 5;

impl Upkeep<'_> {
    pub(super) fn check(&mut self, status: &mut RepositoryStatus) {
        if let Some(TaskView::Finished { outcome, .. }) = &self.observed.check {
            self.note_check(status, outcome);
            return;
        }
        let metadata = &self.observed.repository.metadata;
        let has_backup = self.observed.snapshots.iter().any(|snapshot| {
            snapshot.status.as_ref().and_then(|status| status.phase) == Some(SnapshotPhase::Succeeded)
        });
        if !has_backup {
            return;
        }
        let created = metadata.creation_timestamp.as_ref().map_or(self.now, |created| created.0);
        let due = self.maintenance.checks.due(&self.observed.pace, metadata.uid.as_deref().unwrap_or_default(), created, self.now);
        let Some(due) = due else { return };
        let left = due.duration_since(self.now);
        // One that waits for its turn does not lose it.
        if left.is_positive() && self.observed.check.is_none() {
            self.actions.push(Action::Later(left.unsigned_abs().max(Duration::from_millis(1))));
            return;
        }
        let work = Work::Check { repository: self.name.clone(), parts: PARTS, after: self.maintenance.checks.after.clone() };
        self.want(CHECK, Class::Maintenance, None, work);
    }

    fn note_check(&mut self, status: &mut RepositoryStatus, outcome: &Outcome) {
        match outcome {
            Outcome::Checked(result) => self.checked(status, result),
            Outcome::Failed(failure) if matches!(failure.reason(), Reason::RepositoryDamaged | Reason::NotARepository) => {
                self.damaged(status, &failure.message);
                self.maintenance.checks.done = Some(self.now);
            }
            // The place where it went on is not one any more, or never was: the next round begins.
            other => {
                if matches!(other, Outcome::Failed(failure) if failure.reason() == Reason::InvalidTask) {
                    self.maintenance.checks.after.clear();
                }
                self.maintenance.checks.not_before = self.now.checked_add(self.observed.pace.retry).ok();
                let message = other.problem().0;
                self.say(status, false, kinds::CHECK_FAILED, message.clone());
                self.actions.push(Action::warning(kinds::CHECK_FAILED, message));
            }
        }
    }

    fn checked(&mut self, status: &mut RepositoryStatus, result: &v1::CheckResult) {
        let checks = &mut self.maintenance.checks;
        let since = checks.since.filter(|_| !checks.after.is_empty()).unwrap_or(self.now);
        *checks = Checks { done: Some(self.now), after: result.next.clone(), since: Some(since), not_before: None };
        if !result.intact {
            let first: Vec<&str> = result.findings_first.iter().take(NAMED_MAX).map(String::as_str).collect();
            let more = match result.findings_count.saturating_sub(first.len() as u64) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            self.damaged(status, &format!("{}{more}", first.join("; ")));
            return;
        }
        status.integrity = Some(true);
        let (read, all) = (size::format(result.bytes_read), size::format(result.repository_bytes));
        let round = match result.next.as_str() {
            "" => format!("all of it was read since {since}"),
            _ => format!("in {PARTS} days all of it is read; this round began at {since}"),
        };
        self.say(status, true, kinds::CHECK_SUCCEEDED, format!("every object is there, and {read} of {all} are what was written; {round}"));
    }

    /// Of what is found a person must hear, and what to do.
    fn damaged(&mut self, status: &mut RepositoryStatus, what: &str) {
        status.integrity = Some(false);
        let message = format!(
            "{what}. Look with `holdfast check --read-data`, mend with `holdfast repair` (docs/repair.md); the next backup stores again what the volume still has"
        );
        self.say(status, false, kinds::DAMAGE_FOUND, message.clone());
        self.actions.push(Action::warning(kinds::DAMAGE_FOUND, message));
    }

    fn say(&self, status: &mut RepositoryStatus, is_well: bool, reason: &str, message: String) {
        condition::set(&mut status.conditions, Condition::new(kinds::INTEGRITY_CHECKED, is_well, reason, message, self.now));
    }
}
