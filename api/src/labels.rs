//! Labels, annotations and finalizers: KubeStash's, since dashboards and scripts select by them, and our own.

use std::collections::BTreeMap;

use crate::names;
use crate::reference::TypedObjectReference;

/// Finalizer of objects that stand for data.
pub const FINALIZER: &str = "kubestash.com/cleanup";
/// Who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_KUBESTASH: &str = "kubestash.com";
/// Selects the Deployments of KubeStash's own chart.
pub const KUBESTASH_OPERATOR: &str = "app.kubernetes.io/name=kubestash-operator";
/// What part of a system an object is.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT`] of a pod that backs up.
pub const COMPONENT_BACKUP: &str = "kubestash-backup";
/// Value of [`COMPONENT`] of a pod that restores.
pub const COMPONENT_RESTORE: &str = "kubestash-restore";
/// Value of [`COMPONENT`] of a hook's pod.
pub const COMPONENT_HOOK: &str = "kubestash-hook";
/// Value of [`COMPONENT`] of the pod that checks a backup.
pub const COMPONENT_BACKUP_VERIFIER: &str = "kubestash-backup-verifier";
/// Application an object belongs to.
pub const APP: &str = "kubestash.com/app";
/// Name of the object that made this one.
pub const INVOKER_NAME: &str = "kubestash.com/invoker-name";
/// Namespace of the object that made this one.
pub const INVOKER_NAMESPACE: &str = "kubestash.com/invoker-namespace";
/// Kind of the object that made this one.
pub const INVOKER_KIND: &str = "kubestash.com/invoker-kind";
/// Name of the session in its configuration.
pub const SESSION_NAME: &str = "kubestash.com/session-name";
/// Repository of a Snapshot.
pub const REPOSITORY_NAME: &str = "kubestash.com/repo-name";
/// Kind of a Snapshot's application.
pub const APP_REF_KIND: &str = "kubestash.com/app-ref-kind";
/// Namespace of a Snapshot's application.
pub const APP_REF_NAMESPACE: &str = "kubestash.com/app-ref-namespace";
/// Name of a Snapshot's application.
pub const APP_REF_NAME: &str = "kubestash.com/app-ref-name";

/// Annotation on an application: the blueprint to use.
pub const BLUEPRINT_NAME: &str = "blueprint.kubestash.com/name";
/// Annotation on an application: the blueprint's namespace.
pub const BLUEPRINT_NAMESPACE: &str = "blueprint.kubestash.com/namespace";
/// Annotation on an application: the blueprint's sessions to use, separated by commas.
pub const BLUEPRINT_SESSION_NAMES: &str = "blueprint.kubestash.com/session-names";
/// Annotation on an application: prefix of a variable of the blueprint.
pub const VARIABLE_PREFIX: &str = "variables.kubestash.com/";
/// Annotation on a claim: the application whose volume it is to become.
pub const POPULATOR_APP_NAME: &str = "populator.kubestash.com/app-name";
/// Annotation on a claim: what it was filled from.
pub const POPULATED_FROM: &str = "populator.kubestash.com/populated-from";
/// Annotation on a Snapshot: version of the database.
pub const DB_VERSION: &str = "kubedb.com/db-version";
/// Label of a RestoreSession that another system made.
pub const RESTORE_BENEFICIARY: &str = "restoresession.kubestash.com/beneficiary";

/// Label of our CustomResourceDefinitions, and its value.
pub const DEFINITION_LABEL: (&str, &str) = ("app.kubernetes.io/name", "kubestash");

/// Labels of an object that `invoker` made.
pub fn of_invoker(kind: &str, namespace: &str, name: &str) -> BTreeMap<String, String> {
    labels([
        (MANAGED_BY, MANAGED_BY_KUBESTASH),
        (INVOKER_KIND, kind),
        (INVOKER_NAMESPACE, namespace),
        (INVOKER_NAME, name),
    ])
}

/// Labels of a Snapshot of `app` in `repository`.
pub fn of_snapshot(repository: &str, app: &TypedObjectReference) -> BTreeMap<String, String> {
    labels([
        (REPOSITORY_NAME, repository),
        (APP_REF_KIND, app.kind.as_deref().unwrap_or_default()),
        (
            APP_REF_NAMESPACE,
            app.namespace.as_deref().unwrap_or_default(),
        ),
        (APP_REF_NAME, &app.name),
    ])
}

/// Names may be longer than the 63 characters of a label's value: they are shortened as KubeStash shortens names.
fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), names::bounded(value)))
        .collect()
}
