//! What the leader before has left with agents. It is taken over by being asked for; until it can be, nothing is decided about it: a backup
//! may have ended well while nobody led, and its agent needs a moment to come and say so.

use holdfast_api::snapshot::{Component, ComponentPhase};

use super::Observed;
use super::plan::Pass;
use crate::dispatch::task::{TaskView, Wanted};
use crate::target::Reach;

/// Whether an agent may have this component, though nobody has asked for it here. What runs for a pod that is no longer there is not left to
/// run: nobody has told its agent to let go.
fn is_left(observed: &Observed, name: &str, component: &Component) -> bool {
    let brought = &observed.brought;
    if observed.tasks.contains_key(name) {
        return false;
    }
    if brought.running.contains(name) {
        return is_reached(observed, name);
    }
    let may_come = brought.more_within.is_some() && !brought.asked.contains(name);
    brought.ended.contains(name) || (may_come && component.phase == Some(ComponentPhase::Running))
}

fn is_reached(observed: &Observed, name: &str) -> bool {
    matches!(observed.reaches.get(name), Some(Reach::Ready(_) | Reach::Anywhere))
}

/// What has begun, or may have under the leader before: as it is, and the pods that hold its claims.
pub(super) fn begun(observed: &Observed) -> Vec<Wanted> {
    let here = observed.tasks.iter().filter(|(_, task)| !matches!(task, TaskView::Waiting(_))).map(|(name, _)| name);
    let components = observed.snapshot.status.iter().flat_map(|status| &status.components);
    let left = components.filter(|(name, component)| is_left(observed, name, component)).map(|(name, _)| name);
    here.chain(left).flat_map(|name| kept(observed, name)).collect()
}

fn kept(observed: &Observed, name: &str) -> Vec<Wanted> {
    let hold = match observed.reaches.get(name) {
        Some(Reach::Ready(access)) if !matches!(observed.tasks.get(name), Some(TaskView::Finished { .. })) => access.held.clone(),
        _ => None,
    };
    hold.map(Wanted::Hold).into_iter().chain([Wanted::Keep(name.to_owned())]).collect()
}

impl Pass<'_> {
    /// Leaves a component as it is, for as long as agents may take to come, if one may have it. What is known to be with one is asked for as
    /// soon as its repository is open and its volume reached.
    pub(super) fn leave(&mut self, name: &str, component: &Component) -> bool {
        let observed = self.observed;
        let Some(left) = observed.brought.more_within else { return false };
        let is_brought = observed.brought.running.contains(name) || observed.brought.ended.contains(name);
        let can_be_asked_for = is_brought && is_reached(observed, name) && matches!(self.open_repository(), Ok(Some(_)));
        if can_be_asked_for || !is_left(observed, name, component) {
            return false;
        }
        self.wanted.extend(kept(observed, name));
        self.look_again(left);
        true
    }
}
