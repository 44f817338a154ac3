//! Makes one object. What exists stays as it stands, unless the order says otherwise: so a second attempt finds what the first has made.

use std::collections::BTreeSet;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::manifests::RestoreOrder;
use crate::manifests::read::core;
use crate::manifests::resources::{Resource, Resources};

const MANAGER: &str = "holdfast";

/// What has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Made {
    /// It was not there.
    New,
    /// It was there, and is as it was stored.
    Changed,
    /// It was there, and has been left.
    Stood,
}

pub(super) struct Maker {
    client: kube::Client,
    pub(super) resources: Resources,
    overrides: bool,
    dry_run: bool,
    /// Namespaces that were looked for, or made; in a dry run those that would be.
    ensured: BTreeSet<String>,
    absent: BTreeSet<String>,
}

impl Maker {
    pub(super) fn new(client: kube::Client, resources: Resources, order: &RestoreOrder) -> Self {
        let (overrides, dry_run) = (order.choice.overrides, order.dry_run);
        Self { client, resources, overrides, dry_run, ensured: BTreeSet::new(), absent: BTreeSet::new() }
    }

    /// Makes one; with its UID, if it is as the order says.
    pub(super) async fn make(&mut self, resource: &Resource, object: Value) -> Result<(Made, Option<String>), kube::Error> {
        let new: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        let name = new.metadata.name.clone().unwrap_or_default();
        let namespace = new.metadata.namespace.as_deref().filter(|_| resource.namespaced);
        if let Some(namespace) = namespace {
            self.ensure(namespace).await?;
            if self.absent.contains(namespace) {
                return Ok((Made::New, None));
            }
        }
        let objects: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource.api),
            None => Api::all_with(self.client.clone(), &resource.api),
        };
        let params = PostParams { dry_run: self.dry_run, field_manager: Some(MANAGER.into()) };
        let refused = match objects.create(&params, &new).await {
            Ok(made) => return Ok((Made::New, made.metadata.uid)),
            Err(error) => error,
        };
        if !exists(&objects, &name, &refused).await? {
            return Err(refused);
        }
        if !self.overrides {
            return Ok((Made::Stood, None));
        }
        let params = PatchParams { dry_run: self.dry_run, ..PatchParams::apply(MANAGER).force() };
        objects.patch(&name, &params, &Patch::Apply(&new)).await.map(|changed| (Made::Changed, changed.metadata.uid))
    }

    /// A namespace that is not there is made: the file may not have it, or it was not asked for. One that is in the file has had its turn.
    async fn ensure(&mut self, namespace: &str) -> Result<(), kube::Error> {
        if self.ensured.contains(namespace) {
            return Ok(());
        }
        let namespaces: Api<DynamicObject> = Api::all_with(self.client.clone(), &core("Namespace", "namespaces"));
        let is_there = match namespaces.get_opt(namespace).await {
            Ok(found) => found.is_some(),
            // Whoever may not look at it may still work in it.
            Err(kube::Error::Api(status)) if status.is_forbidden() => true,
            Err(error) => return Err(error),
        };
        if !is_there && self.dry_run {
            self.absent.insert(namespace.to_owned());
        } else if !is_there {
            let new = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let new: DynamicObject = serde_json::from_value(new).map_err(kube::Error::SerdeError)?;
            match namespaces.create(&PostParams { dry_run: false, field_manager: Some(MANAGER.into()) }, &new).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                made => _ = made?,
            }
        }
        self.ensured.insert(namespace.to_owned());
        Ok(())
    }
}

/// Whether an object that could not be made is there: one that exists may be called invalid before anybody looks, such as a Service
/// whose node port is taken by itself.
async fn exists(objects: &Api<DynamicObject>, name: &str, refused: &kube::Error) -> Result<bool, kube::Error> {
    match refused {
        kube::Error::Api(status) if status.is_already_exists() => Ok(true),
        kube::Error::Api(status) if status.code == 422 => Ok(objects.get_opt(name).await?.is_some()),
        _ => Ok(false),
    }
}

/// Whether nothing that comes later makes it possible.
pub(super) fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 405 | 413 | 422))
}
