//! Looks around from inside. The thread of each test is the worker: namespace, root, capabilities and filter are a thread's.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set, no_new_privs};

use super::*;
use crate::node::Node;

fn inside(need: Need, check: impl FnOnce(OwnedFd) + Send + 'static) {
    let Some(node) = Node::new() else { return };
    node.csi("pv-1");
    let access = Node::access("pv-1");
    let identity = volume::find(node.kubelet(), &access, RootKind::Mount).unwrap().identity;
    let writable = if need == Need::WriteVolume { Writable::Yes } else { Writable::No };
    let kubelet = node.kubelet().to_owned();
    // A thread of its own: what it gives up, the test's own thread keeps, and cleans up.
    let ended = std::thread::spawn(move || {
        let cage =
            Cage { kubelet_dir: &kubelet, volumes: vec![(&access, identity)], writable, repository: None, cache: None, need, ids: None };
        let root = enter(&cage).unwrap().remove(0);
        check(root);
    });
    if let Err(panic) = ended.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn there_is_nothing_but_the_volume() {
    inside(Need::ReadVolume, |root| {
        for path in ["/etc/passwd", "/proc/self/root/etc/passwd", "/proc/1", "/proc/self/exe", "/usr", "/sys", "/dev", "/tmp"] {
            assert_eq!(fs::metadata(path).unwrap_err().kind(), std::io::ErrorKind::NotFound, "{path}");
        }
        let names: Vec<_> = fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["proc"]);
        assert_eq!(fs::write("/x", "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let above = openat(&root, "../../../../etc/passwd", OFlags::RDONLY, Mode::empty());
        assert_eq!(above.unwrap_err(), Errno::NOENT);
        assert_eq!(fs::read_to_string(format!("/proc/self/fd/{}/file", root.as_raw_fd())).unwrap(), "pv-1");
    });
}

#[test]
fn the_volume_of_a_backup_cannot_be_written() {
    inside(Need::ReadVolume, |root| {
        openat(&root, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(openat(&root, "file", OFlags::WRONLY, Mode::empty()).unwrap_err(), Errno::ROFS);
        assert_eq!(openat(&root, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap_err(), Errno::ROFS);
    });
}

#[test]
fn the_capabilities_are_the_tables() {
    for need in [Need::Nothing, Need::ReadVolume, Need::WriteVolume] {
        inside(need, move |_| {
            let sets = capabilities(None).unwrap();
            assert_eq!(sets.permitted, need.capabilities());
            assert_eq!(sets.effective, need.capabilities());
            assert_eq!(sets.inheritable, CapabilitySet::empty());
            for capability in [CapabilitySet::SYS_ADMIN, CapabilitySet::SYS_PTRACE, CapabilitySet::SYS_CHROOT, CapabilitySet::SETUID] {
                assert!(!capability_is_in_bounding_set(capability).unwrap(), "{capability:?}");
            }
            assert!(no_new_privs().unwrap());
        });
    }
}

#[test]
fn the_table_is_the_documents() {
    let document = include_str!("../../../docs/threat-model.md");
    for need in [Need::ReadVolume, Need::WriteVolume] {
        for (name, _) in need.capabilities().iter_names() {
            assert!(document.contains(&format!("| `{name}`")), "{name} is missing in docs/threat-model.md");
        }
    }
}

#[test]
fn no_mount_no_handle_no_process_no_namespace() {
    inside(Need::WriteVolume, |root| {
        let mounted = mount("tmpfs", "/proc", "tmpfs", MountFlags::empty(), c"");
        assert_eq!(mounted.unwrap_err(), Errno::PERM);
        let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::AT_EMPTY_PATH;
        assert_eq!(rustix::mount::open_tree(&root, "", flags).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::process::chroot("/").unwrap_err(), Errno::PERM);
        for namespace in [rustix::thread::UnshareFlags::NEWNS, rustix::thread::UnshareFlags::NEWUSER] {
            assert_eq!(crate::syscall::unshare_namespaces(namespace).unwrap_err(), Errno::PERM);
        }
        let program = std::process::Command::new("/bin/true").spawn();
        assert!(matches!(program.unwrap_err().raw_os_error(), Some(libc::EPERM | libc::ENOENT)));
        let parent = rustix::process::getppid().unwrap();
        assert_eq!(rustix::process::kill_process(parent, rustix::process::Signal::URG).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::empty()).unwrap_err(), Errno::PERM);
        let netlink = rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::DGRAM, None);
        assert_eq!(netlink.unwrap_err(), Errno::PERM);
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        // Threads and the directory of a thread's own still work: the mover needs both.
        std::thread::spawn(|| fs::read_dir("/").unwrap().count()).join().unwrap();
    });
}

#[test]
fn a_restore_may_write_and_own() {
    inside(Need::WriteVolume, |root| {
        let file = openat(&root, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(1000)), Some(rustix::fs::Gid::from_raw(1000))).unwrap();
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o4755)).unwrap();
    });
}

#[test]
fn another_volume_in_its_place_is_not_entered() {
    let Some(node) = Node::new() else { return };
    node.csi("pv-1");
    node.csi("pv-2");
    let (one, two) = (Node::access("pv-1"), Node::access("pv-2"));
    let other = volume::find(node.kubelet(), &two, RootKind::Mount).unwrap().identity;
    let kubelet = node.kubelet().to_owned();
    std::thread::spawn(move || {
        let cage = Cage {
            kubelet_dir: &kubelet,
            volumes: vec![(&one, other)],
            writable: Writable::No,
            repository: None,
            cache: None,
            need: Need::ReadVolume,
            ids: None,
        };
        assert!(matches!(enter(&cage), Err(SandboxError::Volume(VolumeError::NotFound(..)))));
    })
    .join()
    .unwrap();
}
