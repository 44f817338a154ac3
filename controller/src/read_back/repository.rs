//! From a `repository.yaml` to a Repository.

use std::collections::BTreeMap;

use holdfast_api::repository::RepositorySpec;
use holdfast_api::{ObjectReference, Repository, labels};
use holdfast_proto::v1;

use super::{FROM, application, document, is_name, is_namespace, is_word};
use crate::object::Named;

const VIEW: &str = "/repository.yaml";
/// Labels that mean something: by whom it was made, for which application.
const LABELS: [&str; 7] = [
    labels::MANAGED_BY,
    labels::INVOKER_KIND,
    labels::INVOKER_NAMESPACE,
    labels::INVOKER_NAME,
    labels::APP_REF_KIND,
    labels::APP_REF_NAMESPACE,
    labels::APP_REF_NAME,
];

/// The directory that a view lies in.
pub fn directory(view: &v1::ReadView) -> &str {
    view.path.strip_suffix(VIEW).unwrap_or_default()
}

/// The Repository that a view of `storage` stands for. Where it is, is where the view was found; its Secret is one of its own namespace;
/// and nothing that is read back wipes anything out.
pub fn from_view(view: &v1::ReadView, storage: &Named) -> Result<Repository, String> {
    let directory = directory(view);
    if directory.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it lies in no directory".into());
    }
    let told: Repository = serde_json::from_value(document(view, Repository::KIND)?).map_err(|error| error.to_string())?;
    let name = told.metadata.name.filter(|name| is_name(name)).ok_or("metadata.name is no name")?;
    let namespace = told.metadata.namespace.filter(|name| is_namespace(name)).ok_or("metadata.namespace is no name")?;
    let secret = told.spec.encryption_secret.map(|secret| secret.name);
    if secret.as_ref().is_some_and(|secret| !is_name(secret)) {
        return Err("spec.encryptionSecret.name is no name".into());
    }
    let path = told.spec.path.filter(|path| path.trim_matches('/') == directory);
    let app_ref = told.spec.app_ref.and_then(application).map(|app| app.absolute(&namespace));
    let mut repository = Repository::new(
        &name,
        RepositorySpec {
            app_ref,
            storage_ref: Some(ObjectReference { name: storage.name.clone(), namespace: Some(storage.namespace.clone()) }),
            path: Some(path.unwrap_or_else(|| format!("/{directory}"))),
            deletion_policy: None,
            encryption_secret: secret.map(|name| ObjectReference { name, namespace: Some(namespace.clone()) }),
            paused: None,
        },
    );
    let mut kept: BTreeMap<String, String> = told.metadata.labels.unwrap_or_default();
    kept.retain(|label, value| LABELS.contains(&label.as_str()) && is_word(value));
    repository.metadata.labels = Some(kept).filter(|kept| !kept.is_empty());
    repository.metadata.namespace = Some(namespace);
    repository.metadata.annotations = Some([(FROM.to_owned(), storage.to_string())].into());
    Ok(repository)
}
