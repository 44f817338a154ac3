//! The hooks before or after the work of one session: carried out step by step, and their condition set when they have ended.

use std::collections::HashMap;

use holdfast_api::condition::{self, Condition};
use holdfast_api::hook::{HookExecutionStatus, HookInfo};
use jiff::Timestamp;

use super::call::Call;
use super::stage::{Next, Stage};
use super::summary::Summary;
use super::{HookId, Standing};
use crate::action::Action;

/// A condition's type, and its reasons when True and when False.
pub type Words = (&'static str, &'static str, &'static str);

/// The hooks of one side of one session.
pub struct Round<'a> {
    /// The hooks, in order.
    pub hooks: &'a [HookInfo],
    /// UID of the session.
    pub owner: &'a str,
    /// How the work ended; none before it.
    pub work_succeeded: Option<bool>,
    /// Namespace of the target.
    pub target_namespace: &'a str,
    /// What templates speak of.
    pub summary: Summary,
    /// How the session's hooks stand.
    pub standings: &'a HashMap<HookId, Standing>,
    /// The condition.
    pub words: Words,
}

/// How a round stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// All have ended, or there are none.
    Done,
    /// One runs, or is to be started by this action.
    Busy(Option<Action>),
}

impl Round<'_> {
    /// Goes on, and notes in status and conditions what has ended.
    pub fn go_on(self, statuses: &mut Vec<HookExecutionStatus>, conditions: &mut Vec<Condition>, now: Timestamp) -> Turn {
        let (type_, succeeded, failed) = self.words;
        if self.hooks.is_empty() || condition::has(conditions, type_) {
            return Turn::Done;
        }
        let stage = Stage {
            hooks: self.hooks,
            owner: self.owner,
            before: self.work_succeeded.is_none(),
            work_succeeded: self.work_succeeded,
        };
        match stage.advance(statuses, |id| self.standings.get(id).cloned()) {
            Next::Wait => Turn::Busy(None),
            Next::Start(id) => {
                let call = Call {
                    hook: self.hooks[id.index].clone(),
                    id,
                    namespace: self.summary.namespace.clone(),
                    target_namespace: self.target_namespace.to_owned(),
                    summary: self.summary,
                };
                Turn::Busy(Some(Action::Hook(Box::new(call))))
            }
            Next::Ended(Ok(())) => {
                condition::set(conditions, Condition::new(type_, true, succeeded, "", now));
                Turn::Done
            }
            Next::Ended(Err(failures)) => {
                condition::set(conditions, Condition::new(type_, false, failed, failures, now));
                Turn::Done
            }
        }
    }
}
