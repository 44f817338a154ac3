//! For tests: a node as a kubelet lays it out, in a mount namespace of the test's own thread.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_proto::v1::VolumeAccess;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::UnshareFlags;

use crate::syscall;

pub(crate) const POD: &str = "0d6bdbc8-0d0b-4c52-9b7e-7f6d0a1f2b3c";

/// A kubelet's directory.
pub(crate) struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    /// None (and a line that says so) without the right to mount.
    pub(crate) fn new() -> Option<Self> {
        if syscall::unshare_namespaces(UnshareFlags::NEWNS).is_err() {
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // A host's root is shared; propagation is half of what is tested.
        mount_bind(directory.path(), directory.path()).unwrap();
        mount_change(directory.path(), MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
        Some(Self { directory })
    }

    pub(crate) fn kubelet(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.kubelet().join("pods").join(POD).join("volumes")
    }

    /// Makes the directory of a CSI volume, without mounting.
    pub(crate) fn csi_directory(&self, pv: &str) -> PathBuf {
        let directory = self.volumes().join("kubernetes.io~csi").join(pv);
        fs::create_dir_all(directory.join("mount")).unwrap();
        fs::write(directory.join("vol_data.json"), r#"{"specVolID":"x","volumeLifecycleMode":"Persistent"}"#).unwrap();
        directory.join("mount")
    }

    /// A mounted CSI volume with one file.
    pub(crate) fn csi(&self, pv: &str) -> PathBuf {
        let target = self.csi_directory(pv);
        mount("tmpfs", &target, "tmpfs", MountFlags::empty(), c"").unwrap();
        fs::write(target.join("file"), pv).unwrap();
        target
    }

    pub(crate) fn access(pv: &str) -> VolumeAccess {
        VolumeAccess {
            pvc_namespace: "default".into(),
            pvc_name: "data".into(),
            pv_name: pv.into(),
            pod_uid: POD.into(),
            pod_name: "app-0".into(),
            ..VolumeAccess::default()
        }
    }
}
