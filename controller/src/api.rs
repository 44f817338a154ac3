//! The API server's collections by our own names for kinds.

use holdfast_api::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, BackupVerificationSession, Repository, RestoreSession,
    Snapshot,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Preconditions};
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
