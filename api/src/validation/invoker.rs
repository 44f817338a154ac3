//! What makes the parts invalid that a BackupConfiguration and a BackupBatch share: backends, repositories, sessions.

use std::collections::{BTreeMap, BTreeSet};

use super::repository::{directory_problem, normalized};
use super::{Findings, Problem, find, same, set, title};
use crate::backup_configuration::{BackendReference, RepositoryReference};
use crate::backup_storage::BackupStorage;
use crate::hook::BackupHooks;
use crate::hook_template::HookTemplate;
use crate::reference::{ObjectReference, TypedObjectReference};
use crate::repository::Repository;
use crate::retention_policy::RetentionPolicy;
use crate::scheduler::{RetryConfig, SchedulerSpec};
use crate::usage_policy::Namespace;

/// What an invoker is checked against: all objects of the cluster that it may refer to or collide with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Namespace of the invoker.
    pub namespace: Namespace<'a>,
    /// The storages.
    pub storages: &'a [&'a BackupStorage],
    /// The retention policies.
    pub retention_policies: &'a [&'a RetentionPolicy],
    /// The hook templates.
    pub hook_templates: &'a [&'a HookTemplate],
    /// The repositories.
    pub repositories: &'a [&'a Repository],
}

/// The backend that a repository goes to: the one it names, else the one without a name, else the only one.
pub(super) fn backend_among<'a>(
    backends: &'a [BackendReference],
    repository: &RepositoryReference,
) -> Option<&'a BackendReference> {
    let named = |name: Option<&str>| {
        backends
            .iter()
            .find(|backend| set(backend.name.as_deref()) == name)
    };
    match set(repository.backend.as_deref()) {
        Some(name) => named(Some(name)),
        None => named(None).or_else(|| backends.first().filter(|_| backends.len() == 1)),
    }
}

/// A repository that a session names: where in the invoker, and of which application.
pub(super) struct Named<'a> {
    pub(super) path: String,
    pub(super) repository: &'a RepositoryReference,
    pub(super) app_ref: TypedObjectReference,
}

/// When a session runs, how long, and what around it.
pub(super) struct SessionFrame<'a> {
    pub(super) scheduler: Option<&'a SchedulerSpec>,
    pub(super) backup_timeout: Option<&'a str>,
    pub(super) retry: Option<&'a RetryConfig>,
    pub(super) hooks: Option<&'a BackupHooks>,
}

/// Checks one invoker.
pub(super) struct Check<'a> {
    pub(super) backends: &'a [BackendReference],
    pub(super) surroundings: Surroundings<'a>,
    pub(super) findings: Findings,
}

impl<'a> Check<'a> {
    pub(super) fn new(backends: &'a [BackendReference], surroundings: Surroundings<'a>) -> Self {
        Self {
            backends,
            surroundings,
            findings: Findings::default(),
        }
    }

