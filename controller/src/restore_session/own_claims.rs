//! Claims that a restore makes for itself: one for each path of a component, filled, and left to whoever mounts it then.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::addon_info::TargetVolumes;
use holdfast_api::names::component;
use holdfast_api::offshoot::volume::PersistentVolumeClaim as Template;
use holdfast_api::template::{ExpandError, expand};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use super::{Observed, components};
use crate::action::Action;
use crate::context::Context;
use crate::holder::Purpose;
use crate::object::as_owner;
use crate::target::{self, Reach, Shape, Target};
use crate::verification;

/// Paths of one component that a try takes: each has a claim.
pub const PATHS_MAX: usize = 16;

/// On a claim that a restore has made: the restore's UID.
pub const MADE_BY: &str = "holdfast.dev/made-by";

/// A claim for one path of a component, and how it stands.
#[derive(Clone, Debug)]
pub struct OwnClaim {
    /// As it is to be made; or why it cannot be.
    pub claim: Result<PersistentVolumeClaim, String>,
    /// It as a target.
    pub target: Option<Target>,
    /// Whether this restore has made it.
    pub is_ours: bool,
}

/// The claims of the components that are chosen.
pub(super) async fn observe(context: &Context, observed: &Observed, namespace: &str) -> Result<BTreeMap<String, OwnClaim>, kube::Error> {
    let mut own = BTreeMap::new();
    for (key, claim) in wanted(observed, namespace) {
        let (mut target, mut is_ours) = (None, false);
        if let Ok(claim) = &claim {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            target = Some(target::observe::claim_target(&context.client, &context.caches, namespace, name, Purpose::Restore).await?);
            let found = context.caches.claims.get(namespace, name);
            is_ours = found.is_some_and(|found| made_by(&found.metadata) == observed.restore.metadata.uid.as_deref());
        }
        own.insert(key, OwnClaim { claim, target, is_ours });
    }
    Ok(own)
}

/// The claims that the chosen components need, by their keys: none for a component that the templates do not fit.
pub(super) fn wanted(observed: &Observed, namespace: &str) -> BTreeMap<String, Result<PersistentVolumeClaim, String>> {
    let mut wanted = BTreeMap::new();
    for (name, paths) in volumes(observed) {
        for (number, template) in templates(observed, name, &paths).unwrap_or_default().into_iter().enumerate() {
            wanted.insert(key(name, number), claim(observed, template, name, number, namespace));
        }
    }
    wanted
}

/// The chosen components that hold volumes, and their paths.
fn volumes(observed: &Observed) -> Vec<(&str, Vec<String>)> {
    let chosen = components::chosen(observed).unwrap_or_default();
    let volumes = chosen.into_iter().filter(|(name, _)| *name != component::MANIFEST);
    volumes.map(|(name, stored)| (name, components::paths(stored))).collect()
}

/// The template of each of a component's paths, in their order; or why they do not fit. A person names each claim; of a try one template
/// is for all, for nobody looks for its names.
fn templates<'o>(observed: &'o Observed, name: &str, paths: &[String]) -> Result<Vec<&'o Template>, String> {
    let given = observed.job.as_ref().map(|job| job.claim_templates.as_slice()).unwrap_or_default();
    match given.first() {
        Some(template) if is_a_try(observed) && (1..=PATHS_MAX).contains(&paths.len()) => Ok(vec![template; paths.len()]),
        _ if is_a_try(observed) => Err(format!("component {name} holds {} paths, and a try takes 1 to {PATHS_MAX}", paths.len())),
        _ if given.len() == paths.len() => Ok(given.iter().collect()),
        _ => {
            // A Snapshot may come from a view, and whoever writes to the bucket may have written paths without end there.
            let shown = paths.get(..PATHS_MAX).unwrap_or(paths);
            Err(format!("{} found, and component {name:?} holds {} paths, {shown:?}: each takes one, in this order", given.len(), paths.len()))
        }
    }
}

/// What is wrong with a person's templates, for this Snapshot. What a try cannot take fails it, and is not its writer's to mend.
pub(super) fn problem(observed: &Observed) -> Option<String> {
    if is_a_try(observed) || !observed.makes_claims() {
        return None;
    }
    let misfit = volumes(observed).into_iter().find_map(|(name, paths)| templates(observed, name, &paths).err());
    misfit.or_else(|| named_twice(observed)).map(|why| format!("{}: {why}", field(observed)))
}

/// Two paths in one volume would be mixed, by two agents perhaps.
fn named_twice(observed: &Observed) -> Option<String> {
    let mut names = observed.own_claims.values().filter_map(|own| own.claim.as_ref().ok()?.metadata.name.as_deref());
    let mut known = BTreeSet::new();
    let name = names.find(|name| !known.insert(*name))?;
    Some(format!("PersistentVolumeClaim {name} is named more than once: each path of each component needs a name of its own; ${{POD_ORDINAL}} tells ordinals apart"))
}

/// Where the templates stand.
fn field(observed: &Observed) -> String {
    let mut tasks = observed.restore.spec.addon.iter().flat_map(|addon| &addon.tasks);
    let has_templates = |volumes: &TargetVolumes| !volumes.volume_claim_templates.is_empty();
    let index = tasks.position(|task| task.target_volumes.as_ref().is_some_and(has_templates)).unwrap_or(0);
    format!("spec.addon.tasks[{index}].targetVolumes.volumeClaimTemplates")
}

