use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use super::clone::{Writable, bound, clone};
use super::*;
use crate::node::{Node, POD};

fn find(kubelet_dir: &Path, access: &VolumeAccess) -> Result<Found, VolumeError> {
    super::find(kubelet_dir, access, RootKind::Mount)
}

fn read(root: &OwnedFd, path: &str) -> Result<String, Errno> {
    let file = openat(root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(std::io::read_to_string(fs::File::from(file)).unwrap())
}

fn create(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    openat(root, path, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::RWXU).map(drop)
}

fn cloned(node: &Node, pv: &str, writable: Writable) -> Result<OwnedFd, VolumeError> {
    clone(find(node.kubelet(), &Node::access(pv))?, writable, Path::new("/proc"), pv)
}

fn refused(result: Result<Found, VolumeError>) -> bool {
    matches!(result, Err(VolumeError::Refused(..)))
}

fn absent(result: Result<Found, VolumeError>) -> bool {
    matches!(result, Err(VolumeError::NotFound(..)))
}

#[test]
fn a_mounted_volume_is_found_with_and_without_a_hint() {
    let Some(node) = Node::new() else { return };
    node.csi("pv-1");
    let looked = find(node.kubelet(), &Node::access("pv-1")).unwrap();
    let hinted = VolumeAccess { volume_plugin: "kubernetes.io~csi".into(), ..Node::access("pv-1") };
    assert_eq!(find(node.kubelet(), &hinted).unwrap().identity, looked.identity);
    assert_eq!(read(&looked.root, "file").unwrap(), "pv-1");
}

#[test]
fn a_bind_mounted_local_volume_is_found() {
    let Some(node) = Node::new() else { return };
    let disk = tempfile::tempdir().unwrap();
    let target = node.volumes().join("kubernetes.io~local-volume/pv-2");
    fs::create_dir_all(&target).unwrap();
    assert!(absent(find(node.kubelet(), &Node::access("pv-2"))), "not mounted yet");
    mount_bind(disk.path(), &target).unwrap();
    find(node.kubelet(), &Node::access("pv-2")).unwrap();
}

#[test]
fn the_stale_directory_of_a_dead_pod_is_no_volume() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    find(node.kubelet(), &Node::access("pv-1")).unwrap();
    unmount(&target, UnmountFlags::empty()).unwrap();
    fs::write(target.join("left-behind"), "x").unwrap();
    assert!(absent(find(node.kubelet(), &Node::access("pv-1"))));
}

#[test]
fn a_directory_is_a_volume_only_where_nothing_can_be_mounted() {
    let kubelet = tempfile::tempdir().unwrap();
    let directory = kubelet.path().join("pods").join(POD).join("volumes/kubernetes.io~csi/pv-1/mount");
    fs::create_dir_all(&directory).unwrap();
    assert!(absent(find(kubelet.path(), &Node::access("pv-1"))));
    let found = super::find(kubelet.path(), &Node::access("pv-1"), RootKind::Directory).unwrap();
    assert_eq!(found.identity.inode, std::os::unix::fs::MetadataExt::ino(&fs::metadata(&directory).unwrap()));
}

#[test]
fn another_mount_in_its_place_has_another_identity() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    let before = find(node.kubelet(), &Node::access("pv-1")).unwrap().identity;
    unmount(&target, UnmountFlags::empty()).unwrap();
    mount("tmpfs", &target, "tmpfs", MountFlags::empty(), c"").unwrap();
    let after = find(node.kubelet(), &Node::access("pv-1")).unwrap().identity;
    // The kernel may give both the same device number: what tells them apart is the mount.
    assert_ne!(before, after);
}

#[test]
fn the_same_device_mounted_again_is_another_mount_of_the_same_volume() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    let before = find(node.kubelet(), &Node::access("pv-1")).unwrap().identity;
    mount_bind(&target, &target).unwrap();
    let after = find(node.kubelet(), &Node::access("pv-1")).unwrap().identity;
    assert!(before.same_volume(&after));
    assert_ne!(before, after);
}

#[test]
fn secrets_and_other_non_volumes_are_refused_by_hint_and_not_found_by_name() {
    let Some(node) = Node::new() else { return };
    for plugin in ["secret", "projected", "configmap", "downward-api", "empty-dir", "host-path", "git-repo"] {
        let directory = node.volumes().join(format!("kubernetes.io~{plugin}/token"));
        fs::create_dir_all(&directory).unwrap();
        mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), c"").unwrap();
        let hinted = VolumeAccess { volume_plugin: format!("kubernetes.io~{plugin}"), ..Node::access("token") };
        assert!(refused(find(node.kubelet(), &hinted)), "{plugin}");
    }
    assert!(absent(find(node.kubelet(), &Node::access("token"))));
}

#[test]
fn an_inline_csi_volume_is_refused() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("secrets-store");
    fs::write(target.parent().unwrap().join("vol_data.json"), r#"{"volumeLifecycleMode":"Ephemeral"}"#).unwrap();
    assert!(refused(find(node.kubelet(), &Node::access("secrets-store"))));
    fs::write(target.parent().unwrap().join("vol_data.json"), "{").unwrap();
    assert!(refused(find(node.kubelet(), &Node::access("secrets-store"))), "a damaged note tells nothing");
}

