//! One list of hooks, one after the other: what its next step is. Pure.

use holdfast_api::hook::{HookExecutionPolicy, HookExecutionStatus, HookInfo, HookPhase};

use super::{HookId, Standing};

/// A list of hooks and how they stand.
pub struct Stage<'a> {
    /// The hooks, in order.
    pub hooks: &'a [HookInfo],
    /// UID of the session.
    pub owner: &'a str,
    /// Whether they come before the work.
    pub before: bool,
    /// How the work ended; none before it.
    pub work_succeeded: Option<bool>,
}

/// What a stage needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Start this hook, or start it again after a restart of the controller.
    Start(HookId),
    /// One runs: its end wakes the session.
    Wait,
    /// All have ended; says which have failed.
    Ended(Result<(), String>),
}

impl Stage<'_> {
    /// Notes what has ended in `statuses`, and says what comes next. A failed hook before the work ends the stage: the work must not
    /// begin. Those after the work all have their turn.
    pub fn advance(&self, statuses: &mut Vec<HookExecutionStatus>, standing: impl Fn(&HookId) -> Option<Standing>) -> Next {
        let mut failures: Vec<String> = Vec::new();
        for (index, hook) in self.hooks.iter().enumerate() {
            if statuses.len() <= index {
                statuses.push(HookExecutionStatus { name: hook.name.clone(), phase: None });
            }
            match statuses[index].phase {
                Some(HookPhase::Succeeded) => continue,
                Some(HookPhase::Failed) => failures.push(title(hook, index)),
                _ if !self.is_wanted(hook) => continue,
                _ => {
                    let id = HookId { owner: self.owner.to_owned(), before: self.before, index };
                    match standing(&id) {
                        None => {
                            statuses[index].phase = Some(HookPhase::Pending);
                            return Next::Start(id);
                        }
                        Some(Standing::Running) => return Next::Wait,
                        Some(Standing::Ended(Ok(()))) => statuses[index].phase = Some(HookPhase::Succeeded),
                        Some(Standing::Ended(Err(error))) => {
                            statuses[index].phase = Some(HookPhase::Failed);
                            failures.push(format!("{}: {error}", title(hook, index)));
                        }
                    }
                }
            }
            if self.before && !failures.is_empty() {
                break;
            }
        }
        Next::Ended(if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) })
    }

    fn is_wanted(&self, hook: &HookInfo) -> bool {
        match (hook.execution_policy, self.work_succeeded) {
            (None | Some(HookExecutionPolicy::Always), _) | (_, None) => true,
            (Some(HookExecutionPolicy::OnSuccess), Some(succeeded)) => succeeded,
            (Some(HookExecutionPolicy::OnFailure), Some(succeeded)) => !succeeded,
        }
    }
}

fn title(hook: &HookInfo, index: usize) -> String {
    match hook.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("hook {name:?}"),
        None => format!("hook {index}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn hooks(policies: &[Option<HookExecutionPolicy>]) -> Vec<HookInfo> {
        let named = |(index, policy): (usize, &Option<HookExecutionPolicy>)| HookInfo {
            name: Some(format!("h{index}")),
            execution_policy: *policy,
            ..HookInfo::default()
        };
        policies.iter().enumerate().map(named).collect()
    }

    /// Runs a stage whose hooks end as `results` say; which were started, in which order, and how it ended.
    fn carried_out(stage: &Stage<'_>, results: &[Result<(), String>]) -> (Vec<usize>, Result<(), String>, Vec<HookExecutionStatus>) {
        let (mut statuses, mut started, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for _ in 0..50 {
            match stage.advance(&mut statuses, |id| known.get(id).cloned()) {
                Next::Start(id) => {
                    started.push(id.index);
                    known.insert(id, Standing::Running);
                }
                Next::Wait => {
                    let running = known.iter_mut().find(|(_, standing)| **standing == Standing::Running).unwrap();
                    *running.1 = Standing::Ended(results[running.0.index].clone());
                }
                Next::Ended(result) => return (started, result, statuses),
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn before_the_work_the_first_failure_ends_it() {
        let hooks = hooks(&[None, None, None]);
        let stage = Stage { hooks: &hooks, owner: "u", before: true, work_succeeded: None };
        let (started, result, statuses) = carried_out(&stage, &[Ok(()), Err("no".into()), Ok(())]);
        assert_eq!(started, [0, 1]);
        assert_eq!(result, Err("hook \"h1\": no".to_owned()));
        let phases: Vec<_> = statuses.iter().map(|status| status.phase).collect();
        assert_eq!(phases, [Some(HookPhase::Succeeded), Some(HookPhase::Failed)]);
    }

    #[test]
    fn after_the_work_policies_decide_and_all_have_their_turn() {
        use HookExecutionPolicy::{Always, OnFailure, OnSuccess};
        let hooks = hooks(&[Some(Always), Some(OnSuccess), Some(OnFailure), None]);
        for (succeeded, expected) in [(true, vec![0, 1, 3]), (false, vec![0, 2, 3])] {
            let stage = Stage { hooks: &hooks, owner: "u", before: false, work_succeeded: Some(succeeded) };
            let (started, result, _) = carried_out(&stage, &[Err("no".into()), Ok(()), Ok(()), Ok(())]);
            assert_eq!(started, expected);
            assert!(result.is_err());
        }
    }

    #[test]
    fn what_has_ended_is_not_run_again_after_a_restart_and_what_has_not_is() {
        let hooks = hooks(&[None, None]);
        let stage = Stage { hooks: &hooks, owner: "u", before: true, work_succeeded: None };
        let status = |name: &str, phase| HookExecutionStatus { name: Some(name.to_owned()), phase: Some(phase) };
        let mut statuses = vec![status("h0", HookPhase::Succeeded), status("h1", HookPhase::Pending)];
        let next = stage.advance(&mut statuses, |_| None);
        assert_eq!(next, Next::Start(HookId { owner: "u".into(), before: true, index: 1 }));
    }
}
