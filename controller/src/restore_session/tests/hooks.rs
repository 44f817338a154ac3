//! Hooks before and after a restore, step by step as the controller looks at it again and again.

use holdfast_api::labels::FINALIZER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::hooks::call::Call;
use crate::hooks::{HookId, Standing};

/// A restore with hooks, looked at until nothing is left to do.
struct Course {
    observed: Observed,
    /// Hooks that were started, by name.
    started: Vec<String>,
}

impl Course {
    fn new(hooks: Value) -> Self {
        let mut restore = restore(json!({}), Value::Null);
        if hooks.get("postRestore").is_some() {
            restore.metadata.finalizers = Some(vec![FINALIZER.into()]);
        }
        restore.spec.hooks = Some(serde_json::from_value(hooks).unwrap());
        Self { observed: observed(restore), started: Vec::new() }
    }

    /// One look; its status is written. The hook that it starts, if one.
    fn look(&mut self) -> (Vec<Action>, Option<Call>) {
        let actions = plan(&self.observed, now());
        if let Some(patch) = actions.iter().find_map(|action| match action {
            Action::Status(patch) => Some(patch),
            _ => None,
        }) {
            let mut written = serde_json::to_value(self.observed.restore.as_ref()).unwrap();
            merge(&mut written, &json!({"status": patch}));
            self.observed.restore = Arc::new(serde_json::from_value(written).unwrap());
        }
        let call = actions.iter().find_map(|action| match action {
            Action::Hook(call) => Some(call.as_ref().clone()),
            _ => None,
        });
        if let Some(call) = &call {
            self.started.push(call.hook.name.clone().unwrap_or_default());
            self.observed.hooks.insert(call.id.clone(), Standing::Running);
        }
        (actions, call)
    }

    fn end_hook(&mut self, id: &HookId, result: Result<(), &str>) {
        self.observed.hooks.insert(id.clone(), Standing::Ended(result.map_err(str::to_owned)));
    }

    fn phase(&self) -> String {
        let status = self.observed.restore.status.clone().unwrap_or_default();
        status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default()
    }

    fn condition(&self, type_: &str) -> Option<String> {
        let status = self.observed.restore.status.clone().unwrap_or_default();
        let found = holdfast_api::condition::get(&status.conditions, type_)?;
        let status = serde_json::to_value(&found.status).unwrap();
        Some(format!("{}/{}", status.as_str().unwrap(), found.reason.clone().unwrap_or_default()))
    }
}

