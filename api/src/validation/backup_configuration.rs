//! What makes a BackupConfiguration invalid.

use std::collections::BTreeSet;

pub use super::invoker::Surroundings;
use super::invoker::{Check, Named, SessionFrame, backend_among};
use super::FieldErrors;
use crate::backup_configuration::{
    BackendReference, BackupConfiguration, BackupConfigurationSpec, RepositoryReference, Session,
};
use crate::reference::TypedObjectReference;

/// Checks a configuration, after its defaults were filled in.
pub fn validate(
    configuration: &BackupConfiguration,
    surroundings: Surroundings<'_>,
) -> Result<(), FieldErrors> {
    let spec = &configuration.spec;
    let mut check = Check::new(&spec.backends, surroundings);
    check.backends();
    check.sessions(
        &spec.sessions,
        |session| session.name.as_deref(),
        session,
    );
    repositories(&mut check, spec, surroundings.namespace.name);
    check.findings.result()
}

impl BackupConfigurationSpec {
    /// The backend that a repository goes to: the one it names, else the one without a name, else the only one.
    pub fn backend_of(&self, repository: &RepositoryReference) -> Option<&BackendReference> {
        backend_among(&self.backends, repository)
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

fn session<'a>(check: &mut Check<'a>, path: &str, session: &'a Session) {
    check.frame(
        path,
        &SessionFrame {
            scheduler: session.scheduler.as_ref(),
            backup_timeout: session.backup_timeout.as_deref(),
            retry: session.retry_config.as_ref(),
            hooks: session.hooks.as_ref(),
        },
    );
    check
        .findings
        .addon(&format!("{path}.addon"), session.addon.as_ref());
    check.session_repositories(path, &session.repositories, &mut BTreeSet::new());
}

fn repositories<'a>(check: &mut Check<'a>, spec: &'a BackupConfigurationSpec, namespace: &str) {
    let mut all = Vec::new();
    for (index, session) in spec.sessions.iter().enumerate() {
        for (position, repository) in session.repositories.iter().enumerate() {
            all.push(Named {
                path: format!("spec.sessions[{index}].repositories[{position}]"),
                repository,
                app_ref: spec.app_ref(namespace),
            });
        }
    }
    check.repositories(&all);
}
