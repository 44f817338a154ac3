//! Hooks before and after a backup.

use serde_json::{Value, json};

use holdfast_api::labels::FINALIZER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::hooks::{Hold, hold};
use super::*;
use crate::hooks::call::Call;
use crate::hooks::{HookId, Standing};

fn with_hooks(hooks: Value, status: Value) -> Observed {
    let mut session = session("s", status);
    if hooks.get("postBackup").is_some() {
        session.metadata.finalizers = Some(vec![FINALIZER.into()]);
    }
    let mut seen = observed(session);
    seen.invoker = Some(configuration(json!({"sessions": [{
        "name": "daily", "hooks": hooks, "repositories": [{"name": "near"}, {"name": "far"}],
    }]})).into());
    seen
}

fn hook(name: &str, policy: &str) -> Value {
    json!({"name": name, "hookTemplate": {"name": "t"}, "executionPolicy": policy})
}

/// One look, and its status written.
fn look(seen: &mut Observed) -> (Vec<Action>, Option<Call>) {
    let (status, actions) = after(seen, now());
    let mut session = seen.session.as_ref().clone();
    session.status = Some(status);
    seen.session = Arc::new(session);
    let call = actions.iter().find_map(|action| match action {
        Action::Hook(call) => Some(call.as_ref().clone()),
        _ => None,
    });
    if let Some(call) = &call {
        seen.hooks.insert(call.id.clone(), Standing::Running);
    }
    (actions, call)
}

fn end(seen: &mut Observed, id: &HookId, result: Result<(), &str>) {
    seen.hooks.insert(id.clone(), Standing::Ended(result.map_err(str::to_owned)));
}

fn held(seen: &Observed) -> Hold {
    hold(&seen.session, &seen.spec().unwrap())
}

#[test]
fn snapshots_wait_for_the_hooks_before_them() {
    let mut seen = with_hooks(json!({"preBackup": [hook("freeze", "Always")]}), begun(["Pending", "Pending"]));
    assert_eq!(held(&seen), Hold::Wait, "also before the session was looked at");
    let (_, call) = look(&mut seen);
    let call = call.unwrap();
    assert_eq!((call.hook.name.as_deref(), call.namespace.as_str(), call.summary.phase.as_str()), (Some("freeze"), "demo", "Running"));
    assert_eq!(held(&seen), Hold::Wait);
    assert!(look(&mut seen).1.is_none(), "it runs once");
    end(&mut seen, &call.id, Ok(()));
    look(&mut seen);
    assert_eq!(held(&seen), Hold::Go);
    assert_eq!(held(&with_hooks(json!({"postBackup": [hook("x", "Always")]}), Value::Null)), Hold::Go);
}

#[test]
fn a_failed_hook_before_it_fails_the_backup_and_tells_the_hooks_after_it() {
    let hooks = json!({"preBackup": [hook("freeze", "Always")], "postBackup": [hook("praise", "OnSuccess"), hook("alarm", "OnFailure")]});
    let mut seen = with_hooks(hooks, begun(["Pending", "Pending"]));
    let call = look(&mut seen).1.unwrap();
    end(&mut seen, &call.id, Err("exit code 1"));
    look(&mut seen);
    assert!(matches!(held(&seen), Hold::Failed(why) if why.contains("hook \"freeze\": exit code 1")));
    seen.snapshots = [snapshot("near-s", "Failed", "Failed"), snapshot("far-s", "Failed", "Failed")].into();
    let call = look(&mut seen).1.unwrap();
    assert_eq!(call.hook.name.as_deref(), Some("alarm"));
    assert!(call.summary.phase == "Failed" && call.summary.error.contains("exit code 1"), "{:?}", call.summary);
    end(&mut seen, &call.id, Ok(()));
    look(&mut seen);
    let status = seen.session.status.clone().unwrap();
    assert_eq!(phase(&status), "Failed");
    let order: Vec<_> = status.conditions.iter().map(|condition| condition.type_.clone()).collect();
    assert!(order.ends_with(&["PostBackupHooksExecutionSucceeded".into(), "SessionHistoryCleaned".into(), "MetricsPushed".into()]), "{order:?}");
}

#[test]
fn the_backup_ends_with_its_last_hook() {
    let mut seen = with_hooks(json!({"postBackup": [hook("thaw", "Always")]}), begun(["Succeeded", "Succeeded"]));
    seen.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Succeeded", "Succeeded")].into();
    let call = look(&mut seen).1.unwrap();
    assert_eq!(call.summary.phase, "Succeeded");
    assert_ne!(phase(seen.session.status.as_ref().unwrap()), "Succeeded", "not while a hook runs");
    end(&mut seen, &call.id, Ok(()));
    let (actions, _) = look(&mut seen);
    assert_eq!(phase(seen.session.status.as_ref().unwrap()), "Succeeded");
    assert!(actions.contains(&Action::HooksOver));
}

