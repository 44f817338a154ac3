//! HookTemplates that objects name. Of those of other namespaces the usagePolicy is asked before anything begins, and again when each runs.

use std::collections::BTreeSet;

use holdfast_api::HookTemplate;
use holdfast_api::hook::HookInfo;
use holdfast_api::validation::HOOK_TEMPLATES_MAX;
use kube::Api;

use crate::object::Named;

/// Those of other namespaces that hooks of an object of `own` name. What is in its own namespace it may use.
pub fn named_elsewhere<'h>(hooks: impl Iterator<Item = &'h HookInfo>, own: &str) -> BTreeSet<Named> {
    let references = hooks.filter_map(|hook| hook.hook_template.as_ref());
    let named = references.map(|reference| Named::new(reference.namespace_or(own), &reference.name));
    named.filter(|named| named.namespace != own).collect()
}

/// Those of them that are there; not more than one object may name.
pub async fn read(client: &kube::Client, names: BTreeSet<Named>) -> Result<Vec<HookTemplate>, kube::Error> {
    let mut found = Vec::new();
    for name in names.into_iter().take(HOOK_TEMPLATES_MAX) {
        let templates: Api<HookTemplate> = Api::namespaced(client.clone(), &name.namespace);
        found.extend(templates.get_opt(&name.name).await?);
    }
    Ok(found)
}
