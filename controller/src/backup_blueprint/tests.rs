use serde_json::{Value, json};

use super::*;
use crate::action::{Action, Created};
use crate::object::Kind;

fn blueprint(usage: &str, deletion: Option<&str>) -> BackupBlueprint {
    let mut object = json!({
        "metadata": {"name": "plan", "namespace": "demo", "uid": "b"},
        "spec": {
            "usagePolicy": {"allowedNamespaces": {"from": usage}},
            "backupConfigurationTemplate": {
                "backends": [{"name": "s3", "storageRef": {"name": "store"}}],
                "sessions": [{
                    "name": "daily", "scheduler": {"schedule": "${schedule:=0 3 * * *}", "jobTemplate": {}},
                    "repositories": [{"name": "${targetName}", "directory": "/${targetName}"}],
                }],
            },
        },
    });
    if let Some(deletion) = deletion {
        object["spec"]["backupConfigurationTemplate"]["deletionPolicy"] = json!(deletion);
    }
    serde_json::from_value(object).expect("a blueprint")
}

fn application(namespace: &str, name: &str, more: &[(&str, &str)]) -> Application {
    let asked = [("blueprint.kubestash.com/name", "plan"), ("blueprint.kubestash.com/namespace", "demo")];
    let annotations = asked.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Application { group: "apps", kind: "Deployment", namespace: namespace.to_owned(), name: name.to_owned(), annotations }
}

fn observed(blueprint: Option<BackupBlueprint>, applications: Vec<Application>) -> Observed {
    Observed {
        key: Key::new(Kind::BackupBlueprint, "demo", "plan"),
        blueprint: blueprint.map(Arc::new),
        existing: applications.iter().map(Application::title).collect(),
        applications,
        labels: BTreeMap::new(),
        configurations: Vec::new(),
        named: BTreeMap::new(),
    }
}

/// The same after what the plan created exists.
fn done(mut observed: Observed) -> Observed {
    for action in plan::plan(&observed) {
        if let Action::Create(created) = action
            && let Created::BackupConfiguration(mut made) = *created
        {
            made.metadata.uid = Some("c".to_owned());
            let place = (made.metadata.namespace.clone().unwrap(), made.metadata.name.clone().unwrap());
            let made = Arc::new(*made);
            observed.configurations.push(Arc::clone(&made));
            observed.named.insert(place, made);
        }
    }
    observed
}

fn reasons(actions: &[Action]) -> Vec<&str> {
    actions
        .iter()
        .map(|action| match action {
            Action::Create(_) => "create",
            Action::Delete { .. } => "delete",
            Action::Patch { .. } => "patch",
            Action::Event(note) | Action::About(_, note) => note.reason.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn made_once_changed_when_asked_and_withdrawn() {
    let first = observed(Some(blueprint("Same", None)), vec![application("demo", "web", &[])]);
    assert_eq!(reasons(&plan::plan(&first)), ["create", "Applied"]);
    let mut made = done(first);
    assert!(plan::plan(&made).is_empty(), "nothing changes when nothing changed");

    made.applications = vec![application("demo", "web", &[("variables.kubestash.com/schedule", "0 4 * * *")])];
    let actions = plan::plan(&made);
    let [Action::Patch { key, patch, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(key.name, "deployment-web");
    assert_eq!(patch["spec"]["sessions"][0]["scheduler"]["schedule"], "0 4 * * *");
    assert_eq!(patch["spec"].get("paused"), None, "what people or restores have paused stays so");

    made.applications.clear();
    assert_eq!(reasons(&plan::plan(&made)), ["delete", "Withdrawn"]);
    made.existing.clear();
    assert!(plan::plan(&made).is_empty(), "of an application that is gone the configuration stays, and so do its backups");
}

#[test]
fn without_the_blueprint_only_what_goes_with_it_goes() {
    for (deletion, expected) in [(None, vec!["BlueprintNotFound"]), (Some("OnDelete"), vec!["delete", "BlueprintNotFound"])] {
        let mut made = done(observed(Some(blueprint("Same", deletion)), vec![application("demo", "web", &[])]));
        made.blueprint = None;
        assert_eq!(reasons(&plan::plan(&made)), expected, "{deletion:?}");
    }
}

#[test]
fn who_may_not_use_it_is_told_at_the_application() {
    let elsewhere = || vec![application("other", "web", &[])];
    assert_eq!(reasons(&plan::plan(&observed(Some(blueprint("Same", None)), elsewhere()))), ["BlueprintNotAllowed"]);
    let actions = plan::plan(&observed(Some(blueprint("All", None)), elsewhere()));
    assert_eq!(reasons(&actions), ["create", "Applied"]);
    let mut by_label: Value = serde_json::to_value(blueprint("Selector", None)).unwrap();
    by_label["spec"]["usagePolicy"]["allowedNamespaces"]["selector"] = json!({"matchLabels": {"backup": "yes"}});
    let mut seen = observed(Some(serde_json::from_value(by_label).unwrap()), elsewhere());
    assert_eq!(reasons(&plan::plan(&seen)), ["BlueprintNotAllowed"]);
    seen.labels.insert("other".to_owned(), BTreeMap::from([("backup".to_owned(), "yes".to_owned())]));
    assert_eq!(reasons(&plan::plan(&seen)), ["create", "Applied"]);
}

#[test]
fn what_somebody_else_made_is_not_touched() {
    let mut seen = observed(Some(blueprint("Same", None)), vec![application("demo", "web", &[])]);
    let theirs: BackupConfiguration =
        serde_json::from_value(json!({"metadata": {"name": "deployment-web", "namespace": "demo"}, "spec": {}})).unwrap();
    seen.named.insert(("demo".to_owned(), "deployment-web".to_owned()), Arc::new(theirs));
    assert_eq!(reasons(&plan::plan(&seen)), ["BlueprintNotApplied"]);
}
