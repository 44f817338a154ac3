//! What agent and worker say to each other over their socketpair: prost messages in length-prefixed frames.
//!
//! The agent trusts nothing a worker says: after the sandbox a worker has read hostile bytes. Every frame is bounded,
//! every number is only shown or added up, every name is only handed to the resolver or the controller.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use holdfast_proto::v1::{
    Assign, Backend, Data, DataAnswer, DataPiece, DataRequest, RepositoryAccess, TaskFinished, TaskProgress, VolumeAccess, assign,
};

use crate::cache::Folder;
use crate::sandbox::CACHE;
use crate::volume::RootKind;

/// Longest frame from a worker. Results carry counts and at most a few tens of names.
pub(crate) const FROM_WORKER_BYTES_MAX: usize = 1024 * 1024;
/// Longest frame to a worker: an assignment is one gRPC message, and a little more.
pub(crate) const TO_WORKER_BYTES_MAX: usize = holdfast_proto::MESSAGE_BYTES_MAX + 64 * 1024;

/// Agent to worker.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ToWorker {
    #[prost(oneof = "to_worker::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub(crate) kind: Option<to_worker::Kind>,
}

pub(crate) mod to_worker {
    use super::{Backend, Checked, Data, DataAnswer, Grant, Order, Resolved, StopOrder};

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Order(Box<Order>),
        #[prost(message, tag = "2")]
        Stop(StopOrder),
        #[prost(message, tag = "3")]
        Grant(Grant),
        #[prost(message, tag = "4")]
        Credentials(Backend),
        #[prost(message, tag = "5")]
        Resolved(Resolved),
        #[prost(message, tag = "6")]
        Checked(Checked),
        #[prost(message, tag = "7")]
        Data(Data),
        #[prost(message, tag = "8")]
        DataAnswer(DataAnswer),
    }
}

/// Worker to agent.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FromWorker {
    #[prost(oneof = "from_worker::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub(crate) kind: Option<from_worker::Kind>,
}

pub(crate) mod from_worker {
    use super::{Check, DataPiece, DataRequest, Empty, Opened, Resolve, TaskFinished, TaskProgress};

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Opened(Opened),
        #[prost(message, tag = "2")]
        Progress(TaskProgress),
        #[prost(message, tag = "3")]
        WantGrant(Empty),
        #[prost(message, tag = "4")]
        WantCredentials(Empty),
        #[prost(message, tag = "5")]
        Resolve(Resolve),
        #[prost(message, tag = "6")]
        Check(Check),
        #[prost(message, tag = "7")]
        Released(Empty),
        #[prost(message, tag = "8")]
        Finished(Box<TaskFinished>),
        #[prost(message, tag = "9")]
        WantData(DataRequest),
        #[prost(message, tag = "10")]
        Piece(DataPiece),
    }
}

/// The first frame a worker gets: all it ever learns from outside, secrets included.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Order {
    #[prost(int32, tag = "1")]
    pub(crate) parent_pid: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) kubelet_dir: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(crate) sandbox: bool,
    #[prost(uint64, tag = "4")]
    pub(crate) memory_bytes: u64,
    /// Prefixes below which a LocalDirectory backend may lie.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) allow_local: Vec<Vec<u8>>,
    #[prost(oneof = "Work", tags = "6, 7, 8")]
    pub(crate) work: Option<Work>,
    /// A volume's root may be any directory. Counts only without a sandbox.
    #[prost(bool, tag = "9")]
    pub(crate) directories: bool,
    /// The folder of the repository's cache; empty if there is none.
    #[prost(bytes = "vec", tag = "10")]
    pub(crate) cache_dir: Vec<u8>,
    #[prost(uint64, tag = "11")]
    pub(crate) cache_bytes: u64,
}

impl Order {
    /// The folder that the sandbox lets in, as this process sees it now.
    pub(crate) fn cache_folder(&self) -> Option<&Path> {
        (!self.cache_dir.is_empty()).then(|| Path::new(OsStr::from_bytes(&self.cache_dir)))
    }

