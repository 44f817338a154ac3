//! What an API server has to offer, asked group by group: one whose server is away hides no other.

use kube::core::ApiResource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};

use crate::api::said;

/// Resources of one group version, and groups in all.
const RESOURCES_MAX: usize = 2_000;
const GROUPS_MAX: usize = 2_000;

/// One resource.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) api: ApiResource,
    pub(super) namespaced: bool,
    /// Objects of it can be listed and made: what is only computed cannot be brought back.
    pub(super) is_stored: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Resources {
    /// In each version that is served, the preferred one first.
    all: Vec<Resource>,
    /// What could not be asked.
    pub(super) away: Vec<String>,
}

impl Resources {
    /// Asks the API server. Fails only if that says nothing at all.
    pub(super) async fn ask(client: &kube::Client) -> Result<Self, kube::Error> {
        let mut resources = Self::default();
        resources.add("v1", client.list_core_api_resources("v1").await?);
        for group in client.list_api_groups().await?.groups.into_iter().take(GROUPS_MAX) {
            let preferred = group.preferred_version.map(|version| version.group_version);
            let others = group.versions.into_iter().map(|version| version.group_version);
            let others: Vec<String> = others.filter(|version| Some(version) != preferred.as_ref()).collect();
            for version in preferred.into_iter().chain(others) {
                match client.list_api_group_resources(&version).await {
                    Ok(listed) => resources.add(&version, listed),
                    Err(error) => resources.away.push(format!("resources of {version}: {}", said(&error))),
                }
            }
        }
        Ok(resources)
    }

    fn add(&mut self, api_version: &str, listed: APIResourceList) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let whole = listed.resources.into_iter().filter(|resource| !resource.name.contains('/'));
        self.all.extend(whole.take(RESOURCES_MAX).map(|resource| described(group, version, api_version, resource)));
    }

    /// Each resource once, in the version that its group prefers.
    pub(super) fn preferred(&self) -> Vec<&Resource> {
        let mut seen = std::collections::BTreeSet::new();
        self.all.iter().filter(|resource| seen.insert((&resource.api.group, &resource.api.plural))).collect()
    }

    /// That of an object.
    pub(super) fn of(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.all.iter().find(|resource| resource.api.api_version == api_version && resource.api.kind == kind)
    }
}

fn described(group: &str, version: &str, api_version: &str, resource: APIResource) -> Resource {
    let can = |verb: &str| resource.verbs.iter().any(|known| known == verb);
    Resource {
        namespaced: resource.namespaced,
        is_stored: can("list") && can("create"),
        api: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: resource.kind,
            plural: resource.name,
        },
    }
}
