//! What an object names, and whether that lets itself be used from the object's namespace.

use super::kinds::{NOTHING, batch};
use super::*;
use crate::hook_template::HookTemplate;
use crate::{BackupBatch, BackupBlueprint};

fn all() -> Value {
    json!({ "usagePolicy": { "allowedNamespaces": { "from": "All" } } })
}

/// Checks an object whose `/backends/0/retentionPolicy` or hook names `lent/it`.
fn backup(spec: Value, around: Surroundings<'_>) -> Vec<String> {
    paths(backup_configuration::validate(&object::<BackupConfiguration>("web", spec), around))
}

fn of_batch(spec: Value, around: Surroundings<'_>) -> Vec<String> {
    paths(backup_batch::validate(&object::<BackupBatch>("all", spec), around))
}

fn of_blueprint(template: Value, around: Surroundings<'_>) -> Vec<String> {
    let blueprint: BackupBlueprint = object("plan", json!({ "backupConfigurationTemplate": template }));
    paths(backup_blueprint::validate(&blueprint, around))
}

fn restore(hooks: Value) -> RestoreSession {
    let addon = json!({ "name": "workload-addon", "tasks": [{ "name": "logical-backup-restore" }] });
    let source = json!({ "repository": "r", "snapshot": "latest" });
    object("r", json!({ "dataSource": source, "addon": addon, "hooks": hooks }))
}

#[test]
fn a_retention_policy_of_another_namespace_must_allow_its_use() {
    let reference = json!({ "name": "it", "namespace": "lent" });
    let policy = |spec: Value| -> RetentionPolicy { in_namespace("lent", "it", spec) };
    let configuration = with(configuration(), "/backends/0/retentionPolicy", reference.clone());
    let of_several = with(batch(), "/backends/0/retentionPolicy", reference);
    for (policy, is_allowed) in [(policy(all()), true), (policy(json!({})), false)] {
        let policies = [&policy];
        let around = Surroundings { retention_policies: &policies, ..NOTHING };
        let expected = |path: &str| if is_allowed { Vec::new() } else { vec![path.to_owned()] };
        assert_eq!(backup(configuration.clone(), around), expected("spec.backends[0].retentionPolicy"));
        assert_eq!(of_batch(of_several.clone(), around), expected("spec.backends[0].retentionPolicy"));
        assert_eq!(
            of_blueprint(configuration.clone(), around),
            expected("spec.backupConfigurationTemplate.backends[0].retentionPolicy")
        );
    }
    assert_eq!(backup(configuration, NOTHING), [""; 0], "it may come later");
}

#[test]
fn a_hook_template_of_another_namespace_must_allow_its_use() {
    let template = |spec: Value| -> HookTemplate { in_namespace("lent", "it", spec) };
    let hooks = |before: &str, after: &str| {
        let hook = json!([{ "hookTemplate": { "name": "it", "namespace": "lent" } }]);
        json!({ before: hook, after: hook })
    };
    let configuration = with(configuration(), "/sessions/0/hooks", hooks("preBackup", "postBackup"));
    let of_several = with(batch(), "/sessions/0/hooks", hooks("preBackup", "postBackup"));
    for (template, is_allowed) in [(template(all()), true), (template(json!({})), false)] {
        let templates = [&template];
        let around = Surroundings { hook_templates: &templates, ..NOTHING };
        let expected = |path: &str, before: &str, after: &str| {
            let both = [before, after].map(|side| format!("{path}.hooks.{side}[0].hookTemplate"));
            if is_allowed { Vec::new() } else { both.to_vec() }
        };
        let of_session = expected("spec.sessions[0]", "preBackup", "postBackup");
        assert_eq!(backup(configuration.clone(), around), of_session);
        assert_eq!(of_batch(of_several.clone(), around), of_session);
        let of_template = expected("spec.backupConfigurationTemplate.sessions[0]", "preBackup", "postBackup");
        assert_eq!(of_blueprint(configuration.clone(), around), of_template);
        let restored = restore_session::validate(&restore(hooks("preRestore", "postRestore")), DEMO, &templates);
        assert_eq!(paths(restored), expected("spec", "preRestore", "postRestore"));
    }
    assert_eq!(backup(configuration, NOTHING), [""; 0], "it may come later");
}

#[test]
fn an_object_names_so_many_hook_templates_and_no_more() {
    let hooks = |count: usize| {
        let hook = |index: usize| json!({ "hookTemplate": { "name": format!("t{index}") } });
        (0..count).map(hook).collect::<Vec<_>>()
    };
    // Each of them twice: before and after, with its namespace and without.
    let around = |count: usize, before: &str, after: &str| {
        let mut again = hooks(count.min(HOOK_TEMPLATES_MAX));
        again.iter_mut().for_each(|hook| hook["hookTemplate"]["namespace"] = json!("demo"));
        json!({ before: hooks(count), after: again })
    };
    let (most, more) = (HOOK_TEMPLATES_MAX, HOOK_TEMPLATES_MAX + 1);
    let of = |count: usize| with(configuration(), "/sessions/0/hooks", around(count, "preBackup", "postBackup"));
    assert_eq!(backup(of(most), NOTHING), [""; 0]);
    assert_eq!(backup(of(more), NOTHING), ["spec.sessions[0].hooks.preBackup[64].hookTemplate"]);
    let mut in_two_sessions = of(most);
    let mut second = of(0)["sessions"][0].clone();
    second["name"] = json!("second");
    second["hooks"] = json!({ "preBackup": [{ "hookTemplate": { "name": "t0", "namespace": "other" } }] });
    in_two_sessions["sessions"].as_array_mut().expect("sessions").push(second);
    assert_eq!(
        backup(in_two_sessions.clone(), NOTHING),
        ["spec.sessions[1].hooks.preBackup[0].hookTemplate"],
        "the object is counted, and another namespace's is another one"
    );
    assert_eq!(
        of_blueprint(in_two_sessions, NOTHING),
        ["spec.backupConfigurationTemplate.sessions[1].hooks.preBackup[0].hookTemplate"]
    );
    let of_several = |count: usize| with(batch(), "/sessions/0/hooks", around(count, "preBackup", "postBackup"));
    assert_eq!(of_batch(of_several(most), NOTHING), [""; 0]);
    assert_eq!(of_batch(of_several(more), NOTHING), ["spec.sessions[0].hooks.preBackup[64].hookTemplate"]);
    let restored = |count: usize| restore_session::validate(&restore(around(count, "preRestore", "postRestore")), DEMO, &[]);
    assert_eq!(restored(most), Ok(()));
    assert_eq!(
        restored(more).expect_err("one too many").to_string(),
        "spec.hooks.preRestore[64].hookTemplate: \"demo/t64\" cannot be used: an object may name at most 64 different HookTemplates"
    );
}
