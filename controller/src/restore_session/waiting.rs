//! What the components of a restore wait for: said in a condition, since an Event is gone in an hour and waiting may have no end.

use std::fmt::Display;

use holdfast_api::condition::kinds::restore_session::WAITING;
use holdfast_api::condition::{self, Condition};
use holdfast_api::restore_session::{ComponentRestoreStatus, RestorePhase, RestoreSessionStatus};

use super::plan::{LOOK_AGAIN, Pass};
use crate::action::Action;

/// Components that are named.
const NAMED_MAX: usize = 5;

impl Pass<'_> {
    /// It may have ended well while nobody led: its agent needs a moment to come and say so.
    pub(super) fn may_have_ended(&mut self, component: &ComponentRestoreStatus) -> bool {
        let left = self.observed.more_within.filter(|_| component.phase == Some(RestorePhase::Running));
        if let Some(left) = left {
            self.look_again(left);
        }
        left.is_some()
    }

    /// A component waits for this.
    pub(super) fn wait_for(&mut self, name: &str, what: impl Display) {
        let said = format!("component {name}: {what}");
        self.events.push(Action::normal("Waiting", said.clone()));
        self.waits.push(said);
        // Its end is not always announced, and what is waited for then may be another.
        self.look_again(LOOK_AGAIN);
    }

    pub(super) fn note_waiting(&self, status: &mut RestoreSessionStatus) {
        if self.waits.is_empty() {
            condition::remove(&mut status.conditions, WAITING);
            return;
        }
        let named: Vec<&str> = self.waits.iter().take(NAMED_MAX).map(String::as_str).collect();
        condition::set(&mut status.conditions, Condition::new(WAITING, true, WAITING, named.join("; "), self.now));
    }
}
