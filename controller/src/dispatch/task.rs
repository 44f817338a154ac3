//! A task: a piece of work that an agent does for one object, named by (owner, component, attempt).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::v1;

use crate::function::Run;
use crate::holder::Wish;
use crate::manifests::{BackupOrder, RestoreOrder};
use crate::object::{Key, Named};

/// Who wants a task: an object and which life of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The object.
    pub key: Key,
    /// Its UID.
    pub uid: String,
}

/// Names a task over all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// UID of the object that wants it.
    pub owner_uid: String,
    /// Component, or "" for work that belongs to none.
    pub component: String,
}

/// The order of classes is the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Somebody waits for it.
    Restore,
    /// Probe, initialisation, views: small, on any node, repeatable.
    Service,
    /// A page of what is in a bucket: its result is large, so few are under way at once.
    Reading,
    /// Everything else.
    Backup,
    /// Prune and check: nobody waits for it, and it never takes the place of what somebody does wait for.
    Maintenance,
}

impl Class {
    /// Repeatable work: whoever leads next begins it again.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Self::Service | Self::Reading | Self::Maintenance)
    }

    /// Whether each attempt is written down before it is assigned: where two at once would do harm, because both write to one volume.
    pub fn is_persisted(self) -> bool {
        self == Self::Restore
    }

    /// Whether an attempt that is written nowhere goes on under the next leader, because its agent says that it has it. Two backups of one
    /// volume are work done twice, and the older is stopped as soon as its agent is heard.
    pub fn is_taken_over(self) -> bool {
        self == Self::Backup
    }
}

/// An attempt as the owner's annotation has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Grows with each.
    pub number: u32,
    /// Node it was assigned to.
    pub node: String,
}

/// What an object wants done. Stated again at every reconcile: what is no longer wanted is cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRequest {
    /// Component, or "".
    pub component: String,
    /// Class of service.
    pub class: Class,
    /// Node whose agent must do it; `None`: any.
    pub node: Option<String>,
    /// The storage it loads, for admission.
    pub storage: Named,
    /// Whose turn it is counted as: tasks of one group wait for each other before those of another.
    pub group: String,
    /// The newest attempt that the owner's annotation names, of a task whose attempts are persisted.
    pub persisted: Option<Attempt>,
    /// This attempt has ended without success and the task is to run again.
    pub again_after: Option<u32>,
    /// UIDs of the pods whose volumes it uses.
    pub pod_uids: Vec<String>,
    /// The work, without secrets.
    pub work: Work,
}

impl TaskRequest {
    /// Whether an attempt of it can be on this node: where it was written down to be, or else where it is wanted. An agent learns the UID
    /// that other nodes' components have in common with its own; what it says of those is not believed.
    pub fn may_be_on(&self, node: &str, attempt: u32) -> bool {
        match self.persisted.as_ref().filter(|written| written.number == attempt) {
            Some(written) => written.node == node,
            None => self.node.as_ref().is_none_or(|wanted| wanted == node),
        }
    }
}

/// What an object says about one of its tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// This is to be done.
    Task(Box<TaskRequest>),
    /// What is under way, or has ended, under this component stays as it is.
    Keep(String),
    /// Not a task: a pod that holds claims, for as long as it is wanted.
    Hold(Box<Wish>),
    /// Not a task of agents: a Function that runs as a pod.
    Function(Box<Run>),
}

impl Wanted {
    /// The component.
    pub fn component(&self) -> &str {
        match self {
            Self::Task(request) => &request.component,
            Self::Keep(component) => component,
            Self::Hold(_) | Self::Function(_) => "",
        }
    }
}

/// Work without secrets: what `assign` completes when the task has an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Try out a storage.
    Probe {
        /// The BackupStorage.
        storage: Named,
    },
    /// Make or open a repository.
    Initialise {
        /// The Repository.
        repository: Named,
        /// Never make one.
        only_existing: bool,
    },
    /// One page of the Repositories in a storage.
    ReadRepositories {
        /// The BackupStorage.
        storage: Named,
        /// Where it begins.
        after: String,
    },
    /// One page of the Snapshots in a repository.
    ReadSnapshots {
        /// The Repository.
        repository: Named,
        /// Where it begins.
        after: String,
    },
    /// Put and remove YAML views in a storage.
    Views {
        /// The BackupStorage.
        storage: Named,
        /// Views to write, by path below the storage's prefix.
        put: Vec<v1::View>,
        /// Views to remove.
        remove: Vec<String>,
    },
    /// Forget snapshots, and remove their views.
    Forget {
        /// The Repository.
        repository: Named,
        /// The engine's snapshots.
        ids: Vec<String>,
        /// Views, by path below the storage's prefix.
        remove_views: Vec<String>,
    },
    /// Free what nothing needs any more.
    Prune {
        /// The Repository.
        repository: Named,
        /// How long it may wait for running backups and restores.
        wait_ms: u64,
    },
    /// Look whether everything is there, and whether a part of it is what was written.
    Check {
        /// The Repository.
        repository: Named,
        /// In how many parts all of it is read.
        parts: u32,
        /// Where the part before ended; "" to begin a round.
        after: String,
    },
    /// Remove a repository from its storage, for good.
    Wipe {
        /// The BackupStorage.
        storage: Named,
        /// Directory below the storage's prefix.
        directory: String,
        /// Views to write afterwards.
        put: Vec<v1::View>,
    },
    /// Back up; `access` is filled at assignment.
    Backup {
        /// The Repository to write to.
        repository: Named,
        /// The task.
        task: Box<v1::BackupTask>,
    },
    /// Restore; `access` is filled at assignment.
    Restore {
        /// The Repository to read from.
        repository: Named,
        /// The Secret with the repository's password, if not the Repository's own.
        encryption_secret: Option<Named>,
        /// The task.
        task: Box<v1::RestoreTask>,
    },
    /// Store manifests, which this controller reads.
    StoreManifests {
        /// The Repository to write to.
        repository: Named,
        /// The task.
        task: Box<v1::StoreManifests>,
        /// What is read.
        order: Box<BackupOrder>,
    },
    /// Bring manifests back, of which this controller makes objects.
    ReturnManifests {
        /// The Repository to read from.
        repository: Named,
        /// The Secret with the repository's password, if not the Repository's own.
        encryption_secret: Option<Named>,
        /// The task.
        task: Box<v1::ReturnManifests>,
        /// What is made.
        order: Box<RestoreOrder>,
    },
}