#[test]
fn names_that_are_paths_are_refused() {
    let kubelet = tempfile::tempdir().unwrap();
    let long = "x".repeat(300);
    for name in ["", ".", "..", "a/b", "../x", "a\0b", long.as_str()] {
        assert!(refused(find(kubelet.path(), &Node::access(name))), "{name:?}");
        let access = VolumeAccess { pod_uid: name.into(), ..Node::access("pv") };
        assert!(refused(find(kubelet.path(), &access)), "{name:?}");
    }
}

#[test]
fn a_symlink_on_the_way_is_not_followed() {
    let Some(node) = Node::new() else { return };
    node.csi("pv-1");
    let elsewhere = node.volumes().join("kubernetes.io~csi/pv-9");
    symlink(node.volumes().join("kubernetes.io~csi/pv-1"), elsewhere).unwrap();
    assert!(absent(find(node.kubelet(), &Node::access("pv-9"))));
    let pods = node.kubelet().join("pods");
    fs::create_dir_all(pods.join("real/volumes")).unwrap();
    symlink(pods.join(POD), pods.join("link")).unwrap();
    let access = VolumeAccess { pod_uid: "link".into(), ..Node::access("pv-1") };
    assert!(absent(find(node.kubelet(), &access)));
}

#[test]
fn a_path_in_the_volume_stays_in_it() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    fs::create_dir_all(target.join("a/b")).unwrap();
    fs::create_dir(target.join("other")).unwrap();
    symlink("/etc", target.join("etc")).unwrap();
    symlink("a", target.join("inside")).unwrap();
    mount("tmpfs", target.join("other"), "tmpfs", MountFlags::empty(), c"").unwrap();
    let root = find(node.kubelet(), &Node::access("pv-1")).unwrap().root;
    for path in ["", "/", "a", "a/b", "/a/b/"] {
        open_inside(root.as_fd(), path, "v").unwrap();
    }
    for path in ["..", "a/../..", "etc", "etc/ssl", "inside/b", "file", "missing", "a\0", "other"] {
        assert!(open_inside(root.as_fd(), path, "v").is_err(), "{path:?}");
    }
}

#[test]
fn a_read_only_clone_is_read_only_with_what_is_mounted_below() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    fs::create_dir(target.join("below")).unwrap();
    mount("tmpfs", target.join("below"), "tmpfs", MountFlags::empty(), c"").unwrap();
    let root = cloned(&node, "pv-1", Writable::No).unwrap();
    assert_eq!(read(&root, "file").unwrap(), "pv-1");
    assert_eq!(create(&root, "new").unwrap_err(), Errno::ROFS);
    assert_eq!(create(&root, "below/new").unwrap_err(), Errno::ROFS);
    assert_eq!(create(&cloned(&node, "pv-1", Writable::Yes).unwrap(), "new"), Ok(()));
    assert!(target.join("new").exists());
}

#[test]
fn without_mount_setattr_the_clone_is_as_restricted() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    fs::create_dir(target.join("below")).unwrap();
    mount("tmpfs", target.join("below"), "tmpfs", MountFlags::empty(), c"").unwrap();
    let found = find(node.kubelet(), &Node::access("pv-1")).unwrap();
    let root = bound(&found, Writable::No, Path::new("/proc")).unwrap();
    assert_eq!(read(&root, "file").unwrap(), "pv-1");
    assert_eq!(create(&root, "new").unwrap_err(), Errno::ROFS);
    assert_eq!(create(&root, "below/new").unwrap_err(), Errno::ROFS);
    assert!(Path::new("/proc/self").exists(), "the scratch directory is as it was");
}

#[test]
fn a_volume_mounted_read_only_is_no_target() {
    let Some(node) = Node::new() else { return };
    let target = node.csi_directory("pv-ro");
    mount("tmpfs", &target, "tmpfs", MountFlags::RDONLY, c"").unwrap();
    assert!(matches!(cloned(&node, "pv-ro", Writable::Yes), Err(VolumeError::Refused(..))));
}

#[test]
fn the_clone_never_keeps_the_kubelet_from_unmounting() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    let held = find(node.kubelet(), &Node::access("pv-1")).unwrap();
    assert_eq!(unmount(&target, UnmountFlags::empty()).unwrap_err(), Errno::BUSY, "a handle of the mount itself holds it");
    let root = clone(held, Writable::No, Path::new("/proc"), "pv-1").unwrap();
    let open = openat(&root, "file", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    unmount(&target, UnmountFlags::empty()).unwrap();
    assert_eq!(read(&root, "file").unwrap(), "pv-1", "what was begun can still be read until it is released");
    drop(open);
}

#[test]
fn what_goes_away_below_the_volume_goes_away_in_the_clone() {
    let Some(node) = Node::new() else { return };
    let target = node.csi("pv-1");
    let below = target.join("below");
    fs::create_dir(&below).unwrap();
    mount("tmpfs", &below, "tmpfs", MountFlags::empty(), c"").unwrap();
    fs::write(below.join("inner"), "x").unwrap();
    let root = cloned(&node, "pv-1", Writable::No).unwrap();
    assert_eq!(read(&root, "below/inner").unwrap(), "x");
    unmount(&below, UnmountFlags::empty()).unwrap();
    assert_eq!(read(&root, "below/inner").unwrap_err(), Errno::NOENT, "the clone is a slave");
}
