//! What makes a BackupBatch invalid. KubeStash's own webhook checks nothing here, so that a batch fails only when it runs.

use std::collections::{BTreeMap, BTreeSet};

use super::invoker::{Check, Named, SessionFrame, Surroundings, backend_among};
use super::{FieldErrors, Findings, Problem, set};
use crate::backup_batch::{BackupBatch, BackupBatchSpec, BatchSession};
use crate::backup_configuration::{BackendReference, RepositoryReference};
use crate::reference::TypedObjectReference;

/// Checks a batch, after its defaults were filled in.
pub fn validate(
    batch: &BackupBatch,
    surroundings: Surroundings<'_>,
) -> Result<(), FieldErrors> {
    let spec = &batch.spec;
    let mut check = Check::new(&spec.backends, surroundings);
    let targets = targets(&mut check.findings, spec);
    check.backends();
    check.sessions(
        &spec.sessions,
        |session| session.name.as_deref(),
        |check, path, one| session(check, path, one, &targets),
    );
    let all = repositories(spec, &targets, surroundings.namespace.name);
    check.repositories(&all);
    check.findings.result()
}

impl BackupBatchSpec {
    /// The backend that a repository goes to: the one it names, else the one without a name, else the only one.
    pub fn backend_of(&self, repository: &RepositoryReference) -> Option<&BackendReference> {
        backend_among(&self.backends, repository)
    }
}

type Targets<'a> = BTreeMap<&'a str, Option<&'a TypedObjectReference>>;

fn targets<'a>(findings: &mut Findings, spec: &'a BackupBatchSpec) -> Targets<'a> {
    if spec.targets.is_empty() {
        findings.required("spec.targets", "at least one application is backed up");
    }
    let mut seen = BTreeSet::new();
    for (index, target) in spec.targets.iter().enumerate() {
        let path = format!("spec.targets[{index}]");
        findings.unique_name(format!("{path}.name"), target.name.as_deref(), &mut seen);
        if target.app_ref.is_none() {
            findings.required(
                format!("{path}.appRef"),
                "it says which application is meant",
            );
        }
    }
    spec.targets
        .iter()
        .filter_map(|target| Some((set(target.name.as_deref())?, target.app_ref.as_ref())))
        .collect()
}

fn session<'a>(
    check: &mut Check<'a>,
    path: &str,
    session: &'a BatchSession,
    targets: &Targets<'a>,
) {
    check.frame(
        path,
        &SessionFrame {
            scheduler: session.scheduler.as_ref(),
            backup_timeout: session.backup_timeout.as_deref(),
            retry: session.retry_config.as_ref(),
            hooks: session.hooks.as_ref(),
        },
    );
    if session.targets.is_empty() {
        check.findings.required(
            format!("{path}.targets"),
            "at least one application is backed up",
        );
    }
    let (mut seen, mut repositories) = (BTreeSet::new(), BTreeSet::new());
    for (index, target) in session.targets.iter().enumerate() {
        let path = format!("{path}.targets[{index}]");
        let name = target.name.as_deref();
        check
            .findings
            .unique_name(format!("{path}.name"), name, &mut seen);
        if let Some(name) = set(name).filter(|name| !targets.contains_key(name)) {
            let allowed = targets.keys().map(|name| (*name).to_owned()).collect();
            check.findings.add(
                format!("{path}.name"),
                Problem::NotAllowed {
                    found: name.to_owned(),
                    allowed,
                },
            );
        }
        check
            .findings
            .addon(&format!("{path}.addon"), target.addon.as_ref());
        check.session_repositories(&path, &target.repositories, &mut repositories);
    }
}

fn repositories<'a>(
    spec: &'a BackupBatchSpec,
    targets: &Targets<'a>,
    namespace: &str,
) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for (index, session) in spec.sessions.iter().enumerate() {
        for (place, target) in session.targets.iter().enumerate() {
            let app_ref = set(target.name.as_deref())
                .and_then(|name| targets.get(name).copied().flatten())
                .map_or_else(TypedObjectReference::not_applicable, |app_ref| {
                    app_ref.absolute(namespace)
                });
            for (position, repository) in target.repositories.iter().enumerate() {
                all.push(Named {
                    path: format!(
                        "spec.sessions[{index}].targets[{place}].repositories[{position}]"
                    ),
                    repository,
                    app_ref: app_ref.clone(),
                });
            }
        }
    }
    all
}
