//! BackupBlueprint: a BackupConfiguration for every application whose annotations ask for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::blueprint::{Application, place};
use holdfast_api::labels;
use holdfast_api::usage_policy::FromNamespaces;
use holdfast_api::{BackupBlueprint, BackupConfiguration};

use crate::context::{Context, Subject};
use crate::object::Key;

pub mod applications;
pub mod plan;
#[cfg(test)]
mod tests;

/// A blueprint, or the place of one that does not exist, and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its name.
    pub key: Key,
    /// The blueprint, if it exists.
    pub blueprint: Option<Arc<BackupBlueprint>>,
    /// Applications that ask for it.
    pub applications: Vec<Application>,
    /// Labels of the applications' namespaces, where the blueprint selects by them.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Of the applications of its configurations, those that exist, by title.
    pub existing: BTreeSet<String>,
    /// Configurations that it made.
    pub configurations: Vec<Arc<BackupConfiguration>>,
    /// Configurations of the names that it would make, by namespace and name, whoever made them.
    pub named: BTreeMap<(String, String), Arc<BackupConfiguration>>,
}

/// Looks at one blueprint and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let blueprint = context.caches.blueprints.get(&key.namespace, &key.name);
    let observed = observe(context, key, blueprint.clone()).await?;
    let subject = blueprint.as_ref().map_or_else(
        || Subject::absent(key.clone()),
        |blueprint| Subject::of(key.kind, blueprint.as_ref()),
    );
    context.apply(&subject, plan::plan(&observed)).await?;
    if blueprint.is_none() && observed.applications.is_empty() {
        context.forget(key);
    }
    Ok(())
}

async fn observe(
    context: &Context,
    key: &Key,
    blueprint: Option<Arc<BackupBlueprint>>,
) -> Result<Observed, kube::Error> {
    let caches = &context.caches;
    let asks = |application: &Application| application.blueprint() == Some((key.namespace.as_str(), key.name.as_str()));
    let applications: Vec<Application> = applications::all(caches).into_iter().filter(asks).collect();
    let configurations = caches.configurations.select(|configuration| is_of(configuration, key));
    let existing = configurations
        .iter()
        .filter_map(|configuration| plan::application_of(configuration))
        .filter(|title| applications::exists(caches, title))
        .map(str::to_owned)
        .collect();
    let mut namespaces = BTreeMap::new();
    if blueprint.as_deref().is_some_and(selects_namespaces) {
        for application in applications.iter().filter(|application| application.namespace != key.namespace) {
            if !namespaces.contains_key(&application.namespace) {
                let labels = context.namespace_labels(&application.namespace).await?;
                namespaces.insert(application.namespace.clone(), labels);
            }
        }
    }
    let places = blueprint.iter().flat_map(|blueprint| applications.iter().map(|application| place(blueprint, application)));
    let named = places
        .filter_map(|place| caches.configurations.get(&place.0, &place.1).map(|found| (place, found)))
        .collect();
    Ok(Observed { key: key.clone(), applications, labels: namespaces, existing, configurations, named, blueprint })
}

fn selects_namespaces(blueprint: &BackupBlueprint) -> bool {
    let allowed = blueprint.spec.usage_policy.as_ref().and_then(|policy| policy.allowed_namespaces.as_ref());
    allowed.and_then(|allowed| allowed.from) == Some(FromNamespaces::Selector)
}

/// The blueprint that made a configuration.
pub fn blueprint_of(configuration: &BackupConfiguration) -> Option<Key> {
    let labels = configuration.metadata.labels.as_ref()?;
    (labels.get(labels::INVOKER_KIND)? == BackupBlueprint::KIND).then_some(())?;
    let (namespace, name) = (labels.get(labels::INVOKER_NAMESPACE)?, labels.get(labels::INVOKER_NAME)?);
    Some(Key::new(crate::object::Kind::BackupBlueprint, namespace, name))
}

fn is_of(configuration: &BackupConfiguration, key: &Key) -> bool {
    blueprint_of(configuration).is_some_and(|blueprint| {
        blueprint.namespace == key.namespace && blueprint.name == holdfast_api::names::bounded(&key.name)
    })
}
