//! What makes a BackupConfiguration invalid.

use std::collections::{BTreeMap, BTreeSet};

use super::repository::{directory_problem, normalized};
use super::{FieldErrors, Findings, Problem, find, same, set, title};
use crate::backup_configuration::{
    BackendReference, BackupConfiguration, BackupConfigurationSpec, RepositoryReference, Session,
};
use crate::backup_storage::BackupStorage;
use crate::hook_template::HookTemplate;
use crate::reference::{ObjectReference, TypedObjectReference};
use crate::repository::Repository;
use crate::retention_policy::RetentionPolicy;
use crate::usage_policy::Namespace;

/// What a configuration is checked against: all objects of the cluster that it may refer to or collide with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Namespace of the configuration.
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

/// Checks a configuration, after its defaults were filled in.
pub fn validate(
    configuration: &BackupConfiguration,
    surroundings: Surroundings<'_>,
) -> Result<(), FieldErrors> {
    let mut check = Check {
        spec: &configuration.spec,
        surroundings,
        findings: Findings::default(),
    };
    check.backends();
    check.sessions();
    check.repositories();
    check.findings.result()
}

impl BackupConfigurationSpec {
    /// The backend that a repository goes to: the one it names, else the one without a name, else the only one.
    pub fn backend_of(&self, repository: &RepositoryReference) -> Option<&BackendReference> {
        let named = |name: Option<&str>| {
            self.backends
                .iter()
                .find(|backend| set(backend.name.as_deref()) == name)
        };
        match set(repository.backend.as_deref()) {
            Some(name) => named(Some(name)),
            None => {
                named(None).or_else(|| self.backends.first().filter(|_| self.backends.len() == 1))
            }
        }
    }

    /// What a Repository of this configuration in `namespace` says it is of.
    pub fn app_ref(&self, namespace: &str) -> TypedObjectReference {
        self.target
            .as_ref()
            .map_or_else(TypedObjectReference::not_applicable, |target| {
                target.absolute(namespace)
            })
    }
}

struct Check<'a> {
    spec: &'a BackupConfigurationSpec,
    surroundings: Surroundings<'a>,
    findings: Findings,
}

impl<'a> Check<'a> {
    fn backends(&mut self) {
        if self.spec.backends.is_empty() {
            self.findings.required(
                "spec.backends",
                "no BackupStorage is the default for this namespace",
            );
        }
        let mut seen = BTreeSet::new();
        for (index, backend) in self.spec.backends.iter().enumerate() {
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

    fn sessions(&mut self) {
        if self.spec.sessions.is_empty() {
            self.findings
                .required("spec.sessions", "at least one session takes backups");
        }
        let mut seen = BTreeSet::new();
        for (index, session) in self.spec.sessions.iter().enumerate() {
            let path = format!("spec.sessions[{index}]");
            self.findings
                .unique_name(format!("{path}.name"), session.name.as_deref(), &mut seen);
            self.session(&path, session);
        }
    }

    fn session(&mut self, path: &str, session: &'a Session) {
        if session.scheduler.is_none() {
            self.findings
                .required(format!("{path}.scheduler"), "it says when the session runs");
        }
        self.findings
            .addon(&format!("{path}.addon"), session.addon.as_ref());
        self.findings.duration(
            format!("{path}.backupTimeout"),
            session.backup_timeout.as_deref(),
        );
        let delay = session
            .retry_config
            .as_ref()
            .and_then(|retry| retry.delay.as_deref());
        self.findings
            .duration(format!("{path}.retryConfig.delay"), delay);
        if let Some(hooks) = &session.hooks {
            let (templates, user) = (
                self.surroundings.hook_templates,
                self.surroundings.namespace,
            );
            self.findings.hooks(
                &format!("{path}.hooks.preBackup"),
                &hooks.pre_backup,
                templates,
                user,
            );
            self.findings.hooks(
                &format!("{path}.hooks.postBackup"),
                &hooks.post_backup,
                templates,
                user,
            );
        }
        if session.repositories.is_empty() {
            self.findings.required(
                format!("{path}.repositories"),
                "at least one repository takes the data",
            );
        }
        let mut seen = BTreeSet::new();
        for (index, repository) in session.repositories.iter().enumerate() {
            let path = format!("{path}.repositories[{index}]");
            self.findings.unique_name(
                format!("{path}.name"),
                repository.name.as_deref(),
                &mut seen,
            );
            self.repository(&path, repository);
        }
    }

    fn repository(&mut self, path: &str, repository: &RepositoryReference) {
        if self.spec.backend_of(repository).is_none() {
            let names = self
                .spec
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
    fn repositories(&mut self) {
        let mut by_directory: BTreeMap<(ObjectReference, &str), &str> = BTreeMap::new();
        let mut by_name: BTreeMap<&str, (ObjectReference, &str)> = BTreeMap::new();
        for (index, session) in self.spec.sessions.iter().enumerate() {
            for (position, repository) in session.repositories.iter().enumerate() {
                let path = format!("spec.sessions[{index}].repositories[{position}]");
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
                self.existing(&path, name, &place);
            }
        }
    }

    /// Name, storage and directory of a repository, if all of them are given.
    fn place<'r>(
        &self,
        repository: &'r RepositoryReference,
    ) -> Option<(&'r str, (ObjectReference, &'r str))> {
        let name = set(repository.name.as_deref())?;
        let directory = set(repository.directory.as_deref())?;
        let storage = self.spec.backend_of(repository)?.storage_ref.as_ref()?;
        Some((
            name,
            (
                storage.absolute(self.surroundings.namespace.name),
                normalized(directory),
            ),
        ))
    }

    fn existing(&mut self, path: &str, name: &str, (storage, directory): &(ObjectReference, &str)) {
        let namespace = self.surroundings.namespace.name;
        let own = find(self.surroundings.repositories, namespace, name);
        if let Some(own) = own {
            let app_ref = self.spec.app_ref(namespace);
            let known = own
                .spec
                .app_ref
                .as_ref()
                .map(|known| known.absolute(namespace));
            if known.is_some_and(|known| known != app_ref) {
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
                let problem = Problem::Immutable {
                    found: (*directory).to_owned(),
                    was: known.to_owned(),
                    why,
                };
                self.findings.add(format!("{path}.directory"), problem);
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
