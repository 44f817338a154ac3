//! Hostile hooks: what they name runs at once, or comes to run later.

use serde_json::{Value, json};

use super::super::tests::{OWN, asked, configuration, nothing, read};
use super::super::{Known, backup_batch, backup_blueprint, backup_configuration, changed, restore_session};
use super::*;

fn of<'a>(templates: &'a Templates<'a>) -> Known<'a> {
    Known { templates, ..nothing() }
}

fn template(spec: Value) -> HookTemplateSpec {
    serde_json::from_value(spec).expect("a well-formed template")
}

fn exec() -> Value {
    json!({
        "action": {"exec": {"command": ["sh", "-c", "id"]}},
        "executor": {"type": "Pod", "pod": {"selector": "app=web"}},
    })
}

fn http() -> Value {
    json!({"action": {"httpGet": {"port": 80}}, "executor": {"type": "Operator"}})
}

fn function(name: &str) -> Value {
    json!({"executor": {"type": "Function", "function": {"name": name}}})
}

#[test]
fn a_hook_that_runs_a_command_is_an_exec_of_the_user() {
    let hooks = |parameter: &str| {
        let hook = json!({"name": "h", "hookTemplate": {"name": "t"}, "params": {"p": parameter}});
        configuration(OWN, json!({"hooks": {"preBackup": [hook]}}))
    };
    let exec = |namespace: &str, name: &str| ((namespace, name) == (OWN, "t")).then(|| template(exec()));
    let rights = backup_configuration(&hooks("a"), OWN, &of(&exec));
    assert_eq!(asked(&rights), ["create pods/exec demo/"]);
    assert_eq!(rights[0].path, "spec.sessions[0].hooks.preBackup[0].hookTemplate");
    let other = backup_configuration(&hooks("b"), OWN, &of(&exec));
    assert_eq!(changed(other, &rights).len(), 1, "other parameters are another command");
    let http = |_: &str, _: &str| Some(template(http()));
    assert!(backup_configuration(&hooks("a"), OWN, &of(&http)).is_empty());
    let function = |_: &str, _: &str| Some(template(function("f")));
    assert_eq!(asked(&backup_configuration(&hooks("a"), OWN, &of(&function))), ["create pods demo/"]);
}

#[test]
fn a_command_in_the_pods_of_a_target_elsewhere_is_an_exec_there() {
    let exec = |_: &str, _: &str| Some(template(exec()));
    let hooks = json!({"preBackup": [{"name": "h", "hookTemplate": {"name": "t"}}]});
    let rights = backup_configuration(&configuration("victim", json!({"hooks": hooks})), OWN, &of(&exec));
    assert_eq!(asked(&rights), ["get deployments victim/web", "create pods/exec victim/"]);
    let target = |name: &str, namespace: &str| json!({"name": name, "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": name, "namespace": namespace}});
    for (second, pods) in [("victim", "victim"), (OWN, OWN)] {
        let batch = json!({
            "targets": [target("one", "victim"), target("two", second)],
            "sessions": [{"name": "s", "hooks": hooks, "targets": [{"name": "one"}, {"name": "two"}]}],
        });
        let rights = asked(&backup_batch(&read(batch), OWN, &of(&exec)));
        assert_eq!(rights.last().map(String::as_str), Some(format!("create pods/exec {pods}/").as_str()));
    }
    let restore = json!({
        "target": {"apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "victim"},
        "hooks": {"postRestore": [{"name": "h", "hookTemplate": {"name": "t"}}]},
    });
    let rights = restore_session(&read(restore), OWN, &of(&exec));
    assert_eq!(asked(&rights), ["update deployments victim/web", "create pods/exec victim/"]);
}

#[test]
fn a_hook_that_is_a_function_is_a_pod_of_the_user() {
    let templates = |namespace: &str, name: &str| ((namespace, name) == (OWN, "t")).then(|| template(function("f")));
    let hook = |account: &str| json!({"hookTemplate": {"name": "t"}, "runtimeSettings": {"pod": {"serviceAccountName": account}},
        "volumes": [{"name": "v", "secret": {"secretName": "admin"}}]});
    let hooks = |account: &str| json!({"hooks": {"postBackup": [hook(account)]}});
    let before = backup_configuration(&configuration(OWN, hooks("default")), OWN, &of(&templates));
    assert_eq!(asked(&before), ["create pods demo/"]);
    assert_eq!(before[0].path, "spec.sessions[0].hooks.postBackup[0].hookTemplate");
    assert!(changed(before.clone(), &before).is_empty(), "what stays is not asked for again");
    let after = backup_configuration(&configuration(OWN, hooks("admin")), OWN, &of(&templates));
    assert_eq!(changed(after, &before).len(), 1, "another ServiceAccount is another pod");
    let elsewhere = backup_configuration(&configuration("victim", hooks("default")), OWN, &of(&templates));
    assert_eq!(asked(&elsewhere).last().map(String::as_str), Some("create pods demo/"), "the pod is here, wherever the target is");

    let restore = json!({"hooks": {"preRestore": [hook("default")]}});
    assert_eq!(asked(&restore_session(&read(restore), OWN, &of(&templates))), ["create pods demo/"]);
    let batch = json!({"sessions": [{"name": "s", "hooks": {"preBackup": [hook("default")]}}]});
    assert_eq!(asked(&backup_batch(&read(batch), OWN, &of(&templates))), ["create pods demo/"]);
    let made = json!({"backupConfigurationTemplate": {"sessions": [{"name": "s", "hooks": {"preBackup": [hook("default")]}}]}});
    assert_eq!(asked(&backup_blueprint(&read(made), OWN, &of(&templates))), ["create pods demo/"]);

    let lent = hook_template(&read(function("f")), OWN);
    assert_eq!(asked(&lent), ["create pods demo/"]);
    assert_eq!(changed(hook_template(&read(function("g")), OWN), &lent).len(), 1, "another Function is another pod");
}

