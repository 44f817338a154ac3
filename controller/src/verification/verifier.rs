//! Whether a verifier can do its work for an invoker.

use std::sync::Arc;

use holdfast_api::backup_verifier::VerificationType;
use holdfast_api::validation::backup_verifier::validate;
use holdfast_api::{BackupVerificationSession, BackupVerifier};

use crate::context::Context;
use crate::invoker::Invoker;
use crate::object::Named;
use crate::target::consent;

/// Why it cannot, if that is so. One of another namespace has no usagePolicy: it grants its use by an annotation, as a Repository does.
pub fn problem(name: &Named, verifier: Option<&BackupVerifier>, namespace: &str) -> Option<String> {
    let Some(verifier) = verifier else { return Some(format!("BackupVerifier {name} does not exist")) };
    if name.namespace != namespace && !consent::granted(&verifier.metadata, namespace) {
        let (theirs, name) = (&name.namespace, &name.name);
        return Some(format!(
            "BackupVerifier {theirs}/{name} does not grant its use to {namespace}: kubectl -n {theirs} annotate backupverifier {name} {}={namespace}",
            consent::GRANTED_TO
        ));
    }
    if let Err(errors) = validate(verifier) {
        return Some(format!("BackupVerifier {name}: {errors}"));
    }
    None
}

/// Whether a Function is to look at what was restored.
pub(super) fn runs_function(verifier: &BackupVerifier) -> bool {
    matches!(verifier.spec.type_, Some(VerificationType::Script | VerificationType::Query))
}

/// A Function that is not there, or may not run, says nothing of the backup.
fn function_problem(context: &Context, verifier: &BackupVerifier) -> Option<String> {
    let function = verifier.spec.function.as_deref().unwrap_or_default();
    if !runs_function(verifier) {
        None
    } else if !context.functions.are_allowed() {
        Some("Functions do not run here (functions.enabled and webhooks.enabled of the chart)".into())
    } else {
        context.caches.functions.get("", function).is_none().then(|| format!("Function {function} does not exist"))
    }
}

/// The verifier that the invoker names for what a session tries, if it can do its work.
pub(super) fn of(
    context: &Context,
    invoker: Option<&Invoker>,
    session: &BackupVerificationSession,
    namespace: &str,
) -> Result<Arc<BackupVerifier>, String> {
    let invoker = invoker.ok_or("the BackupConfiguration or BackupBatch that it names does not exist")?;
    let key = invoker.key();
    let (name, repository) = (session.spec.session.as_deref(), session.spec.repository.as_deref());
    let view = invoker.session(name).ok_or_else(|| format!("{} {} has no session {:?}", key.kind.as_str(), key.name, name.unwrap_or_default()))?;
    let named = view.repositories().find(|(_, reference)| reference.name.as_deref() == repository && repository.is_some());
    let reference = named.and_then(|(_, reference)| reference.backup_verifier.as_ref()).ok_or_else(|| {
        format!("{} {} names no verifier for Repository {:?}", key.kind.as_str(), key.name, repository.unwrap_or_default())
    })?;
    let name = Named::new(reference.namespace_or(namespace), &reference.name);
    let found = context.caches.verifiers.get(&name.namespace, &name.name);
    let problem = problem(&name, found.as_deref(), namespace).or_else(|| function_problem(context, found.as_deref()?));
    match (problem, found) {
        (None, Some(found)) => Ok(found),
        (problem, _) => Err(problem.unwrap_or_default()),
    }
}
