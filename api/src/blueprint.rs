//! From a BackupBlueprint and an annotated application to a BackupConfiguration.
//!
//! Variables come from whoever owns the application. They reach names, directories, schedules and parameters; they never
//! reach references, namespaces, ServiceAccounts or pods: those are the blueprint's.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::backup_blueprint::BackupBlueprint;
use crate::backup_configuration::{BackupConfiguration, BackupConfigurationSpec, Session};
use crate::labels;
use crate::names;
use crate::reference::TypedObjectReference;
use crate::template::{self, ExpandError};

/// On a configuration that a blueprint made: its application, as `<kind>/<namespace>/<name>`.
pub const APPLICATION: &str = "holdfast.dev/blueprint-application";
/// On a configuration that a blueprint made: `OnDelete` if it goes with the blueprint.
pub const DELETION_POLICY: &str = "holdfast.dev/blueprint-deletion-policy";

/// Fields below a session that are the blueprint's alone.
const UNREACHED: [&str; 14] = [
    "namespace",
    "encryptionSecret",
    "valueFrom",
    "envFrom",
    "volumeClaimTemplates",
    "owner",
    "hookTemplate",
    "backupVerifier",
    "jobTemplate",
    "containerRuntimeSettings",
    "runtimeSettings",
    "addonVolumes",
    "volumes",
    "volumeMounts",
];

/// An application that may ask for a blueprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// API group of its kind; empty for the core group.
    pub group: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why no configuration is made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The blueprint has no template.
    #[error("the blueprint has no backupConfigurationTemplate")]
    NoTemplate,
    /// The blueprint is not for such applications.
    #[error("the blueprint is not for {0}")]
    NotASubject(&'static str),
    /// The annotation names a session that the blueprint does not have.
    #[error("annotation {annotation} names session {0:?}, which the blueprint does not have", annotation = labels::BLUEPRINT_SESSION_NAMES)]
    NoSuchSession(String),
    /// A string of the template cannot be expanded.
    #[error("{path}: {error}; set it by an annotation {prefix}<name>", prefix = labels::VARIABLE_PREFIX)]
    Variable {
        /// The field.
        path: String,
        /// Why not.
        error: ExpandError,
    },
    /// A variable where none may be.
    #[error("{0}: variables do not reach this field")]
    Unreached(String),
    /// The template with its values is no session.
    #[error("the template with its variables cannot be read: {0}")]
    Malformed(String),
}

impl Application {
    /// The blueprint that it asks for, by namespace and name.
    pub fn blueprint(&self) -> Option<(&str, &str)> {
        let name = self.annotation(labels::BLUEPRINT_NAME)?;
        let namespace = self.annotation(labels::BLUEPRINT_NAMESPACE);
        Some((namespace.unwrap_or(&self.namespace), name))
    }

