//! The restore that a try makes: of one Snapshot, into claims of its own, and with no target that could be written to.

use std::collections::BTreeMap;

use holdfast_api::addon_info::{AddonInfo, TargetVolumes};
use holdfast_api::names::component;
use holdfast_api::offshoot::volume::{PartialObjectMeta, PersistentVolumeClaim as Template};
use holdfast_api::restore_session::{DataSource, RestoreSessionSpec};
use holdfast_api::{BackupVerificationSession, BackupVerifier, RestoreSession, Snapshot, labels};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::Observed;
use crate::backup_session::retention::bytes;
use crate::object::as_owner;
use crate::restore_session::{self, own_claims};

/// How long a try may take once its first byte could be written.
const TIMEOUT: &str = "24h";
/// What a file system needs beside its files, at least.
const SPARE_BYTES: u64 = 256 << 20;

/// The restore; or why there can be none.
pub(super) fn of(observed: &Observed, snapshot: &Snapshot, verifier: &BackupVerifier) -> Result<RestoreSession, String> {
    let session = &observed.session;
    let name = session.metadata.name.clone().unwrap_or_default();
    let mut addon = verifier.spec.restore_option.as_ref().and_then(|option| option.addon_info.clone()).unwrap_or_default();
    let template = Template {
        metadata: Some(metadata(&addon, claim_name(&name, snapshot)?)),
        spec: Some(claim_spec(&addon, observed, snapshot)),
        ..Template::default()
    };
    for task in &mut addon.tasks {
        // Whatever volumes the verifier names: nothing is restored into what is there.
        task.target_volumes = Some(TargetVolumes { volume_claim_templates: vec![template.clone()], ..TargetVolumes::default() });
    }
    let spec = RestoreSessionSpec {
        data_source: Some(DataSource {
            snapshot: snapshot.metadata.name.clone(),
            repository: session.spec.repository.clone(),
            ..DataSource::default()
        }),
        addon: Some(addon),
        restore_timeout: Some(TIMEOUT.into()),
        ..RestoreSessionSpec::default()
    };
    let mut restore = RestoreSession::new(&name, spec);
    restore.metadata.namespace = session.metadata.namespace.clone();
    let mut labels_of = session.metadata.labels.clone().unwrap_or_default();
    labels_of.insert(labels::COMPONENT.into(), labels::COMPONENT_BACKUP_VERIFIER.into());
    restore.metadata.labels = Some(labels_of);
    restore.metadata.owner_references = Some(vec![owner(session)]);
    Ok(restore)
}

/// A session as the owner of what it makes.
pub(super) fn owner(session: &BackupVerificationSession) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(false), ..as_owner(session) }
}

fn given(addon: &AddonInfo) -> Option<&Template> {
    addon.tasks.iter().filter_map(|task| task.target_volumes.as_ref()).flat_map(|volumes| &volumes.volume_claim_templates).next()
}

/// The claims that a try has made, each with what tells it from the others: its component, and its path; nothing if it is the only one.
pub(super) fn claims(session: &str, snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut claims = Vec::new();
    let components = components(snapshot);
    for name in &components {
        let claim = match component::stateful_set_ordinal(name) {
            Some(ordinal) => format!("{session}-{ordinal}"),
            None => session.to_owned(),
        };
        let stored = snapshot.status.as_ref().and_then(|status| status.components.get(*name));
        let paths = stored.map(restore_session::components::paths).unwrap_or_default();
        for number in 0..paths.len().clamp(1, own_claims::PATHS_MAX) {
            let own = (components.len() > 1).then(|| (*name).to_owned());
            let path = paths.get(number).filter(|_| paths.len() > 1);
            let path = path.map(|path| plain(path).unwrap_or_else(|| format!("path-{number}")));
            let label: Vec<String> = own.into_iter().chain(path).collect();
            claims.push((label.join("/"), own_claims::of_path(&claim, number)));
        }
    }
    claims
}

/// A path without its first slash. A Snapshot may come from a view, and whoever writes to the bucket may have written that.
fn plain(path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|character: char| character.is_control() || matches!(character, ':' | '$'));
    path.split('/').all(is_plain).then(|| path.to_owned())
}

fn components(snapshot: &Snapshot) -> Vec<&str> {
    // Manifests are not tried out: they would be made where the application runs.
    let all = snapshot.status.iter().flat_map(|status| status.components.keys()).map(String::as_str);
    all.filter(|name| *name != component::MANIFEST).collect()
}

/// Named after the session, so that it can be no claim of anybody else's.
fn claim_name(session: &str, snapshot: &Snapshot) -> Result<String, String> {
    let components = components(snapshot);
    let all_have_ordinals = components.iter().all(|name| component::stateful_set_ordinal(name).is_some());
    match components.as_slice() {
        [] => Err("the Snapshot has no components".into()),
        _ if all_have_ordinals => Ok(format!("{session}-${{POD_ORDINAL}}")),
        [_] => Ok(session.to_owned()),
        _ => Err("the Snapshot has several components without ordinals, and no claims can be named after them".into()),
    }
}

fn metadata(addon: &AddonInfo, name: String) -> PartialObjectMeta {
    let given = given(addon).and_then(|template| template.metadata.clone()).unwrap_or_default();
    PartialObjectMeta { name: Some(name), labels: given.labels, annotations: given.annotations, ..PartialObjectMeta::default() }
}

/// As the verifier's template says; else like the claim that was backed up; else as large as what it held, of the default class.
fn claim_spec(addon: &AddonInfo, observed: &Observed, snapshot: &Snapshot) -> PersistentVolumeClaimSpec {
    if let Some(spec) = given(addon).and_then(|template| template.spec.clone()) {
        return spec;
    }
    if let Some(source) = &observed.source {
        return PersistentVolumeClaimSpec {
            access_modes: source.access_modes.clone(),
            resources: source.resources.clone(),
            storage_class_name: source.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        };
    }
    let largest = bytes(snapshot).into_values().max().unwrap_or(0);
    let requested = largest.saturating_add(largest / 4).saturating_add(SPARE_BYTES);
    let mebibytes = requested.div_ceil(1 << 20);
    PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".into()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(format!("{mebibytes}Mi")))])),
            ..VolumeResourceRequirements::default()
        }),
        ..PersistentVolumeClaimSpec::default()
    }
}
