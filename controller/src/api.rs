//! The API server's collections by our own names for kinds.

use holdfast_api::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, Repository, RestoreSession, Snapshot,
};
use kube::api::{Api, ApiResource, DynamicObject};

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
    }
}

/// Objects of a kind without their types: for patches and deletions, which must not drop fields that we do not know.
pub fn of_kind(client: &kube::Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}
