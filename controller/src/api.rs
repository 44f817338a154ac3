//! The API server's collections by our own names for kinds.

use holdfast_api::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, BackupVerificationSession, Repository, RestoreSession,
    Snapshot,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Preconditions};
use kube::runtime::watcher;
use serde::de::DeserializeOwned;

use crate::object::Kind;

/// What kube needs to address a kind.
pub fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::BackupStorage => ApiResource::erase::<BackupStorage>(&()),
        Kind::Repository => ApiResource::erase::<Repository>(&()),
        Kind::BackupConfiguration => ApiResource::erase::<BackupConfiguration>(&()),
        Kind::BackupBatch => ApiResource::erase::<BackupBatch>(&()),
        Kind::BackupSession => ApiResource::erase::<BackupSession>(&()),
        Kind::Snapshot => ApiResource::erase::<Snapshot>(&()),
        Kind::RestoreSession => ApiResource::erase::<RestoreSession>(&()),
        Kind::BackupBlueprint => ApiResource::erase::<BackupBlueprint>(&()),
        Kind::BackupVerificationSession => ApiResource::erase::<BackupVerificationSession>(&()),
    }
}

/// Objects of a kind without their types: for patches and deletions, which must not drop fields that we do not know.
pub fn of_kind(client: &kube::Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// Whether somebody else was faster: what stands there now is to be read again.
pub fn is_race(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}

/// Characters of what an API server says that are shown.
const SAID_MAX: usize = 400;

/// What an API server says, as one line for a condition, an Event or a status: its Display is the whole answer, over many lines.
pub fn said(error: &kube::Error) -> String {
    let text = match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("it answers {} {}", status.code, status.reason),
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SAID_MAX).collect()
}

/// The same of a watch.
pub fn said_of_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => said(error),
        watcher::Error::WatchError(status) => said(&kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Deletes an object if it is still the one of this UID.
pub async fn delete<K>(objects: &Api<K>, name: &str, uid: String, params: DeleteParams) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = DeleteParams { preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }), ..params };
    match objects.delete(name, &params).await {
        Ok(_) => Ok(()),
        // Gone, or another of that name: what was to be deleted is.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_an_api_server_says_is_one_short_line() {
        let answer = |message: &str| kube::Error::Api(Box::new(Status::failure(message, "Forbidden").with_code(403)));
        let forbidden = answer("secrets \"s3\" is forbidden:\n  User \"u\" cannot get resource");
        assert_eq!(said(&forbidden), "secrets \"s3\" is forbidden: User \"u\" cannot get resource");
        assert!(forbidden.to_string().contains('\n'), "and so it does not speak for itself");
        assert_eq!(said(&answer("")), "it answers 403 Forbidden");
        assert_eq!(said(&answer(&"x".repeat(5000))).len(), SAID_MAX);
        let status = Box::new(Status::failure("too old resource version", "Expired").with_code(410));
        assert_eq!(said_of_watch(&watcher::Error::WatchError(status)), "too old resource version");
        assert_eq!(said_of_watch(&watcher::Error::InitialListFailed(forbidden)), "secrets \"s3\" is forbidden: User \"u\" cannot get resource");
    }
}