    /// There are sessions, each has a name of its own, and `each` is right with it.
    pub(super) fn sessions<S>(
        &mut self,
        sessions: &'a [S],
        name: impl Fn(&'a S) -> Option<&'a str>,
        mut each: impl FnMut(&mut Self, &str, &'a S),
    ) {
        if sessions.is_empty() {
            self.findings
                .required("spec.sessions", "at least one session takes backups");
        }
        let mut seen = BTreeSet::new();
        for (index, session) in sessions.iter().enumerate() {
            let path = format!("spec.sessions[{index}]");
            self.findings
                .unique_name(format!("{path}.name"), name(session), &mut seen);
            each(self, &path, session);
        }
    }

    pub(super) fn backends(&mut self) {
        if self.backends.is_empty() {
            self.findings.required(
                "spec.backends",
                "no BackupStorage is the default for this namespace",
            );
        }
        let mut seen = BTreeSet::new();
        for (index, backend) in self.backends.iter().enumerate() {
            let path = format!("spec.backends[{index}]");
            let name = set(backend.name.as_deref()).unwrap_or_default();
            if !seen.insert(name) {
                self.findings.taken(
                    format!("{path}.name"),
                    name,
                    "a backend before it has this name",
                );
            }
            self.storage_reference(format!("{path}.storageRef"), backend.storage_ref.as_ref());
            self.retention_reference(
                format!("{path}.retentionPolicy"),
                backend.retention_policy.as_ref(),
            );
        }
    }

    fn storage_reference(&mut self, path: String, reference: Option<&ObjectReference>) {
        let user = self.surroundings.namespace;
        let Some(reference) = reference else {
            return self.findings.required(path, "it says where the data goes");
        };
        let owner = reference.namespace_or(user.name);
        if let Some(storage) = find(self.surroundings.storages, owner, &reference.name) {
            self.findings.usage(
                path,
                owner,
                &reference.name,
                storage.spec.usage_policy.as_ref(),
                user,
            );
        }
    }

    fn retention_reference(&mut self, path: String, reference: Option<&ObjectReference>) {
        let user = self.surroundings.namespace;
        let Some(reference) = reference else {
            return self
                .findings
                .required(path, "no RetentionPolicy is the default for this namespace");
        };
        let owner = reference.namespace_or(user.name);
        if let Some(policy) = find(self.surroundings.retention_policies, owner, &reference.name) {
            self.findings.usage(
                path,
                owner,
                &reference.name,
                policy.spec.usage_policy.as_ref(),
                user,
            );
        }
    }

    pub(super) fn frame(&mut self, path: &str, frame: &SessionFrame<'_>) {
        if frame.scheduler.is_none() {
            self.findings
                .required(format!("{path}.scheduler"), "it says when the session runs");
        }
        self.findings
            .duration(format!("{path}.backupTimeout"), frame.backup_timeout);
        let delay = frame.retry.and_then(|retry| retry.delay.as_deref());
        self.findings
            .duration(format!("{path}.retryConfig.delay"), delay);
        if let Some(hooks) = frame.hooks {
            let (templates, user) = (
                self.surroundings.hook_templates,
                self.surroundings.namespace,
            );
            for (phase, hooks) in [
                ("preBackup", &hooks.pre_backup),
                ("postBackup", &hooks.post_backup),
            ] {
                self.findings
                    .hooks(&format!("{path}.hooks.{phase}"), hooks, templates, user);
            }
        }
    }

    /// `seen` are the session's repositories so far: each takes one backup of it.
    pub(super) fn session_repositories(
        &mut self,
        path: &str,
        repositories: &'a [RepositoryReference],
        seen: &mut BTreeSet<&'a str>,
    ) {
        if repositories.is_empty() {
            self.findings.required(
                format!("{path}.repositories"),
                "at least one repository takes the data",
            );
        }
        for (index, repository) in repositories.iter().enumerate() {
            let path = format!("{path}.repositories[{index}]");
            self.findings.unique_name(
                format!("{path}.name"),
                repository.name.as_deref(),
                seen,
            );
            self.repository(&path, repository);
        }
    }

    fn repository(&mut self, path: &str, repository: &RepositoryReference) {
        if backend_among(self.backends, repository).is_none() {
            let names = self
                .backends
                .iter()
                .filter_map(|backend| set(backend.name.as_deref()));
            let allowed: Vec<String> = names.map(str::to_owned).collect();
            let path = format!("{path}.backend");
            match set(repository.backend.as_deref()) {
                Some(found) => self.findings.add(
                    path,
                    Problem::NotAllowed {
                        found: found.to_owned(),
                        allowed,
                    },
                ),
                None => self.findings.required(path, "there are several backends"),
            }
        }
        let path = format!("{path}.directory");
        match set(repository.directory.as_deref()) {
            None => self
                .findings
                .required(path, "it says where in the storage the data goes"),
            Some(directory) => {
                if let Some(why) = directory_problem(directory) {
                    self.findings.malformed(path, directory, why);
                }
            }
        }
    }

    /// Two applications in one directory would be one repository: every directory of a storage has one owner.
    pub(super) fn repositories(&mut self, all: &[Named<'a>]) {
        let mut by_directory: BTreeMap<(ObjectReference, &str), &str> = BTreeMap::new();
        let mut by_name: BTreeMap<&str, (ObjectReference, &str)> = BTreeMap::new();
        let mut owners: BTreeMap<&str, &TypedObjectReference> = BTreeMap::new();
        for Named {
            path,
            repository,
            app_ref,
        } in all
        {
            let Some((name, place)) = self.place(repository) else {
                continue;
            };
            if *by_directory.entry(place.clone()).or_insert(name) != name {
                let by = format!(
                    "repository {:?} of this object has this directory",
                    by_directory[&place]
                );
                self.findings
                    .taken(format!("{path}.directory"), place.1, by);
            }
            if *by_name.entry(name).or_insert_with(|| place.clone()) != place {
                let by = "another session has a repository of this name in another place";
                self.findings.taken(format!("{path}.name"), name, by);
            }
            if *owners.entry(name).or_insert(app_ref) != app_ref {
                let by = "another target has this repository; one holds one application";
                self.findings.taken(format!("{path}.name"), name, by);
            }
            self.existing(path, name, &place, app_ref);
        }
    }

    /// Name, storage and directory of a repository, if all of them are given.
    fn place<'r>(
        &self,
        repository: &'r RepositoryReference,
    ) -> Option<(&'r str, (ObjectReference, &'r str))> {
        let name = set(repository.name.as_deref())?;
        let directory = set(repository.directory.as_deref())?;
        let storage = backend_among(self.backends, repository)?.storage_ref.as_ref()?;
        Some((
            name,
            (
                storage.absolute(self.surroundings.namespace.name),
                normalized(directory),
            ),
        ))
    }

    fn existing(
        &mut self,
        path: &str,
        name: &str,
        (storage, directory): &(ObjectReference, &str),
        app_ref: &TypedObjectReference,
    ) {
        let namespace = self.surroundings.namespace.name;
        let own = find(self.surroundings.repositories, namespace, name);
        if let Some(own) = own {
            let known = own
                .spec
                .app_ref
                .as_ref()
                .map(|known| known.absolute(namespace));
            if known.is_some_and(|known| known != *app_ref) {
                self.findings.taken(
                    format!("{path}.name"),
                    name,
                    "a Repository of this name is of another application",
                );
            }
            let place = own
                .spec
                .storage_ref
                .as_ref()
                .map(|storage| storage.absolute(namespace));
            if place.is_some_and(|place| place != *storage) {
                self.findings.taken(
                    format!("{path}.name"),
                    name,
                    "a Repository of this name is in another storage",
                );
            }
            let known = own.spec.path.as_deref().unwrap_or_default();
            if normalized(known) != *directory {
                let why = format!("Repository {} is there", title(own));
                self.findings
                    .immutable(&format!("{path}.directory"), known, *directory, why);
            }
        }
        let stranger = self.surroundings.repositories.iter().find(|other| {
            let place = other
                .spec
                .storage_ref
                .as_ref()
                .zip(other.metadata.namespace.as_deref());
            own.is_none_or(|own| !same(own, **other))
                && place.is_some_and(|(storage_ref, namespace)| {
                    storage_ref.absolute(namespace) == *storage
                })
                && other
                    .spec
                    .path
                    .as_deref()
                    .is_some_and(|path| normalized(path) == *directory)
        });
        if let Some(stranger) = stranger {
            let by = format!(
                "Repository {} has this directory of the storage",
                title(*stranger)
            );
            self.findings
                .taken(format!("{path}.directory"), directory, by);
        }
    }
}
