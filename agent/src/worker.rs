//! The worker process: one task, in a sandbox, and nothing else.
//!
//! Its only thread hardens the process, takes the order from its standard input (a socketpair to the agent), finds the
//! volumes, opens everything that is opened by a path (certificates of authorities, a local repository), enters the
//! sandbox, and only then starts a runtime and reads the first byte of a volume.

mod backend;
mod backup;
mod check;
mod connections;
pub(crate) mod document;
mod engine;
pub(crate) mod failure;
mod grant;
mod link;
mod local;
mod manifests;
pub(crate) mod message;
mod progress;
mod prune;
mod read_back;
mod removal;
mod resolver;
#[cfg(feature = "restic")]
mod restic;
mod restore;
pub(crate) mod task;
mod views;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use holdfast_proto::v1::{Assign, VolumeAccess};

use crate::frame;
use crate::sandbox::{self, Cage, capability::Need, hardening};
use crate::volume::{self, Identity};
use message::{Empty, FROM_WORKER_BYTES_MAX, FromWorker, Mount, Opened, Order, TO_WORKER_BYTES_MAX, ToWorker, Work, from_worker, to_worker};

/// What ends a worker before it has a task to report on. The agent sees the exit status and the log line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("standard input is not the agent's socket: {0}")]
    Socket(#[source] io::Error),
    #[error("the agent's order does not arrive: {0}")]
    Order(#[source] io::Error),
    #[error("this is not an order")]
    NotAnOrder,
    #[error("the process cannot be hardened: {0}")]
    Hardening(#[source] rustix::io::Errno),
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    #[error("the runtime does not start: {0}")]
    Runtime(#[source] io::Error),
    #[error("the answer does not reach the agent: {0}")]
    Answer(#[source] io::Error),
}

/// Runs the hidden `worker` subcommand. Call it first thing in `main`, while the process has one thread.
pub fn main() -> ExitCode {
    holdfast_mover::allocator::keep_lean();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the worker ends");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), WorkerError> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(WorkerError::Socket)?;
    let mut socket = UnixStream::from(socket);
    let message: ToWorker = frame::read_blocking(&mut socket, TO_WORKER_BYTES_MAX).map_err(WorkerError::Order)?;
    let Some(to_worker::Kind::Order(mut order)) = message.kind else { return Err(WorkerError::NotAnOrder) };
    hardening::harden(order.parent_pid).map_err(WorkerError::Hardening)?;
    hardening::limit_memory(order.memory_bytes).map_err(WorkerError::Hardening)?;
    match order.work.take() {
        Some(Work::LookUp(look_up)) => {
            let opened = look(&order, look_up.volumes.iter());
            answer(&mut socket, from_worker::Kind::Opened(opened.1))
        }
        Some(Work::TrySandbox(_)) => {
            let cage = Cage {
                kubelet_dir: Path::new("/"),
                volumes: Vec::new(),
                writable: volume::clone::Writable::No,
                repository: None,
                cache: None,
                need: Need::Nothing,
                ids: None,
            };
            sandbox::enter(&cage)?;
            answer(&mut socket, from_worker::Kind::Released(Empty {}))
        }
        Some(Work::Task(assign)) => run_task(socket, &order, *assign),
        None => Err(WorkerError::NotAnOrder),
    }
}

fn run_task(mut socket: UnixStream, order: &Order, assign: Assign) -> Result<(), WorkerError> {
    let plan = match task::Plan::of(assign) {
        Ok(plan) => plan,
        Err(failure) => return answer(&mut socket, failure::finished(failure)),
    };
    let kubelet_dir = Path::new(OsStr::from_bytes(&order.kubelet_dir));
    let (identities, opened) = look(order, plan.volumes());
    let found = !opened.mounts.is_empty() || opened.error.is_empty();
    let missing = opened.error.clone();
    answer(&mut socket, from_worker::Kind::Opened(opened))?;
    if !found {
        return answer(&mut socket, failure::finished(failure::volume_not_found(missing)));
    }
    let link = link::Link::new();
    let backend = match backend::Opened::open(plan.backend(), order, &link) {
        Ok(backend) => backend,
        Err(failure) => return answer(&mut socket, failure::finished(failure)),
    };
    let volumes: Vec<(&VolumeAccess, Identity)> = plan.volumes().zip(identities).collect();
    let roots = match cage(order, kubelet_dir, volumes, &plan, backend.local_directory()) {
        Ok(roots) => roots,
        Err(failure) => return answer(&mut socket, failure::finished(failure)),
    };
    // A backup can wait for the pods of its node; a restore is waited for.
    if plan.can_wait() {
        holdfast_mover::priority::stand_back();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(WorkerError::Runtime)?;
    let ended = runtime.block_on(link::attend(socket, link, |link| task::run(plan, backend, roots, link)));
    // Threads of the mover may still hang in a dead volume: the process ends, and everything with it.
    runtime.shutdown_background();
    ended.map_err(WorkerError::Answer)
}

fn cage(
    order: &Order,
    kubelet_dir: &Path,
    volumes: Vec<(&VolumeAccess, Identity)>,
    plan: &task::Plan,
    repository: Option<&Path>,
) -> Result<Vec<OwnedFd>, holdfast_proto::v1::TaskFailure> {
    if order.sandbox {
        let cage = Cage {
            kubelet_dir,
            volumes,
            writable: plan.writable(),
            repository: repository.map(Path::to_owned),
            cache: order.cache_folder().map(Path::to_owned),
            need: plan.need(),
            ids: plan.ids(),
        };
        let roots = sandbox::enter(&cage).map_err(|error| failure::sandbox(&error))?;
        // A change of ids undoes what the kernel ties to them: once more, for good.
        hardening::harden(order.parent_pid).map_err(failure::hardening)?;
        Ok(roots)
    } else {
        sandbox::without(kubelet_dir, &volumes, order.root_kind()).map_err(|error| failure::volume(&error))
    }
}

/// Finds the volumes without keeping a handle of them.
fn look<'a>(order: &Order, volumes: impl Iterator<Item = &'a VolumeAccess>) -> (Vec<Identity>, Opened) {
    let kubelet_dir = Path::new(OsStr::from_bytes(&order.kubelet_dir));
    let mut identities = Vec::new();
    for access in volumes {
        match volume::find(kubelet_dir, access, order.root_kind()) {
            Ok(found) => identities.push(found.identity),
            Err(error) => return (Vec::new(), Opened { mounts: Vec::new(), error: error.to_string() }),
        }
    }
    let mounts = identities.iter().map(Mount::from).collect();
    (identities, Opened { mounts, error: String::new() })
}

impl From<&Identity> for Mount {
    fn from(identity: &Identity) -> Self {
        Self {
            device_major: identity.device_major,
            device_minor: identity.device_minor,
            inode: identity.inode,
            mount_id: identity.mount_id,
        }
    }
}

fn answer(socket: &mut UnixStream, kind: from_worker::Kind) -> Result<(), WorkerError> {
    frame::write_blocking(socket, &FromWorker { kind: Some(kind) }, FROM_WORKER_BYTES_MAX).map_err(WorkerError::Answer)
}
