//! Targets and Repositories in other namespaces. Whoever may write an object in one namespace may not therefore have volumes of another read or
//! written: the other side says so, at the object itself.

use holdfast_api::blueprint::Application;
use holdfast_api::reference::TypedObjectReference;
use holdfast_api::{BackupConfiguration, ObjectReference};

use crate::backup_blueprint::{applications, blueprint_of, plan};
use crate::caches::Caches;
use kube::api::ObjectMeta;

/// On a target: the namespaces whose objects may name it, separated by commas.
pub const GRANTED_TO: &str = "holdfast.dev/granted-to";

/// Whether an object of `namespace` may work on a target elsewhere: the target grants it, or it asked itself for the
/// blueprint that has made `configuration`.
pub fn given(
    caches: &Caches,
    namespace: &str,
    target: &TypedObjectReference,
    configuration: Option<&BackupConfiguration>,
) -> bool {
    let Some(application) = applications::find(caches, target, namespace) else { return false };
    grants(&application, namespace) || configuration.is_some_and(|made| asked_for(&application, made))
}

fn grants(application: &Application, namespace: &str) -> bool {
    names(application.annotations.get(GRANTED_TO), namespace)
}

/// Whether any object grants its use to the objects of a namespace.
pub fn granted(metadata: &ObjectMeta, namespace: &str) -> bool {
    names(metadata.annotations.as_ref().and_then(|annotations| annotations.get(GRANTED_TO)), namespace)
}

/// Whether an annotation's value names a namespace.
pub fn names(granted: Option<&String>, namespace: &str) -> bool {
    let granted = granted.map(String::as_str).unwrap_or_default();
    granted.split(',').map(str::trim).any(|granted| !granted.is_empty() && granted == namespace)
}

/// A configuration that only says that a blueprint made it must be where and what that blueprint would have made.
fn asked_for(application: &Application, made: &BackupConfiguration) -> bool {
    let asked = application.blueprint().map(|(namespace, name)| ObjectReference {
        namespace: Some(namespace.to_owned()),
        name: holdfast_api::names::bounded(name),
    });
    let maker = blueprint_of(made).map(|key| ObjectReference { namespace: Some(key.namespace), name: key.name });
    asked.is_some() && asked == maker && plan::application_of(made) == Some(&application.title())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn application(annotations: &[(&str, &str)]) -> Application {
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Application { group: "apps", kind: "Deployment", namespace: "shop".into(), name: "web".into(), annotations }
    }

    #[test]
    fn a_target_grants_by_name() {
        let granting = application(&[(GRANTED_TO, "vault, ops")]);
        assert!(grants(&granting, "ops") && grants(&granting, "vault"));
        assert!(!grants(&granting, "op") && !grants(&granting, "") && !grants(&application(&[]), ""));
    }

    #[test]
    fn labels_alone_are_no_consent() {
        let made: BackupConfiguration = serde_json::from_value(json!({
            "metadata": {
                "name": "shop-deployment-web", "namespace": "vault",
                "labels": {
                    "kubestash.com/invoker-kind": "BackupBlueprint", "kubestash.com/invoker-namespace": "vault",
                    "kubestash.com/invoker-name": "plan",
                },
                "annotations": {"holdfast.dev/blueprint-application": "Deployment/shop/web"},
            },
            "spec": {},
        }))
        .expect("a configuration");
        let asked = [("blueprint.kubestash.com/name", "plan"), ("blueprint.kubestash.com/namespace", "vault")];
        assert!(asked_for(&application(&asked), &made));
        assert!(!asked_for(&application(&[]), &made), "the application asks for nothing");
        assert!(!asked_for(&application(&asked[..1]), &made), "it asks for another blueprint");
        let other = Application { name: "db".into(), ..application(&asked) };
        assert!(!asked_for(&other, &made), "the configuration is of another application");
    }
}
