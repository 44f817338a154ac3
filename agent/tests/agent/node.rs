//! A node: a kubelet's directory in a mount namespace of the test's thread, and an agent on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_agent::{CachePlace, Config, SandboxMode, Source};
use holdfast_proto::v1::{Assign, Backend, LocalDirectory, RepositoryAccess, TaskRef, VolumeAccess, assign, backend};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::UnshareFlags;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::controller::{Authority, TOKEN};

pub(crate) const POD: &str = "0d6bdbc8-0d0b-4c52-9b7e-7f6d0a1f2b3c";

pub(crate) struct Node {
    directory: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Node {
    /// Without root: no mounts, the sandbox in a user namespace (or off where the kernel forbids that).
    pub(crate) fn plain() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("storage")).unwrap();
        Self { directory, authority: Authority::new() }
    }

    /// With mounts; None without the right to.
    pub(crate) fn with_mounts() -> Option<Self> {
        #[allow(unsafe_code)]
        // SAFETY: only mount namespace and working directory are parted from the other threads; descriptors stay shared.
        if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.is_err() {
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let node = Self::plain();
        mount_bind(node.directory.path(), node.directory.path()).unwrap();
        mount_change(node.directory.path(), MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
        Some(node)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.path().join("storage")
    }

    /// A mounted CSI volume.
    pub(crate) fn volume(&self, pv: &str) -> PathBuf {
        let target = self.path().join("pods").join(POD).join("volumes/kubernetes.io~csi").join(pv).join("mount");
        fs::create_dir_all(&target).unwrap();
        mount("tmpfs", &target, "tmpfs", MountFlags::empty(), c"").unwrap();
        target
    }

    pub(crate) fn config(&self, controller: &str) -> Config {
        let ca_pem = self.authority.ca_pem.clone();
        Config {
            controller: controller.into(),
            ca: Source::Function(Arc::new(move || Ok(ca_pem.clone().into_bytes()))),
            token: Source::Function(Arc::new(|| Ok(TOKEN.as_bytes().to_vec()))),
            kubelet_dir: self.path().to_owned(),
            slots: 2,
            memory_bytes: 256 << 20,
            sandbox: SandboxMode::Required,
            allow_local: vec![self.storage()],
            cache: Some(CachePlace { directory: self.path().join("cache"), bytes_max: 64 << 20 }),
            worker_command: vec![env!("CARGO_BIN_EXE_holdfast-agent").into(), "worker".into()],
        }
    }

    pub(crate) fn backend(&self) -> Option<Backend> {
        let path = self.storage().join("bucket").to_str().unwrap().to_owned();
        Some(Backend { kind: Some(backend::Kind::Local(LocalDirectory { path })) })
    }

    pub(crate) fn repository(&self) -> Option<RepositoryAccess> {
        Some(RepositoryAccess { backend: self.backend(), directory: "demo/repo".into(), password: b"correct horse\n".to_vec() })
    }
}

/// The runtime's threads are in the namespace of the thread that makes it.
pub(crate) fn runtime() -> Runtime {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).with_ansi(false).try_init();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An agent that ends with this.
pub(crate) struct Agent {
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Agent {
    pub(crate) fn start(config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { holdfast_agent::run(config, shutdown).await.unwrap() }
        });
        Self { shutdown, running }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

pub(crate) fn volume_access(pv: &str) -> Option<VolumeAccess> {
    Some(VolumeAccess {
        pvc_namespace: "default".into(),
        pvc_name: "data".into(),
        pvc_uid: format!("uid-of-{pv}"),
        pv_name: pv.into(),
        pod_uid: POD.into(),
        pod_name: "app-0".into(),
        ..VolumeAccess::default()
    })
}

static SESSIONS: AtomicU32 = AtomicU32::new(1);

/// An assignment of a session of its own, under leadership 1.
pub(crate) fn assignment(spec: assign::Spec) -> Assign {
    let session = format!("session-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
    let task = TaskRef { session_uid: session.clone(), component: "c".into(), attempt: 1, name: session, ..TaskRef::default() };
    Assign { task: Some(task), epoch: 1, spec: Some(spec), ..Assign::default() }
}
