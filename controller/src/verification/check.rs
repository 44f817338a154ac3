//! The Function that looks at what was restored: a script, or whatever asks a database. It runs as a pod beside the claims, and its exit
//! decides. They are made for this, so it may write to them.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::backup_verifier::{BackupVerifierSpec, VerificationType};
use holdfast_api::function::pod::{Part, Use};
use holdfast_api::function::variables::Variables;
use holdfast_api::labels;
use holdfast_api::offshoot::volume::{Volume, VolumeSource};
use k8s_openapi::api::core::v1::{EnvVar, PersistentVolumeClaimVolumeSource, VolumeMount};

use super::{Observed, restore};
use crate::function::Run;
use crate::target::CLAIM_PATH;

/// How long it may take, with all that comes before its container starts.
const TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Its run among the session's.
const ID: &str = "verify";
/// In its environment: the queries of a verifier of type Query, as JSON.
const QUERY: &str = "QUERY";

/// The run; none of a verifier that only restores, or while nobody knows what is tried.
pub(super) fn of(observed: &Observed) -> Option<Run> {
    let (verifier, snapshot) = (observed.verifier.as_ref().ok()?, observed.snapshot.as_ref().ok()?);
    let spec = &verifier.spec;
    let session = &observed.session;
    let name = session.metadata.name.clone()?;
    let command = match spec.type_? {
        VerificationType::RestoreOnly => return None,
        VerificationType::Query => Vec::new(),
        VerificationType::Script => {
            let script = spec.script.clone().unwrap_or_default();
            script.location.into_iter().chain(script.args).collect()
        }
    };
    let own = Part { field: "spec".into(), volumes: spec.volumes.clone(), volume_mounts: spec.volume_mounts.clone(), ..Part::default() };
    let wanted = Use {
        variables: variables(observed, spec),
        command,
        // Ours are last: what was restored stands where it is looked for, whatever else the verifier mounts.
        parts: vec![own, query(spec), restored(&restore::claims(&name, snapshot))],
        ..Use::default()
    };
    Some(Run {
        namespace: session.metadata.namespace.clone().unwrap_or_default(),
        owner: restore::owner(session),
        id: ID.into(),
        component: labels::COMPONENT_BACKUP_VERIFIER,
        labels: session.metadata.labels.clone().unwrap_or_default(),
        function: spec.function.clone().unwrap_or_default(),
        wanted: wanted.with_settings(spec.runtime_settings.as_deref()),
        timeout: TIMEOUT,
        stays: false,
    })
}

fn variables(observed: &Observed, spec: &BackupVerifierSpec) -> Variables {
    let session = &observed.session;
    let invoker = session.spec.invoker.clone().unwrap_or_default();
    let snapshot = observed.snapshot.as_ref().ok().and_then(|snapshot| snapshot.metadata.name.clone());
    let known = [
        ("namespace", session.metadata.namespace.clone()),
        ("backupVerificationSession", session.metadata.name.clone()),
        ("snapshot", snapshot),
        ("repository", session.spec.repository.clone()),
        ("invokerKind", Some(invoker.kind)),
        ("invokerName", Some(invoker.name)),
        ("query", queries(spec)),
    ];
    Variables::of(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<BTreeMap<_, _>>())
}

fn queries(spec: &BackupVerifierSpec) -> Option<String> {
    if spec.query.is_empty() { None } else { serde_json::to_string(&spec.query).ok() }
}

fn query(spec: &BackupVerifierSpec) -> Part {
    let env = queries(spec).map(|queries| EnvVar { name: QUERY.into(), value: Some(queries), value_from: None });
    Part { field: "spec.query".into(), env: env.into_iter().collect(), ..Part::default() }
}

/// What was restored, where KubeStash's pvc-addon has a claim; of several components each below it by its name, and of several paths by them.
fn restored(claims: &[(String, String)]) -> Part {
    let mut part = Part { field: "restored".into(), ..Part::default() };
    for (number, (label, claim)) in claims.iter().enumerate() {
        let name = format!("holdfast-restored-{number}");
        let mount_path = if label.is_empty() { CLAIM_PATH.to_owned() } else { format!("{CLAIM_PATH}/{label}") };
        let source = PersistentVolumeClaimVolumeSource { claim_name: claim.clone(), read_only: None };
        part.volumes.push(Volume { name: name.clone(), source: VolumeSource { persistent_volume_claim: Some(source), ..VolumeSource::default() } });
        part.volume_mounts.push(VolumeMount { name, mount_path, ..VolumeMount::default() });
    }
    part
}