#[test]
fn whoever_changes_a_hooks_command_must_be_allowed_to_run_it() {
    let mut spec = exec();
    let before = hook_template(&read(spec.clone()), OWN);
    assert_eq!(asked(&before), ["create pods/exec demo/"]);
    assert!(changed(before.clone(), &before).is_empty());
    spec["params"] = json!([{"name": "word", "default": "$(cat /secret)"}]);
    let with_default = hook_template(&read(spec.clone()), OWN);
    assert_eq!(changed(with_default.clone(), &before).len(), 1, "a default stands in the command where a hook gives no value");
    spec["action"]["exec"]["command"] = json!(["sh", "-c", "cat /secret"]);
    assert_eq!(changed(hook_template(&read(spec), OWN), &with_default).len(), 1);
}

/// A template that does nothing yet: its author, whom nobody here knows, may change it at any time.
#[test]
fn whoever_names_a_template_of_another_namespace_or_none_yet_is_asked_for_all_that_it_may_become() {
    let hook = |namespace: &str| json!({"name": "h", "hookTemplate": {"name": "t", "namespace": namespace}});
    let lent = |_: &str, _: &str| Some(template(http()));
    let none_yet = |_: &str, _: &str| None;
    let all = ["create pods/exec demo/", "create pods demo/"];
    let cases: [(&str, &Templates<'_>); 3] = [("hooks", &lent), (OWN, &none_yet), ("hooks", &none_yet)];
    for (namespace, templates) in cases {
        let (known, hooks) = (of(templates), [hook(namespace)]);
        let around = json!({"preBackup": hooks, "postBackup": hooks});
        let backup = backup_configuration(&configuration(OWN, json!({"hooks": around})), OWN, &known);
        assert_eq!(asked(&backup), [all, all].concat(), "{namespace}");
        assert!(changed(backup.clone(), &backup).is_empty(), "what stays is not asked for again");
        let batch = json!({"sessions": [{"name": "s", "hooks": {"preBackup": hooks}}]});
        assert_eq!(asked(&backup_batch(&read(batch), OWN, &known)), all, "{namespace}");
        let restore = json!({"hooks": {"preRestore": hooks}});
        assert_eq!(asked(&restore_session(&read(restore), OWN, &known)), all, "{namespace}");
        let made = json!({"backupConfigurationTemplate": {"sessions": [{"name": "s", "hooks": {"preBackup": hooks}}]}});
        assert_eq!(asked(&backup_blueprint(&read(made), OWN, &known)), all, "{namespace}");
        let elsewhere = backup_configuration(&configuration("victim", json!({"hooks": {"preBackup": hooks}})), OWN, &known);
        assert_eq!(asked(&elsewhere), ["get deployments victim/web", "create pods/exec victim/", "create pods demo/"], "{namespace}");
    }
    // Where its configurations are, a blueprint's own templates are another namespace's, and one of the same name there is not meant.
    let made = json!({"backupConfigurationTemplate": {"namespace": "victim", "sessions": [
        {"name": "s", "hooks": {"preBackup": [{"name": "h", "hookTemplate": {"name": "t"}}]}},
    ]}});
    let rights = backup_blueprint(&read(made), OWN, &of(&lent));
    assert_eq!(asked(&rights), ["create backupconfigurations victim/", "create pods/exec victim/", "create pods victim/"]);
}

/// So an update needs not know what templates were like when their hooks were granted: what comes of those that are named already has
/// been asked of somebody.
#[test]
fn what_a_template_becomes_is_asked_of_whoever_named_it_or_of_whoever_changes_it() {
    for (owner, pods) in [(OWN, OWN), (OWN, "victim"), ("hooks", OWN), ("victim", "victim")] {
        let hook = json!({"name": "h", "hookTemplate": {"name": "t", "namespace": owner}});
        let named = configuration(pods, json!({"hooks": {"preBackup": [hook]}}));
        let with = |spec: Option<Value>| {
            let templates = move |namespace: &str, _: &str| spec.clone().filter(|_| namespace == owner).map(template);
            backup_configuration(&named, OWN, &of(&templates))
        };
        for before in [None, Some(http()), Some(exec()), Some(function("f"))] {
            let granted = with(before.clone());
            for after in [http(), exec(), function("f")] {
                let of_its_author = asked(&hook_template(&read(after.clone()), owner));
                let unasked = asked(&changed(with(Some(after.clone())), &granted));
                let unasked: Vec<_> = unasked.iter().filter(|right| !of_its_author.contains(*right)).collect();
                assert!(unasked.is_empty(), "{owner}, pods in {pods}: from {before:?} to {after}: {unasked:?}");
            }
        }
    }
}
