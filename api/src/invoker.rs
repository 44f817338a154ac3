//! What a BackupConfiguration and a BackupBatch have in common: sessions, each of which backs up one target or several.
//!
//! A configuration is read as a batch of one target, so that whatever starts, runs or checks a session does it once for both.

use crate::addon_info::AddonInfo;
use crate::backup_batch::{BackupBatchSpec, BackupBatchStatus};
use crate::backup_configuration::{
    BackupConfigurationSpec, BackupConfigurationStatus, RepositoryReference, Session,
};
use crate::hook::BackupHooks;
use crate::reference::{ResourceFoundStatus, TypedObjectReference};
use crate::scheduler::{RetryConfig, SchedulerSpec};

/// One session of an invoker.
#[derive(Clone, Debug)]
pub struct SessionView<'a> {
    /// Name of the session.
    pub name: Option<&'a str>,
    /// Hooks before and after all of it.
    pub hooks: Option<&'a BackupHooks>,
    /// When it runs.
    pub scheduler: Option<&'a SchedulerSpec>,
    /// What happens when it fails.
    pub retry_config: Option<&'a RetryConfig>,
    /// How long it may take.
    pub backup_timeout: Option<&'a str>,
    /// How many completed sessions are kept.
    pub history_limit: Option<i32>,
    /// What it backs up.
    pub targets: Vec<TargetView<'a>>,
}

/// One target of a session.
#[derive(Clone, Debug)]
pub struct TargetView<'a> {
    /// Where it stands below its session, such as `.targets[1]`.
    pub path: String,
    /// The application.
    pub app_ref: Option<&'a TypedObjectReference>,
    /// How it is backed up.
    pub addon: Option<&'a AddonInfo>,
    /// Repositories the backup goes to.
    pub repositories: &'a [RepositoryReference],
}

impl<'a> TargetView<'a> {
    /// What a Repository of this target, of an invoker in `namespace`, says it is of.
    pub fn application(&self, namespace: &str) -> TypedObjectReference {
        self.app_ref
            .map_or_else(TypedObjectReference::not_applicable, |app| {
                app.absolute(namespace)
            })
    }
}

impl<'a> SessionView<'a> {
    /// All its repositories, each with its target.
    pub fn repositories(&self) -> impl Iterator<Item = (&TargetView<'a>, &'a RepositoryReference)> {
        self.targets
            .iter()
            .flat_map(|target| target.repositories.iter().map(move |reference| (target, reference)))
    }

    /// The target whose backup goes to this repository.
    pub fn target_of(&self, repository: &str) -> Option<&TargetView<'a>> {
        self.repositories()
            .find(|(_, reference)| reference.name.as_deref() == Some(repository))
            .map(|(target, _)| target)
    }

    /// The one application of a session, if it has only one.
    pub fn only_application(&self) -> Option<&'a TypedObjectReference> {
        match self.targets.as_slice() {
            [target] => target.app_ref,
            _ => None,
        }
    }

    /// Namespace whose pods the session's hooks choose among: that of its targets, if all are in one; else the invoker's.
    pub fn pods_namespace<'b>(&self, own: &'b str) -> &'b str
    where
        'a: 'b,
    {
        let mut namespaces = self.targets.iter().map(|target| match target.app_ref {
            Some(app) => app.namespace_or(own),
            None => own,
        });
        let first = namespaces.next().unwrap_or(own);
        if namespaces.all(|other| other == first) { first } else { own }
    }
}

impl Session {
    /// The session of a configuration of this target.
    pub fn view<'a>(&'a self, target: Option<&'a TypedObjectReference>) -> SessionView<'a> {
        SessionView {
            name: self.name.as_deref(),
            hooks: self.hooks.as_ref(),
            scheduler: self.scheduler.as_ref(),
            retry_config: self.retry_config.as_ref(),
            backup_timeout: self.backup_timeout.as_deref(),
            history_limit: self.session_history_limit,
            targets: vec![TargetView {
                path: String::new(),
                app_ref: target,
                addon: self.addon.as_ref(),
                repositories: &self.repositories,
            }],
        }
    }
}