pub(super) fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else { return *target = patch.clone() };
    for (key, value) in patch {
        match value {
            Value::Null => _ = target.remove(key),
            value => merge(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

fn hook(name: &str, policy: &str) -> Value {
    json!({"name": name, "hookTemplate": {"name": "t"}, "executionPolicy": policy})
}

fn succeeded() -> TaskView {
    finished(Outcome::Restore(Default::default()))
}

#[test]
fn nothing_is_written_before_the_hooks_before_it_have_succeeded() {
    let mut course = Course::new(json!({"preRestore": [hook("stop", "Always"), hook("wait", "Always")]}));
    let (actions, call) = course.look();
    let call = call.unwrap();
    assert_eq!((requests(&actions).len(), course.phase().as_str()), (0, "Running"));
    assert_eq!((call.summary.phase.as_str(), call.target_namespace.as_str()), ("Running", "demo"));
    let (actions, again) = course.look();
    assert!(again.is_none() && requests(&actions).is_empty(), "while it runs nothing is started");
    course.end_hook(&call.id, Ok(()));
    let (actions, call) = course.look();
    assert_eq!(requests(&actions).len(), 0);
    course.end_hook(&call.unwrap().id, Ok(()));
    let (actions, _) = course.look();
    assert_eq!(requests(&actions).len(), 1, "now the restore begins");
    assert_eq!(course.condition("PreRestoreHooksExecutionSucceeded").unwrap(), "True/SuccessfullyExecutedPreRestoreHooks");
    assert_eq!(course.started, ["stop", "wait"]);
}

#[test]
fn a_failed_hook_before_it_fails_the_restore_and_those_after_it_are_told() {
    let after = json!([hook("praise", "OnSuccess"), hook("alarm", "OnFailure")]);
    let mut course = Course::new(json!({"preRestore": [hook("stop", "Always")], "postRestore": after}));
    let (_, call) = course.look();
    course.end_hook(&call.unwrap().id, Err("exit code 1"));
    let (actions, call) = course.look();
    let call = call.unwrap();
    assert!(requests(&actions).is_empty(), "nothing is restored");
    assert_eq!(call.hook.name.as_deref(), Some("alarm"));
    assert_eq!((call.summary.phase.as_str(), call.summary.error.as_str()), ("Failed", "hook \"stop\": exit code 1"));
    course.end_hook(&call.id, Ok(()));
    course.look();
    assert_eq!(course.phase(), "Failed");
    assert_eq!(course.condition("PreRestoreHooksExecutionSucceeded").unwrap(), "False/FailedToExecutePreRestoreHooks");
    assert_eq!(course.started, ["stop", "alarm"]);
}

#[test]
fn the_restore_ends_with_its_last_hook() {
    let mut course = Course::new(json!({"postRestore": [hook("start", "OnSuccess")]}));
    course.look();
    course.observed.tasks.insert("dump".into(), succeeded());
    let (_, call) = course.look();
    let call = call.unwrap();
    assert_eq!((course.phase().as_str(), call.summary.phase.as_str()), ("Running", "Succeeded"));
    course.end_hook(&call.id, Ok(()));
    course.look();
    assert_eq!(course.phase(), "Succeeded");
    assert_eq!(course.observed.restore.status.as_ref().unwrap().hooks.as_ref().unwrap().post_hooks.len(), 1);

    let mut course = Course::new(json!({"postRestore": [hook("start", "Always")]}));
    course.look();
    course.observed.tasks.insert("dump".into(), succeeded());
    let (_, call) = course.look();
    course.end_hook(&call.unwrap().id, Err("no answer"));
    course.look();
    assert_eq!(course.phase(), "Failed", "a restore whose application was not started again is none");
}

fn finalizers(actions: &[Action]) -> Option<&Value> {
    actions.iter().find_map(|action| match action {
        Action::Patch { patch, .. } => Some(&patch["metadata"]["finalizers"]),
        _ => None,
    })
}

#[test]
fn a_restore_that_is_deleted_while_it_runs_goes_after_the_hooks_after_it() {
    let hooks = json!({"preRestore": [hook("stop", "Always")], "postRestore": [hook("praise", "OnSuccess"), hook("start", "Always")]});
    let mut course = Course::new(hooks);
    let mut unheld = course.observed.clone();
    Arc::make_mut(&mut unheld.restore).metadata.finalizers = None;
    assert_eq!(finalizers(&plan(&unheld, now())), Some(&json!([FINALIZER])), "before anything runs");
    let (_, stop) = course.look();
    course.end_hook(&stop.unwrap().id, Ok(()));
    let (actions, _) = course.look();
    assert_eq!(requests(&actions).len(), 1);
    Arc::make_mut(&mut course.observed.restore).metadata.deletion_timestamp = Some(Time(now()));
    course.observed.has_tasks = true;
    let (actions, call) = course.look();
    assert!(call.is_none() && actions.contains(&Action::Tasks(Vec::new())), "an agent may still write: {actions:?}");
    course.observed.has_tasks = false;
    let (actions, call) = course.look();
    let call = call.unwrap();
    assert_eq!((call.summary.phase.as_str(), call.summary.error.as_str()), ("Failed", "component dump: the RestoreSession was deleted"));
    assert_eq!(finalizers(&actions), None);
    course.end_hook(&call.id, Ok(()));
    let (actions, _) = course.look();
    assert_eq!(finalizers(&actions), Some(&json!([])));
    assert!(actions.contains(&Action::HooksOver));
    assert_eq!(course.started, ["stop", "start"]);
}

#[test]
fn a_restore_that_is_deleted_before_it_began_goes_at_once() {
    let mut course = Course::new(json!({"postRestore": [hook("start", "Always")]}));
    Arc::make_mut(&mut course.observed.restore).metadata.deletion_timestamp = Some(Time(now()));
    let (actions, call) = course.look();
    assert!(call.is_none() && finalizers(&actions) == Some(&json!([])), "{actions:?}");
}