#[test]
fn a_cancelled_backup_runs_the_hooks_after_it() {
    let hooks = json!({"preBackup": [hook("freeze", "Always")], "postBackup": [hook("praise", "OnSuccess"), hook("thaw", "Always")]});
    let mut seen = with_hooks(hooks, begun(["Pending", "Pending"]));
    let freeze = look(&mut seen).1.unwrap();
    let running = seen.invoker.clone();
    let crate::invoker::Invoker::Configuration(configuration) = running.clone().unwrap() else { panic!() };
    let mut paused = configuration.as_ref().clone();
    paused.spec.paused = Some(true);
    seen.invoker = Some(paused.into());
    assert!(look(&mut seen).1.is_none(), "the hook that runs comes to its end");
    assert!(super::super::plan::is_cancelled(&seen.session), "its Snapshots stop meanwhile");
    end(&mut seen, &freeze.id, Ok(()));
    // Resumed already: cancelled it stays.
    seen.invoker = running;
    let thaw = look(&mut seen).1.unwrap();
    assert_eq!((thaw.hook.name.as_deref(), thaw.summary.phase.as_str()), (Some("thaw"), "Failed"));
    assert!(!crate::backup_session::claims::has_ended(&seen.session), "not while it runs");
    end(&mut seen, &thaw.id, Ok(()));
    let (actions, _) = look(&mut seen);
    assert_eq!(phase(seen.session.status.as_ref().unwrap()), "Failed");
    assert!(actions.contains(&Action::HooksOver));
}

fn change(seen: &mut Observed, change: impl FnOnce(&mut BackupSession)) {
    let mut session = seen.session.as_ref().clone();
    change(&mut session);
    seen.session = Arc::new(session);
}

fn finalizers(actions: &[Action]) -> Option<&Value> {
    actions.iter().find_map(|action| match action {
        Action::Patch { patch, .. } => Some(&patch["metadata"]["finalizers"]),
        _ => None,
    })
}

#[test]
fn hooks_after_it_hold_a_session_before_those_before_it_begin() {
    let hooks = json!({"preBackup": [hook("freeze", "Always")], "postBackup": [hook("thaw", "Always")]});
    let mut seen = with_hooks(hooks, begun(["Pending", "Pending"]));
    change(&mut seen, |session| session.metadata.finalizers = None);
    let actions = plan(&seen, now());
    assert!(actions.len() == 1 && finalizers(&actions) == Some(&json!([FINALIZER])), "{actions:?}");
    let none = with_hooks(json!({"preBackup": [hook("freeze", "Always")]}), begun(["Pending", "Pending"]));
    assert_eq!(finalizers(&plan(&none, now())), None, "nothing is to be done after it");
}

#[test]
fn a_session_that_is_deleted_while_it_runs_goes_after_the_hooks_after_it() {
    let hooks = json!({"preBackup": [hook("freeze", "Always")], "postBackup": [hook("praise", "OnSuccess"), hook("thaw", "Always")]});
    let mut seen = with_hooks(hooks, begun(["Pending", "Pending"]));
    let freeze = look(&mut seen).1.unwrap();
    change(&mut seen, |session| session.metadata.deletion_timestamp = Some(Time(now())));
    // Deleted with its invoker: that is gone, and its hooks are known all the same.
    seen.last_invoker = seen.invoker.take();
    assert!(look(&mut seen).1.is_none(), "the hook that runs comes to its end");
    end(&mut seen, &freeze.id, Ok(()));
    let (actions, thaw) = look(&mut seen);
    assert_eq!((thaw.as_ref().unwrap().hook.name.as_deref(), finalizers(&actions)), (Some("thaw"), None));
    end(&mut seen, &thaw.unwrap().id, Ok(()));
    look(&mut seen);
    assert_eq!(phase(seen.session.status.as_ref().unwrap()), "Failed");
    assert_eq!(finalizers(&plan(&seen, now())), Some(&json!([])));
}

#[test]
fn a_deleted_session_waits_for_its_hooks_for_a_bounded_time() {
    let hooks = json!({"postBackup": [hook("thaw", "Always")]});
    let mut seen = with_hooks(hooks, begun(["Pending", "Pending"]));
    change(&mut seen, |session| session.metadata.deletion_timestamp = Some(Time(now())));
    look(&mut seen).1.unwrap();
    let later = now() + super::super::departure::WAITED_MAX;
    let actions = plan(&seen, later);
    assert_eq!(finalizers(&actions), Some(&json!([])));
    assert!(actions.contains(&Action::HooksOver) && matches!(&actions[0], Action::Event(note) if note.reason == "HooksGivenUp"), "{actions:?}");
    assert_eq!(finalizers(&plan(&seen, later - jiff::SignedDuration::from_secs(1))), None);
}
