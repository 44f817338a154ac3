//! Reads objects for a backup, page by page. What the account may not read is named and left out; what did not answer ends the attempt.

use std::collections::BTreeSet;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::Value;

use super::outflow::Outflow;
use super::resources::{Resource, Resources};
use super::selection::Selection;
use super::{BackupOrder, Refused, Scope, is_final, is_name, strip, workload};
use crate::api::said;

/// Objects of one page: each may have more than a megabyte.
const PAGE_OBJECTS: u32 = 20;

/// Reads all that an order names.
pub(super) async fn all(base: &kube::Client, order: &BackupOrder, mut out: Outflow) -> Result<(), Refused> {
    let client = order.identity.client(base).map_err(|error| Refused::for_good(error.to_string()))?;
    match &order.scope {
        Scope::Workload { group, kind, namespace, name, rbac } => {
            let workload = workload::Workload { group, kind, namespace, name, rbac: *rbac };
            workload::read(&client, &workload, &mut out).await?;
        }
        Scope::Cluster(selection) => cluster(&client, selection, &mut out).await?,
    }
    out.end().await
}

async fn cluster(client: &kube::Client, selection: &Selection, out: &mut Outflow) -> Result<(), Refused> {
    let resources = Resources::ask(client).await.map_err(|error| refused("the API server's resources", &error))?;
    resources.away.iter().for_each(|away| out.left_out.add(away.clone()));
    let mut namespaces = Namespaces::default();
    for resource in resources.preferred() {
        let api = &resource.api;
        let is_wanted = resource.is_stored && strip::is_stored(&api.plural, &api.group) && selection.takes_resource(&api.plural, &api.group);
        if !is_wanted || (!resource.namespaced && !selection.cluster) {
            continue;
        }
        let within = match selection.named_namespaces().filter(|_| resource.namespaced) {
            Some(named) => named.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for namespace in within {
            let wanted = |object: &Value| namespaces.take(resource, selection, object);
            each(client, api, namespace, selection.label_selector(), out, wanted).await?;
        }
    }
    // With the objects the namespace that they are in, as far as it may be read.
    if selection.takes_resource("namespaces", "") {
        for namespace in namespaces.used.difference(&namespaces.stored) {
            one(client, &core("Namespace", "namespaces"), None, namespace, out, Missing::IsFine).await?;
        }
    }
    Ok(())
}

/// Namespaces with objects in the backup, and those that are in it themselves.
#[derive(Debug, Default)]
struct Namespaces {
    used: BTreeSet<String>,
    stored: BTreeSet<String>,
}

impl Namespaces {
    /// Whether an object is taken; if it is, its namespace is used.
    fn take(&mut self, resource: &Resource, selection: &Selection, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let (own, within) = (metadata["name"].as_str().unwrap_or_default(), metadata["namespace"].as_str());
        let is_namespace = resource.api.plural == "namespaces" && resource.api.group.is_empty();
        let place = if is_namespace { Some(own) } else { within };
        if !selection.takes_labels(&metadata["labels"]) || !place.is_none_or(|place| selection.takes_namespace(place)) {
            return false;
        }
        let seen = if is_namespace { &mut self.stored } else { &mut self.used };
        seen.extend(place.map(str::to_owned));
        true
    }
}

/// What it means that an object is not there, or may not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is the backup's object.
    IsFatal,
    /// It is named if it may not be read; one that is not there is not needed.
    IsSaid,
    /// Nobody asked for it.
    IsFine,
}

/// Reads one object and gives it on. Also back, as it was found.
pub(super) async fn one(
    client: &kube::Client,
    api: &ApiResource,
    namespace: Option<&str>,
    name: &str,
    out: &mut Outflow,
    missing: Missing,
) -> Result<Option<Value>, Refused> {
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, api),
        None => Api::all_with(client.clone(), api),
    };
    // Pods may name what cannot be.
    if !is_name(name) {
        return Ok(None);
    }
    let what = format!("{} {}{name}", api.kind, namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default());
    match objects.get(name).await {
        Ok(found) => {
            let whole = as_value(found, api)?;
            if let Some(object) = strip::stripped(whole.clone()) {
                out.object(&object).await?;
            }
            Ok(Some(whole))
        }
        Err(error) if missing == Missing::IsFatal => Err(refused(&what, &error)),
        Err(error) if is_final(&error) => {
            let is_absent = matches!(&error, kube::Error::Api(status) if status.is_not_found());
            if missing == Missing::IsSaid && !is_absent {
                out.left_out.add(format!("{what}: {}", said(&error)));
            }
            Ok(None)
        }
        Err(error) => Err(refused(&what, &error)),
    }
}

/// Reads one page after the other, and gives on what is wanted of it.
pub(super) async fn each(
    client: &kube::Client,
    api: &ApiResource,
    namespace: Option<&str>,
    label_selector: Option<String>,
    out: &mut Outflow,
    mut wanted: impl FnMut(&Value) -> bool,
) -> Result<(), Refused> {
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, api),
        None => Api::all_with(client.clone(), api),
    };
    let mut page = ListParams { label_selector, limit: Some(PAGE_OBJECTS), ..ListParams::default() };
    loop {
        let listed = match objects.list(&page).await {
            Ok(listed) => listed,
            Err(error) if is_final(&error) => {
                out.left_out.add(title(api, namespace, &said(&error)));
                return Ok(());
            }
            Err(error) => return Err(refused(&title(api, namespace, "could not be listed"), &error)),
        };
        let next = listed.metadata.continue_.clone().filter(|token| !token.is_empty());
        for object in listed.items {
            if let Some(object) = strip::stripped(as_value(object, api)?).filter(&mut wanted) {
                out.object(&object).await?;
            }
        }
        match next {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

/// A resource of Kubernetes' own first group.
pub(super) fn core(kind: &str, plural: &str) -> ApiResource {
    resource("", kind, plural)
}

/// A resource in version 1 of its group.
pub(super) fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    ApiResource { group: group.into(), version: "v1".into(), api_version, kind: kind.into(), plural: plural.into() }
}

/// Objects in a list leave out their type.
fn as_value(object: DynamicObject, api: &ApiResource) -> Result<Value, Refused> {
    let mut value = serde_json::to_value(object).map_err(|error| Refused::for_good(error.to_string()))?;
    value["apiVersion"] = Value::from(api.api_version.as_str());
    value["kind"] = Value::from(api.kind.as_str());
    Ok(value)
}

fn title(api: &ApiResource, namespace: Option<&str>, what: &str) -> String {
    let group = if api.group.is_empty() { String::new() } else { format!(".{}", api.group) };
    let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    format!("{}{group}{place}: {what}", api.plural)
}

fn refused(what: &str, error: &kube::Error) -> Refused {
    Refused { message: format!("{what}: {}", said(error)), retry_may_help: !is_final(error) }
}

#[cfg(test)]
mod tests;
