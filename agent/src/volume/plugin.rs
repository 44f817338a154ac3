//! The directories below `volumes/` that hold persistent volumes.

use std::io::Read as _;
use std::os::fd::BorrowedFd;

use holdfast_proto::v1::VolumeAccess;
use rustix::fs::{AtFlags, Mode, OFlags, openat2, statat};
use rustix::io::Errno;
use serde::Deserialize;

use super::{BENEATH, VolumeError};

pub(super) const CSI: &str = "kubernetes.io~csi";

/// Plugins whose volumes are PersistentVolumes. Everything else (secret, projected, configmap, downward-api, empty-dir,
/// and whatever comes later) is refused: only volumes are ever read.
const PERSISTENT: [&str; 14] = [
    CSI,
    "kubernetes.io~local-volume",
    "kubernetes.io~nfs",
    "kubernetes.io~iscsi",
    "kubernetes.io~fc",
    "kubernetes.io~rbd",
    "kubernetes.io~cephfs",
    "kubernetes.io~aws-ebs",
    "kubernetes.io~gce-pd",
    "kubernetes.io~azure-disk",
    "kubernetes.io~azure-file",
    "kubernetes.io~vsphere-volume",
    "kubernetes.io~portworx-volume",
    "kubernetes.io~cinder",
];

/// The kubelet writes a few hundred bytes.
const VOL_DATA_BYTES_MAX: u64 = 64 * 1024;

/// The plugin directory that holds the volume: the controller's hint if it has one, else the only one that has it.
pub(super) fn of(volumes: BorrowedFd<'_>, access: &VolumeAccess, volume: &str) -> Result<&'static str, VolumeError> {
    if !access.volume_plugin.is_empty() {
        return PERSISTENT.into_iter().find(|plugin| *plugin == access.volume_plugin).ok_or_else(|| {
            VolumeError::Refused(volume.into(), format!("{:?} holds no persistent volumes", access.volume_plugin))
        });
    }
    let mut holding = Vec::new();
    for plugin in PERSISTENT {
        match statat(volumes, format!("{plugin}/{}", access.pv_name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => holding.push(plugin),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(source) => {
                return Err(VolumeError::System { volume: volume.into(), action: "look for its plugin", source });
            }
        }
    }
    match holding.as_slice() {
        [plugin] => Ok(plugin),
        [] => Err(VolumeError::NotFound(volume.into(), "its pod mounts no persistent volume of that name".into())),
        several => Err(VolumeError::Refused(volume.into(), format!("several plugins have one of that name: {several:?}"))),
    }
}

/// An inline CSI volume (a secrets store's, for one) lies among the persistent ones; the kubelet's own note tells them apart.
pub(super) fn refuse_ephemeral(directory: BorrowedFd<'_>, volume: &str) -> Result<(), VolumeError> {
    #[derive(Deserialize)]
    struct VolData {
        #[serde(rename = "volumeLifecycleMode", default)]
        lifecycle: String,
    }

    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat2(directory, "vol_data.json", flags, Mode::empty(), BENEATH) {
        Ok(file) => std::fs::File::from(file),
        // Kubelets before 1.16 wrote none, and had no inline volumes.
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(VolumeError::System { volume: volume.into(), action: "open vol_data.json", source }),
    };
    let mut text = Vec::new();
    file.take(VOL_DATA_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| VolumeError::Refused(volume.into(), format!("vol_data.json cannot be read: {error}")))?;
    let data: VolData = serde_json::from_slice(&text)
        .map_err(|error| VolumeError::Refused(volume.into(), format!("vol_data.json is damaged: {error}")))?;
    match data.lifecycle.as_str() {
        "" | "Persistent" => Ok(()),
        other => Err(VolumeError::Refused(volume.into(), format!("its lifecycle is {other:?}, not a persistent volume's"))),
    }
}