    /// How it is written in [`APPLICATION`].
    pub fn title(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let value = self.annotations.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    /// Its annotations, and what is known of it anyway.
    fn variable(&self, name: &str) -> Option<String> {
        let annotated = self
            .annotations
            .get(&format!("{}{name}", labels::VARIABLE_PREFIX));
        annotated.cloned().or_else(|| match name {
            "namespace" | "targetNamespace" => Some(self.namespace.clone()),
            "name" | "targetName" => Some(self.name.clone()),
            "kind" | "targetKind" => Some(self.kind.to_lowercase()),
            _ => None,
        })
    }
}

/// The configuration that the blueprint makes for an application.
pub fn configuration(
    blueprint: &BackupBlueprint,
    application: &Application,
) -> Result<BackupConfiguration, Refusal> {
    let spec = &blueprint.spec;
    let template = spec
        .backup_configuration_template
        .as_ref()
        .ok_or(Refusal::NoTemplate)?;
    let is_subject = |subject: &crate::backup_blueprint::Subject| {
        subject.kind.as_deref() == Some(application.kind)
            && subject.api_version.as_deref().is_none_or(|version| {
                let group = version.split_once('/').map_or("", |(group, _)| group);
                group == application.group
            })
    };
    if !spec.subjects.is_empty() && !spec.subjects.iter().any(is_subject) {
        return Err(Refusal::NotASubject(application.kind));
    }
    let own = blueprint.metadata.namespace.as_deref().unwrap_or_default();
    let (namespace, name) = place(blueprint, application);
    let mut backends = template.backends.clone();
    for backend in &mut backends {
        // What the blueprint names is in the blueprint's namespace, wherever the configuration is.
        let references = [&mut backend.storage_ref, &mut backend.retention_policy];
        for reference in references.into_iter().flatten() {
            *reference = reference.absolute(own);
        }
    }
    let mut configuration = BackupConfiguration::new(
        &name,
        BackupConfigurationSpec {
            target: Some(TypedObjectReference {
                api_group: Some(application.group.to_owned()).filter(|group| !group.is_empty()),
                kind: Some(application.kind.to_owned()),
                name: application.name.clone(),
                namespace: Some(application.namespace.clone()),
            }),
            backends,
            sessions: sessions(&template.sessions, application, own)?,
            ..BackupConfigurationSpec::default()
        },
    );
    let blueprint_name = blueprint.metadata.name.as_deref().unwrap_or_default();
    configuration.metadata.namespace = Some(namespace);
    configuration.metadata.labels = Some(labels::of_invoker("BackupBlueprint", own, blueprint_name));
    let mut annotations = BTreeMap::from([(APPLICATION.to_owned(), application.title())]);
    if template.deletion_policy.is_some() {
        annotations.insert(DELETION_POLICY.to_owned(), "OnDelete".to_owned());
    }
    configuration.metadata.annotations = Some(annotations);
    Ok(configuration)
}

/// Namespace and name of the configuration for an application: `<kind>-<name>`, and the application's namespace before it where the
/// configuration is in another.
pub fn place(blueprint: &BackupBlueprint, application: &Application) -> (String, String) {
    let template = blueprint.spec.backup_configuration_template.as_ref();
    let namespace = template
        .and_then(|template| template.namespace.clone())
        .filter(|namespace| !namespace.is_empty())
        .or_else(|| blueprint.metadata.namespace.clone())
        .unwrap_or_default();
    let kind = application.kind.to_lowercase();
    let name = if application.namespace == namespace {
        format!("{kind}-{}", application.name)
    } else {
        format!("{}-{kind}-{}", application.namespace, application.name)
    };
    (namespace, names::bounded(&name))
}

fn sessions(
    template: &[Session],
    application: &Application,
    own: &str,
) -> Result<Vec<Session>, Refusal> {
    let mut chosen: Vec<(usize, &Session)> = template.iter().enumerate().collect();
    if let Some(names) = application.annotation(labels::BLUEPRINT_SESSION_NAMES) {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let has = |name: &str| {
            template
                .iter()
                .any(|session| session.name.as_deref() == Some(name))
        };
        if let Some(unknown) = names.iter().find(|name| !has(name)) {
            return Err(Refusal::NoSuchSession((*unknown).to_owned()));
        }
        chosen.retain(|(_, session)| {
            session
                .name
                .as_deref()
                .is_some_and(|name| names.contains(&name))
        });
    }
    chosen
        .into_iter()
        .map(|(index, session)| expand_session(index, session, application, own))
        .collect()
}

fn expand_session(
    index: usize,
    session: &Session,
    application: &Application,
    own: &str,
) -> Result<Session, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::Malformed(error.to_string());
    let mut value = serde_json::to_value(session).map_err(malformed)?;
    let path = format!("spec.backupConfigurationTemplate.sessions[{index}]");
    expand_value(&path, &mut value, true, application)?;
    let mut session: Session = serde_json::from_value(value).map_err(malformed)?;
    for repository in &mut session.repositories {
        // Its Secret is the configuration's, as KubeStash has it: one of another namespace would have to grant its use.
        if let Some(verifier) = &mut repository.backup_verifier {
            *verifier = verifier.absolute(own);
        }
    }
    if let Some(hooks) = &mut session.hooks {
        for hook in hooks.pre_backup.iter_mut().chain(&mut hooks.post_backup) {
            if let Some(reference) = &mut hook.hook_template {
                *reference = reference.absolute(own);
            }
        }
    }
    Ok(session)
}

/// Expands every string, each for itself; where variables may not reach, one is refused.
fn expand_value(
    path: &str,
    value: &mut Value,
    reached: bool,
    application: &Application,
) -> Result<(), Refusal> {
    match value {
        Value::String(text) if template::has_variable(text) => {
            if !reached {
                return Err(Refusal::Unreached(path.to_owned()));
            }
            let expanded = template::expand(text, |name| application.variable(name));
            *text = expanded.map_err(|error| Refusal::Variable {
                path: path.to_owned(),
                error,
            })?;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
            expand_value(&format!("{path}[{index}]"), item, reached, application)
        }),
        Value::Object(fields) => fields.iter_mut().try_for_each(|(key, field)| {
            // The addon says which Functions run: which one is the blueprint's affair.
            let is_addon = key == "name" && path.ends_with(".addon");
            let reached = reached && !is_addon && !UNREACHED.contains(&key.as_str());
            expand_value(&format!("{path}.{key}"), field, reached, application)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
