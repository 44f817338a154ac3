//! Which components of the snapshot are restored, and how each is reached.

use std::collections::BTreeMap;

use holdfast_api::driver::Driver;
use holdfast_api::names::component;
use holdfast_api::snapshot::{Component, ComponentPhase};
use holdfast_proto::v1;

use super::{Observed, own_claims};
use crate::target::{Reach, Shape};
use crate::work::Job;

/// Where KubeStash has restic store, below a Repository's directory.
const RESTIC_FOLDER: &str = "repository/";
const RESTIC_PATH_BYTES_MAX: usize = 1024;

/// The components that are to be restored; or what is wrong with the choice.
pub fn chosen(observed: &Observed) -> Result<BTreeMap<&str, &Component>, String> {
    let Some(snapshot) = &observed.snapshot else { return Ok(BTreeMap::new()) };
    let Some(status) = &snapshot.status else { return Ok(BTreeMap::new()) };
    let wanted =
        observed.restore.spec.data_source.as_ref().map(|source| source.components.as_slice()).unwrap_or_default();
    let known: Vec<&str> = status.components.keys().map(String::as_str).collect();
    if let Some(unknown) = wanted.iter().find(|name| !status.components.contains_key(*name)) {
        return Err(format!("the Snapshot has no component {unknown:?}; it has {}", known.join(", ")));
    }
    let job = observed.job.as_ref().ok();
    let is_a_pods = |name: &str| job.is_some_and(|job| job.pod(name).is_some());
    let has_task =
        |name: &str| !is_a_pods(name) && job.is_none_or(|job| if name == component::MANIFEST { job.has_manifests() } else { job.has_volumes() });
    // Beside pods, agents bring back what agents have stored; the pods see for themselves what is theirs, whatever it is called.
    let has_pods = job.is_some_and(Job::has_pods);
    if let Some(idle) = wanted.iter().find(|name| !has_pods && !has_task(name)) {
        return Err(format!("component {idle:?} is brought back by another task than those that spec.addon names"));
    }
    let all = status.components.iter().map(|(name, component)| (name.as_str(), component));
    let is_meant = |name: &str, component: &Component| {
        (!has_pods || component.driver == Some(Driver::Holdfast)) && (wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
    };
    let chosen: BTreeMap<&str, &Component> = all.filter(|(name, component)| has_task(name) && is_meant(name, component)).collect();
    let failed = status.components.iter().find(|(name, component)| is_a_pods(name) && component.phase != Some(ComponentPhase::Succeeded));
    if let Some((name, _)) = failed {
        return Err(format!("component {name:?} of the Snapshot did not succeed"));
    }
    if job.is_some_and(Job::has_manifests) && wanted.is_empty() && !chosen.contains_key(component::MANIFEST) {
        return Err("the Snapshot has no manifests: its session had no task manifest-backup".into());
    }
    let is_of_manifests = |name: &str| name == component::MANIFEST;
    for (name, component) in &chosen {
        if component.phase != Some(ComponentPhase::Succeeded) {
            return Err(format!("component {name:?} of the Snapshot did not succeed"));
        }
        match &component.driver {
            Some(Driver::Holdfast) => {}
            Some(Driver::Restic) if is_of_manifests(name) => {
                return Err(format!("component {name:?} was written by KubeStash; manifests can be restored that Holdfast wrote"));
            }
            Some(Driver::Restic) => drop(restic_directory(component).map_err(|why| format!("component {name:?}: {why}"))?),
            other => {
                let tool = other.as_ref().map_or("another tool", Driver::as_str);
                return Err(format!("component {name:?} was written by {tool}; what Holdfast and restic wrote can be restored"));
            }
        }
        if engine_snapshot(component).is_none() {
            return Err(format!("component {name:?} does not say which stored snapshot it is"));
        }
    }
    if chosen.is_empty() && !has_pods {
        return Err("the Snapshot has no components".into());
    }
    Ok(chosen)
}

/// The engine's snapshot that holds a component.
pub fn engine_snapshot(component: &Component) -> Option<&str> {
    component.restic_stats.iter().find_map(|stats| stats.summary.as_ref()?.id.as_deref())
}

/// Where restic's repository of a component is, below the Repository's directory. A view says so, and whoever writes to the bucket may
/// have written that: it leads nowhere else.
pub fn restic_directory(component: &Component) -> Result<&str, String> {
    let path = component.path.as_deref().unwrap_or_default().trim_matches('/');
    let is_plain = path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control));
    if path.starts_with(RESTIC_FOLDER) && is_plain && path.len() <= RESTIC_PATH_BYTES_MAX {
        Ok(path)
    } else {
        Err(format!("its path is not below {RESTIC_FOLDER}, where KubeStash stores"))
    }
}

/// What a task says of a component that restic wrote.
pub fn restic(component: &Component) -> Option<v1::ResticRepository> {
    let directory = restic_directory(component).ok().filter(|_| component.driver == Some(Driver::Restic))?;
    Some(v1::ResticRepository { directory: directory.to_owned() })
}

/// The snapshot that holds one path of a component: restic took one for each.
pub fn restic_snapshot<'c>(component: &'c Component, path: &str) -> Option<&'c str> {
    let mut summaries = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref());
    summaries.find(|summary| summary.host_path.as_deref() == Some(path))?.id.as_deref()
}

/// The paths that a component holds, as the application's container saw them.
pub fn paths(component: &Component) -> Vec<String> {
    component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref()?.host_path.clone()).collect()
}

/// How each chosen component is reached; empty if the choice is wrong.
pub fn reaches(observed: &Observed) -> BTreeMap<String, Reach> {
    let Ok(chosen) = chosen(observed) else { return BTreeMap::new() };
    let several = chosen.keys().filter(|name| **name != component::MANIFEST).count() > 1;
    let reach = |name: &str, stored: &Component| {
        if name == component::MANIFEST {
            return Reach::Anywhere;
        }
        if observed.makes_claims() {
            return own_claims::reach(observed, name, &paths(stored));
        }
        match &observed.target.shape {
            Shape::Claim { .. } | Shape::Deployment { .. } if several => Reach::Impossible(
                "the Snapshot has several components and the target takes one: name it in spec.dataSource.components"
                    .into(),
            ),
            _ => only(&paths(stored), observed.target.reach(name, &paths(stored))),
        }
    };
    let of_agents = chosen.into_iter().map(|(name, stored)| (name.to_owned(), reach(name, stored)));
    of_agents.chain(observed.pods.keys().map(|name| (name.clone(), Reach::Anywhere))).collect()
}

/// Each stored path has one place; claims that are mounted below it and that the snapshot does not hold are left alone.
fn only(stored: &[String], reach: Reach) -> Reach {
    let Reach::Ready(mut access) = reach else { return reach };
    access.volumes.retain(|located| stored.contains(&located.container_path));
    match stored.iter().find(|path| !access.volumes.iter().any(|located| located.container_path == **path)) {
        Some(missing) => {
            Reach::Impossible(format!("the target has no volume at {missing:?}, which the Snapshot holds"))
        }
        None => Reach::Ready(access),
    }
}