/// Under which the claim of a component's path is found; no component is called so.
fn key(component: &str, number: usize) -> String {
    if number == 0 { component.to_owned() } else { format!("{component}/{number}") }
}

/// What a try's claim of a further path is called after the first one's.
pub fn of_path(claim: &str, number: usize) -> String {
    if number == 0 { claim.to_owned() } else { format!("{claim}-path-{number}") }
}

/// The template as the claim of a component's path.
pub(super) fn claim(observed: &Observed, template: &Template, name: &str, number: usize, namespace: &str) -> Result<PersistentVolumeClaim, String> {
    let metadata = template.metadata.clone().unwrap_or_default();
    let claim_name = expand(&metadata.name.unwrap_or_default(), |variable| match variable {
        "POD_ORDINAL" => component::stateful_set_ordinal(name).map(|ordinal| ordinal.to_string()),
        "PVC_NAME" => backed_up_claim(observed),
        _ => None,
    })
    .map_err(|error| match error {
        ExpandError::Missing(variable) if variable == "POD_ORDINAL" => format!("${{POD_ORDINAL}} in a name, and component {name:?} has no ordinal"),
        ExpandError::Missing(variable) if variable == "PVC_NAME" => "${PVC_NAME} in a name, and the Snapshot is of no PersistentVolumeClaim".into(),
        other => other.to_string(),
    })?;
    if claim_name.is_empty() {
        return Err("the volumeClaimTemplate has no name".into());
    }
    // What is made to try a backup out goes with the restore, whoever removes that and whether or not a controller runs.
    let is_a_try = is_a_try(observed);
    let owner = is_a_try.then(|| OwnerReference { block_owner_deletion: Some(false), ..as_owner(observed.restore.as_ref()) });
    let mut labels = metadata.labels;
    labels.insert(MADE_BY.into(), observed.restore.metadata.uid.clone().unwrap_or_default());
    Ok(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(if is_a_try { of_path(&claim_name, number) } else { claim_name }),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: (!metadata.annotations.is_empty()).then_some(metadata.annotations),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    })
}

/// Whether the restore only tries a backup out.
pub(super) fn is_a_try(observed: &Observed) -> bool {
    verification::made_for(&observed.restore.metadata).is_some()
}

/// The claim that the Snapshot is of, if it is of one.
fn backed_up_claim(observed: &Observed) -> Option<String> {
    let app = observed.snapshot.as_ref()?.spec.app_ref.as_ref()?;
    (app.kind.as_deref() == Some("PersistentVolumeClaim")).then(|| app.name.clone())
}

/// The UID of the restore that has made a claim.
pub fn made_by(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(MADE_BY).map(String::as_str)
}

/// Those that are not there yet.
pub(super) fn missing(observed: &Observed) -> Vec<Action> {
    let missing = observed.own_claims.values().filter(|own| own.target.as_ref().is_some_and(|target| !target.exists()));
    missing.filter_map(|own| own.claim.clone().ok()).map(|claim| Action::CreateClaim(Box::new(claim))).collect()
}

/// How the claims of a component are reached, all of each.
pub(super) fn reach(observed: &Observed, name: &str, paths: &[String]) -> Reach {
    if let Err(why) = templates(observed, name, paths) {
        return Reach::Impossible(why);
    }
    let (mut all, mut waits) = (Vec::new(), None);
    for (number, path) in paths.iter().enumerate() {
        match usable(observed, &key(name, number)) {
            Ok(target) => all.push((target, path.as_str())),
            // Before those that are to be made: nobody would fill them.
            Err(Reach::Impossible(why)) => return Reach::Impossible(why),
            Err(reach) => waits = waits.or(Some(reach)),
        }
    }
    waits.unwrap_or_else(|| Target::reach_whole(&all))
}

/// The claim of a path, if it may be filled.
fn usable<'o>(observed: &'o Observed, key: &str) -> Result<&'o Target, Reach> {
    let Some(OwnClaim { claim, target, is_ours }) = observed.own_claims.get(key) else {
        return Err(Reach::Waiting("its claim was not looked at".into()));
    };
    let (Some(target), Ok(claim)) = (target, claim) else {
        return Err(Reach::Impossible(claim.as_ref().err().cloned().unwrap_or_default()));
    };
    let claim = claim.metadata.name.as_deref().unwrap_or_default();
    match &target.shape {
        Shape::Claim { .. } if !is_ours && is_a_try(observed) => Err(Reach::Impossible(format!(
            "PersistentVolumeClaim {claim} was there before: a backup is tried out in claims that are made for it, and in no others"
        ))),
        Shape::Claim { pods, .. } => match pods.first() {
            // Whoever mounts one that was made for this waits for it, or sees it fill.
            Some(pod) if !is_ours => {
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                Err(Reach::Impossible(format!("PersistentVolumeClaim {claim} was there before, and pod {pod} uses it: choose another name")))
            }
            _ => Ok(target),
        },
        _ => Err(Reach::Waiting(format!("PersistentVolumeClaim {claim} is to be made"))),
    }
}
