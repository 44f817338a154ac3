//! What a blueprint needs: configurations made, changed, and withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::blueprint::{APPLICATION, Application, DELETION_POLICY, configuration};
use holdfast_api::usage_policy::{Namespace, UsagePolicy};
use holdfast_api::{BackupBlueprint, BackupConfiguration};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::Observed;
use crate::action::{Action, Created, Note};
use crate::object::{Key, Kind};

/// On a configuration that a blueprint made: of what it was made, so that people's own changes of it stay until the
/// blueprint or the application's annotations change.
pub const MADE_OF: &str = "holdfast.dev/blueprint-made-of";

/// What is to be done about a blueprint.
pub fn plan(observed: &Observed) -> Vec<Action> {
    let present = observed.blueprint.as_deref().filter(|blueprint| blueprint.metadata.deletion_timestamp.is_none());
    let Some(blueprint) = present else { return without(observed) };
    let mut actions = Vec::new();
    for application in &observed.applications {
        actions.extend(ensure(observed, blueprint, application));
    }
    let asking: BTreeSet<String> = observed.applications.iter().map(Application::title).collect();
    for made in &observed.configurations {
        let Some(title) = application_of(made) else { continue };
        // An application that is gone may come back, and its backups are what brings it back: its configuration stays.
        if !asking.contains(title) && observed.existing.contains(title) {
            actions.push(withdrawn(made));
            actions.push(Action::normal("Withdrawn", format!("{title} no longer asks for a backup")));
        }
    }
    actions
}

/// The application of a configuration that a blueprint made.
pub fn application_of(configuration: &BackupConfiguration) -> Option<&str> {
    configuration.metadata.annotations.as_ref()?.get(APPLICATION).map(String::as_str)
}

/// The blueprint does not exist, or no longer.
fn without(observed: &Observed) -> Vec<Action> {
    let goes = |made: &&std::sync::Arc<BackupConfiguration>| made.annotations().contains_key(DELETION_POLICY);
    let mut actions: Vec<Action> = observed.configurations.iter().filter(goes).map(|made| withdrawn(made)).collect();
    for application in &observed.applications {
        let message = format!("BackupBlueprint {}/{} does not exist", observed.key.namespace, observed.key.name);
        actions.push(about(application, "BlueprintNotFound", message));
    }
    actions
}

fn ensure(observed: &Observed, blueprint: &BackupBlueprint, application: &Application) -> Vec<Action> {
    if !allows(observed, blueprint, application) {
        let message = format!("the usagePolicy of BackupBlueprint {} does not allow this namespace", title(&observed.key));
        return vec![about(application, "BlueprintNotAllowed", message)];
    }
    let mut wanted = match configuration(blueprint, application) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            let message = format!("BackupBlueprint {}: {refusal}", title(&observed.key));
            return vec![about(application, "BlueprintNotApplied", message)];
        }
    };
    let made_of = fingerprint(&wanted);
    wanted.metadata.annotations.get_or_insert_default().insert(MADE_OF.to_owned(), made_of.clone());
    let place = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let Some(found) = observed.named.get(&place) else {
        let message = format!("made BackupConfiguration {}/{} for {}", place.0, place.1, application.title());
        return vec![
            Action::Create(Box::new(Created::BackupConfiguration(Box::new(wanted)))),
            Action::normal("Applied", message),
        ];
    };
    if !is_ours(found, &observed.key, application) {
        let message = format!("BackupConfiguration {}/{} exists, and is not of this blueprint and application", place.0, place.1);
        return vec![about(application, "BlueprintNotApplied", message)];
    }
    if found.annotations().get(MADE_OF) == Some(&made_of) || found.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let mut spec = json!(wanted.spec);
    if let Value::Object(fields) = &mut spec {
        // People, and restores, pause.
        fields.remove("paused");
    }
    vec![Action::Patch {
        key: Key::new(Kind::BackupConfiguration, place.0, place.1),
        resource_version: found.metadata.resource_version.clone(),
        patch: json!({"metadata": {"annotations": wanted.annotations()}, "spec": spec}),
    }]
}

fn allows(observed: &Observed, blueprint: &BackupBlueprint, application: &Application) -> bool {
    let none = BTreeMap::new();
    let labels = observed.labels.get(&application.namespace).unwrap_or(&none);
    let default = UsagePolicy::same_namespace();
    let policy = blueprint.spec.usage_policy.as_ref().unwrap_or(&default);
    policy.allows(&observed.key.namespace, Namespace { name: &application.namespace, labels })
}

fn is_ours(found: &BackupConfiguration, key: &Key, application: &Application) -> bool {
    super::is_of(found, key) && application_of(found) == Some(&application.title())
}

fn withdrawn(made: &BackupConfiguration) -> Action {
    let key = Key::new(Kind::BackupConfiguration, made.namespace().unwrap_or_default(), made.name_any());
    Action::Delete { key, uid: made.uid().unwrap_or_default() }
}

fn about(application: &Application, reason: &str, message: String) -> Action {
    let object = ObjectReference {
        api_version: Some(if application.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", application.group) }),
        kind: Some(application.kind.to_owned()),
        namespace: Some(application.namespace.clone()),
        name: Some(application.name.clone()),
        ..ObjectReference::default()
    };
    Action::About(Box::new(object), Note { warning: true, reason: reason.to_owned(), message })
}

fn title(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// FNV-1a of what was made (Fowler, Noll, Vo): it only has to differ when that differs, by no one's design but the author's own.
fn fingerprint(wanted: &BackupConfiguration) -> String {
    let text = json!([wanted.spec, wanted.metadata.annotations]).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