impl Work {
    /// Whether it writes views below this directory of a storage.
    pub fn writes_below(&self, directory: &str) -> bool {
        let is_below = |path: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        matches!(self, Self::Views { put, .. } if put.iter().any(|view| is_below(&view.path)))
    }

    /// The Repository whose snapshots it makes or reads.
    pub fn uses(&self) -> Option<&Named> {
        match self {
            Self::Backup { repository, .. }
            | Self::Restore { repository, .. }
            | Self::StoreManifests { repository, .. }
            | Self::ReturnManifests { repository, .. } => Some(repository),
            _ => None,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Backed up.
    Backup(v1::BackupResult),
    /// Restored (entries may have failed: see the result).
    Restore(v1::RestoreResult),
    /// Probed or initialised.
    Initialised(v1::InitResult),
    /// Views written.
    Views(v1::ViewsResult),
    /// Snapshots forgotten.
    Forgotten(v1::ForgetResult),
    /// Space freed.
    Pruned(v1::PruneResult),
    /// Checked.
    Checked(v1::CheckResult),
    /// Repository removed.
    Wiped(v1::WipeResult),
    /// A page was read.
    ReadBack(v1::ReadBackResult),
    /// The agent failed, and says why.
    Failed(v1::TaskFailure),
    /// It never reached an agent: something that the assignment needs is not there.
    NotStarted(NotStarted),
}

/// Why a task could not be assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// A Secret, or a key in it, is missing.
    #[error("{0}")]
    Secret(String),
    /// The storage, or what it refers to, cannot serve.
    #[error("{0}")]
    Storage(String),
    /// The object changed meanwhile.
    #[error("{0}")]
    Superseded(String),
    /// The API server did not answer.
    #[error("{0}")]
    Api(String),
}

/// What agents have brought of an object since another led, that nobody has asked for here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Components that they say they run.
    pub running: BTreeSet<String>,
    /// Components whose result is here.
    pub ended: BTreeSet<String>,
    /// Components that have been asked for here: what has become of those is known.
    pub asked: BTreeSet<String>,
    /// For how long more may come: this leadership is new.
    pub more_within: Option<Duration>,
}

/// What is waited for when nothing is wrong: nobody needs to be told.
pub const FREE_SLOT: &str = "waiting for a free slot";

/// What the owner sees of its task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskView {
    /// In line; says for what.
    Waiting(String),
    /// With an agent.
    Running {
        /// The agent's node.
        node: String,
        /// Which attempt.
        attempt: u32,
        /// Progress, as of the last time that it was this object's turn to show it.
        progress: Option<Arc<v1::TaskProgress>>,
    },
    /// Ended; stays until the owner no longer wants it, so no result is lost on the way to its status.
    Finished {
        /// Which attempt.
        attempt: u32,
        /// How often it was begun again after a failure.
        retries: u32,
        /// Its duration on the agent.
        elapsed_ms: u64,
        /// How.
        outcome: Arc<Outcome>,
    },
}

impl Outcome {
    /// From an agent's message; an empty one is a failure.
    pub fn from_message(outcome: Option<v1::task_finished::Outcome>) -> Self {
        use v1::task_finished::Outcome as Message;
        match outcome {
            Some(Message::Backup(result)) => Self::Backup(result),
            Some(Message::Restore(result)) => Self::Restore(result),
            Some(Message::Init(result)) => Self::Initialised(result),
            Some(Message::Views(result)) => Self::Views(result),
            Some(Message::Forget(result)) => Self::Forgotten(result),
            Some(Message::Prune(result)) => Self::Pruned(result),
            Some(Message::Wipe(result)) => Self::Wiped(result),
            Some(Message::ReadBack(result)) => Self::ReadBack(result),
            Some(Message::Check(result)) => Self::Checked(result),
            Some(Message::Failure(failure)) => Self::Failed(failure),
            None => Self::Failed(v1::TaskFailure {
                reason: v1::task_failure::Reason::Internal.into(),
                message: "the agent reported an outcome that this controller did not ask for".into(),
                retry_may_help: false,
            }),
        }
    }

    /// It was stopped on purpose (cancelled, or let go for the application): not a failure, to be run again if wanted.
    pub fn was_stopped(&self) -> bool {
        use v1::task_failure::Reason;
        matches!(self, Self::Failed(failure) if matches!(failure.reason(), Reason::Released | Reason::Cancelled))
    }

    /// Why this is not the result that was asked for, and whether another attempt may help.
    pub fn problem(&self) -> (String, bool) {
        self.failure().unwrap_or_else(|| ("the agent reported another result".into(), false))
    }

    /// Why it failed and whether another attempt may help; `None` if it did not fail.
    fn failure(&self) -> Option<(String, bool)> {
        match self {
            Self::Failed(failure) => Some((failure.message.clone(), failure.retry_may_help)),
            Self::NotStarted(reason) => {
                Some((reason.to_string(), matches!(reason, NotStarted::Api(_) | NotStarted::Superseded(_))))
            }
            _ => None,
        }
    }
}
