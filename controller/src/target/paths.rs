//! From a path in an application's container to a directory in a volume. The table of cases is in `docs/compat.md`; each
//! line of it is a test.

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};

use super::environment;

/// A directory or file in a claim's volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the PersistentVolumeClaim.
    pub claim: String,
    /// Path in the volume, relative; "" for all of it.
    pub path_in_volume: String,
    /// Path in the container.
    pub container_path: String,
}

/// Why a path means no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Relative, or with `..`.
    #[error("path {0:?} must be absolute and without `..`: it is a path in the application's container")]
    NotAbsolute(String),
    /// Not below the claim's own mount path.
    #[error(
        "path {path:?} is not below {mount_path}, where a PersistentVolumeClaim that is the target itself is mounted"
    )]
    OutsideClaim {
        /// The path.
        path: String,
        /// Where the claim is.
        mount_path: String,
    },
    /// No volume covers it.
    #[error("path {path:?} is not in a volume of pod {pod}: its containers mount {mounts}")]
    NotInAVolume {
        /// The path.
        path: String,
        /// The pod.
        pod: String,
        /// What there is.
        mounts: String,
    },
    /// A volume, but no claim's.
    #[error(
        "path {path:?} is in volume {volume:?} of pod {pod}, a {kind} volume; only PersistentVolumeClaims are backed up"
    )]
    NotAClaim {
        /// The path.
        path: String,
        /// The pod.
        pod: String,
        /// The volume.
        volume: String,
        /// What it is.
        kind: String,
    },
    /// A device, not a directory.
    #[error("path {0:?} is a raw block device; those are not supported yet")]
    BlockDevice(String),
    /// The mount's subPathExpr cannot be worked out.
    #[error("path {path:?}: {why}")]
    Expression {
        /// The path.
        path: String,
        /// Why not.
        why: String,
    },
}

/// A path of a claim that is backed up for itself, mounted at `mount_path`.
pub fn in_claim(claim: &str, mount_path: &str, path: &str) -> Result<Place, PathProblem> {
    let clean = clean(path)?;
    let Some(rest) = below(&clean, mount_path) else {
        return Err(PathProblem::OutsideClaim { path: path.to_owned(), mount_path: mount_path.to_owned() });
    };
    Ok(Place { claim: claim.to_owned(), path_in_volume: rest.to_owned(), container_path: clean })
}

/// The places that a path in a pod's container means: the volume that covers it, and the claims mounted below it.
///
/// The first container whose mounts have anything to do with the path decides; in it, the longest mount wins.
pub fn in_pod(pod: &Pod, path: &str) -> Result<Vec<Place>, PathProblem> {
    let clean = clean(path)?;
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    for container in containers {
        if container.volume_devices.iter().flatten().any(|device| device.device_path.trim_end_matches('/') == clean) {
            return Err(PathProblem::BlockDevice(clean));
        }
        let places = in_container(pod, container, &clean)?;
        if !places.is_empty() {
            return Ok(places);
        }
    }
    Err(PathProblem::NotInAVolume { path: clean, pod: name_of(pod), mounts: mounts_of(containers) })
}

fn in_container(pod: &Pod, container: &Container, path: &str) -> Result<Vec<Place>, PathProblem> {
    let mounts = || container.volume_mounts.iter().flatten();
    let mut places = Vec::new();
    let covering = mounts().filter(|mount| below(path, &mount.mount_path).is_some()).max_by_key(|mount| depth(mount));
    if let Some(mount) = covering {
        let rest = below(path, &mount.mount_path).unwrap_or_default();
        places.push(place(pod, container, mount, rest, path)?);
    }
    let mut nested: Vec<&VolumeMount> =
        mounts().filter(|mount| below(&mount.mount_path, path).is_some_and(|rest| !rest.is_empty())).collect();
    nested.sort_by(|left, right| left.mount_path.cmp(&right.mount_path));
    for mount in nested {
        // What is mounted below and is no claim (a Secret, a ConfigMap) is not the application's data.
        match place(pod, container, mount, "", mount.mount_path.trim_end_matches('/')) {
            Ok(place) => places.push(place),
            Err(PathProblem::NotAClaim { .. }) => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(places)
}

fn place(pod: &Pod, container: &Container, mount: &VolumeMount, rest: &str, path: &str) -> Result<Place, PathProblem> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let volume = volumes.iter().find(|volume| volume.name == mount.name);
    let claim = volume.and_then(|volume| claim_of(pod, volume)).ok_or_else(|| PathProblem::NotAClaim {
        path: path.to_owned(),
        pod: name_of(pod),
        volume: mount.name.clone(),
        kind: volume.map_or("missing", kind_of).to_owned(),
    })?;
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(sub_path), _) if !sub_path.is_empty() => sub_path.clone(),
        (_, Some(expression)) if !expression.is_empty() => environment::expand(expression, pod, container)
            .map_err(|why| PathProblem::Expression { path: path.to_owned(), why })?,
        _ => String::new(),
    };
    let joined = [sub_path.as_str(), rest]
        .into_iter()
        .flat_map(|part| part.split('/'))
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = joined.collect();
    if parts.contains(&"..") {
        return Err(PathProblem::NotAbsolute(path.to_owned()));
    }
    Ok(Place { claim, path_in_volume: parts.join("/"), container_path: path.to_owned() })
}

/// The claim behind a volume: named, or made by the pod itself.
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", name_of(pod), volume.name))
}

fn kind_of(volume: &Volume) -> &'static str {
    let kinds = [
        (volume.secret.is_some(), "secret"),
        (volume.config_map.is_some(), "configMap"),
        (volume.projected.is_some(), "projected"),
        (volume.downward_api.is_some(), "downwardAPI"),
        (volume.host_path.is_some(), "hostPath"),
        (volume.empty_dir.is_some(), "emptyDir"),
        (volume.nfs.is_some(), "nfs"),
        (volume.csi.is_some(), "csi"),
        (volume.image.is_some(), "image"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map_or("other", |(_, kind)| kind)
}

/// The path without doubled or trailing slashes; `/` becomes "".
fn clean(path: &str) -> Result<String, PathProblem> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(PathProblem::NotAbsolute(path.to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(PathProblem::NotAbsolute(path.to_owned()));
    }
    Ok(parts.iter().fold(String::new(), |clean, part| clean + "/" + part))
}

/// What of `path` lies below `base`, if it does: whole components only.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.trim_end_matches('/').strip_prefix(base.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest),
        None => rest.is_empty().then_some(""),
    }
}

/// Whether one of two paths in a volume is in the other.
pub fn meet(left: &str, right: &str) -> bool {
    let (left, right) = (format!("/{left}"), format!("/{right}"));
    below(&left, &right).is_some() || below(&right, &left).is_some()
}

fn depth(mount: &VolumeMount) -> usize {
    mount.mount_path.split('/').filter(|part| !part.is_empty()).count()
}

fn name_of(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn mounts_of(containers: &[Container]) -> String {
    let mut mounts: Vec<&str> = containers
        .iter()
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .map(|mount| mount.mount_path.as_str())
        .collect();
    mounts.sort_unstable();
    mounts.dedup();
    if mounts.is_empty() { "nothing".into() } else { mounts.join(", ") }
}