    /// The repository's cache, as the task sees it.
    pub(crate) fn cache(&self) -> Option<Folder> {
        let path = if self.sandbox { Path::new(CACHE) } else { self.cache_folder()? };
        self.cache_folder().map(|_| Folder { path: path.to_owned(), bytes_max: self.cache_bytes })
    }

    /// What a volume's root must be. In a sandbox nothing but a mount: its clone needs one, and a cluster promises one.
    pub(crate) fn root_kind(&self) -> RootKind {
        if self.directories && !self.sandbox { RootKind::Directory } else { RootKind::Mount }
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Work {
    #[prost(message, tag = "6")]
    Task(Box<Assign>),
    /// Only look where the volumes are, answer Opened, and end.
    #[prost(message, tag = "7")]
    LookUp(LookUp),
    /// Only enter an empty sandbox, answer Released, and end.
    #[prost(message, tag = "8")]
    TrySandbox(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LookUp {
    #[prost(message, repeated, tag = "1")]
    pub(crate) volumes: Vec<VolumeAccess>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Empty {}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct StopOrder {
    /// true: close the volume's handles at once, then checkpoint. false: stop as soon as it is tidy.
    #[prost(bool, tag = "1")]
    pub(crate) release: bool,
}

/// The right to write, until a reading of CLOCK_BOOTTIME; `refused` if the controller said no.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Grant {
    #[prost(uint64, tag = "1")]
    pub(crate) until_boottime_ms: u64,
    #[prost(string, tag = "2")]
    pub(crate) refused: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resolve {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) host: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resolved {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, repeated, tag = "2")]
    pub(crate) addresses: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) error: String,
}

/// Asks the agent to look again whether the volumes are still mounted where they were.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Check {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
}

/// "" if nothing changed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Checked {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) changed: String,
}

/// Where the volumes were found, in the agent's mount namespace.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Opened {
    #[prost(message, repeated, tag = "1")]
    pub(crate) mounts: Vec<Mount>,
    #[prost(string, tag = "2")]
    pub(crate) error: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Mount {
    #[prost(uint32, tag = "1")]
    pub(crate) device_major: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) device_minor: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) inode: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) mount_id: u64,
}

impl ToWorker {
    /// Overwrites the secrets of a message that was sent.
    pub(crate) fn wipe(&mut self) {
        match &mut self.kind {
            Some(to_worker::Kind::Credentials(backend)) => backend.wipe(),
            Some(to_worker::Kind::Order(order)) => {
                if let Some(Work::Task(assign)) = &mut order.work {
                    wipe(assign);
                }
            }
            _ => {}
        }
    }
}

/// Overwrites the secrets of an assignment that nobody will run (any more).
pub(crate) fn wipe(assign: &mut Assign) {
    let repository: &mut Option<RepositoryAccess> = match &mut assign.spec {
        Some(assign::Spec::InitRepository(task)) => &mut task.repository,
        Some(assign::Spec::Backup(task)) => &mut task.repository,
        Some(assign::Spec::Restore(task)) => &mut task.repository,
        Some(assign::Spec::Check(task)) => &mut task.repository,
        Some(assign::Spec::Forget(task)) => &mut task.repository,
        Some(assign::Spec::Prune(task)) => &mut task.repository,
        Some(assign::Spec::ReadSnapshots(task)) => &mut task.repository,
        Some(assign::Spec::StoreManifests(task)) => &mut task.repository,
        Some(assign::Spec::ReturnManifests(task)) => &mut task.repository,
        Some(assign::Spec::ReadRepositories(task)) => return task.backend.iter_mut().for_each(Backend::wipe),
        Some(assign::Spec::Wipe(task)) => return task.backend.iter_mut().for_each(Backend::wipe),
        Some(assign::Spec::WriteViews(task)) => return task.backend.iter_mut().for_each(Backend::wipe),
        Some(assign::Spec::ProbeStorage(task)) => return task.backend.iter_mut().for_each(Backend::wipe),
        None => return,
    };
    repository.iter_mut().for_each(RepositoryAccess::wipe);
}