impl BackupConfigurationSpec {
    /// The sessions, each with the one target.
    pub fn session_views(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions
            .iter()
            .map(|session| session.view(self.target.as_ref()))
    }
}

impl BackupBatchSpec {
    /// The sessions, each with its targets. One that names a target which is not there has it without an application.
    pub fn session_views(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions.iter().map(|session| SessionView {
            name: session.name.as_deref(),
            hooks: session.hooks.as_ref(),
            scheduler: session.scheduler.as_ref(),
            retry_config: session.retry_config.as_ref(),
            backup_timeout: session.backup_timeout.as_deref(),
            history_limit: session.session_history_limit,
            targets: session
                .targets
                .iter()
                .enumerate()
                .map(|(index, target)| TargetView {
                    path: format!(".targets[{index}]"),
                    app_ref: self.application(target.name.as_deref()),
                    addon: target.addon.as_ref(),
                    repositories: &target.repositories,
                })
                .collect(),
        })
    }

    fn application(&self, name: Option<&str>) -> Option<&TypedObjectReference> {
        let name = name.filter(|name| !name.is_empty())?;
        let mut targets = self.targets.iter();
        targets
            .find(|target| target.name.as_deref() == Some(name))
            .and_then(|target| target.app_ref.as_ref())
    }
}

impl BackupConfigurationStatus {
    /// The same as a batch's: `target_found` becomes the one target's.
    pub fn into_common(self, target: Option<&TypedObjectReference>) -> BackupBatchStatus {
        let found = self.target_found.map(|found| ResourceFoundStatus {
            found: Some(found),
            ..target.map(ResourceFoundStatus::of).unwrap_or_default()
        });
        BackupBatchStatus {
            phase: self.phase,
            targets: found.into_iter().collect(),
            dependencies: self.dependencies,
            backends: self.backends,
            repositories: self.repositories,
            sessions: self.sessions,
            conditions: self.conditions,
        }
    }

    /// What `into_common` made, as a configuration says it.
    pub fn from_common(common: BackupBatchStatus) -> Self {
        Self {
            phase: common.phase,
            target_found: common.targets.first().and_then(|target| target.found),
            dependencies: common.dependencies,
            backends: common.backends,
            repositories: common.repositories,
            sessions: common.sessions,
            conditions: common.conditions,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batch(namespaces: [&str; 2]) -> BackupBatchSpec {
        let target = |name: &str, namespace: &str| json!({ "name": name, "appRef": { "kind": "Deployment", "name": name, "namespace": namespace } });
        serde_json::from_value(json!({
            "targets": [target("db", namespaces[0]), target("web", namespaces[1])],
            "sessions": [{ "name": "all", "targets": [
                { "name": "web", "repositories": [{ "name": "near-web" }, { "name": "far-web" }] },
                { "name": "db", "repositories": [{ "name": "near-db" }] },
                { "name": "ghost", "repositories": [{ "name": "nothing" }] },
            ] }],
        }))
        .expect("a batch")
    }

    #[test]
    fn a_repository_leads_to_its_target() {
        let spec = batch(["shop", "shop"]);
        let session = spec.session_views().next().expect("a session");
        let of = |repository: &str| session.target_of(repository).and_then(|target| target.app_ref).map(|app| app.name.as_str());
        assert_eq!((of("far-web"), of("near-db"), of("nothing"), of("else")), (Some("web"), Some("db"), None, None));
        let names: Vec<_> = session.repositories().filter_map(|(_, reference)| reference.name.as_deref()).collect();
        assert_eq!(names, ["near-web", "far-web", "near-db", "nothing"]);
        assert_eq!(session.targets[2].application("own"), TypedObjectReference::not_applicable());
    }

    #[test]
    fn hooks_look_among_the_targets_pods_only_where_that_is_one_namespace() {
        for (namespaces, expected) in [(["shop", "shop"], "shop"), (["shop", "vault"], "own")] {
            let mut spec = batch(namespaces);
            spec.sessions[0].targets.truncate(2);
            let session = spec.session_views().next().expect("a session");
            assert_eq!(session.pods_namespace("own"), expected);
            assert!(session.only_application().is_none());
        }
    }
}
