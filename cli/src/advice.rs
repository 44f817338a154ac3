//! Errors of the engine as one line that says what to do.

use holdfast_mover::backup::BackupError;
use holdfast_mover::listing::ListError;
use holdfast_mover::catalog::CatalogError;
use holdfast_mover::restore::RestoreError;
use holdfast_repository::{CommitError, InitError, KeyError, OpenError, PruneError, ReadError, StoreError, WriteError};

use crate::outcome::Failure;

/// Whatever can be said about an error besides its own words.
trait Advice {
    fn advice(&self) -> Option<&'static str>;
}

impl Advice for StoreError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Denied { .. } => Some("check the credentials (AWS_*) and their rights to this bucket or directory"),
            Self::ReadOnly { .. } => Some("the repository takes no writes; make it writable and run this again"),
            Self::Full { .. } => Some("make room there and run this again"),
            Self::Unreachable { .. } => Some("check --repo, AWS_ENDPOINT_URL and the network, and run this again"),
            Self::Unsupported { .. } => Some("check --repo and AWS_ENDPOINT_URL: this is no S3 server that keeps backups safe"),
            Self::NotFound { .. } | Self::AlreadyExists { .. } | Self::Corrupt { .. } => None,
        }
    }
}

impl Advice for ReadError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => None,
            Self::Damaged { object, .. } => Some(match object.split('/').next() {
                Some("config") => "bring it back from a copy of the store (it never changes); without it nothing opens",
                Some("keys") => "use another password of this repository, or bring it back from a copy of the store",
                Some("state" | "index") => "run holdfast repair",
                _ => "run holdfast check to see what else is damaged",
            }),
            Self::TooNew { .. } => Some("use that version"),
            Self::Store(error) => error.advice(),
        }
    }
}

impl Advice for OpenError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotARepository { .. } => Some("check --repo, or make one there with: holdfast repo init"),
            Self::WrongPassword { .. } => Some("check --password-file or HOLDFAST_PASSWORD; if they are right, its key is missing or damaged: use another password, or bring keys/ back from a copy of the store"),
            Self::Read(error) => error.advice(),
        }
    }
}

impl Advice for InitError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Exists { .. } => Some("check the password, or choose another place"),
            Self::Open(error) => error.advice(),
            Self::Store(error) => error.advice(),
        }
    }
}

impl Advice for WriteError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => error.advice(),
            Self::Store { source } => source.advice(),
            Self::TooNew { .. } => Some("use that version"),
            Self::Stopped { cause } => cause.advice(),
            _ => None,
        }
    }
}

impl Advice for KeyError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Write(error) => error.advice(),
            // They say it themselves.
            Self::Own { .. } | Self::TooMany | Self::NotFound { .. } => None,
        }
    }
}

impl Advice for PruneError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable(error @ ReadError::TooNew { .. }) => error.advice(),
            Self::Unreadable(ReadError::Damaged { object, .. } | ReadError::Store(StoreError::NotFound { object })) if is_record(object) => Some("run holdfast repair"),
            Self::Unreadable(_) => Some("run holdfast check: it says who needs it, and what to do"),
            Self::Read(error) => error.advice(),
            Self::Write(error) => error.advice(),
            Self::Unlisted { .. } => Some("run holdfast repair: it makes the index again from the packs"),
            Self::WritersNotHeld => Some("hold them, and say so with --nobody-else-writes"),
            Self::Races => Some("run it again when they are done"),
            Self::Stopped => Some("what was done stands, and the next prune goes on from there"),
            // It says it itself.
            Self::Spill(_) => None,
        }
    }
}

/// What repair makes anew.
fn is_record(object: &str) -> bool {
    matches!(object.split('/').next(), Some("state" | "index"))
}

impl Advice for CommitError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Write(error) => error.advice(),
            _ => Some("run the backup again; what was uploaded is used"),
        }
    }
}

impl Advice for BackupError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => error.advice(),
            Self::Write(error) => error.advice(),
            Self::Commit(error) => error.advice(),
            Self::VolumeUnreadable { .. } => Some("check that it exists and that you may read it"),
            Self::Cancelled => Some("nothing is left behind but what the next backup can use"),
            _ => None,
        }
    }
}

impl Advice for CatalogError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => error.advice(),
            Self::Malformed { .. } => Some("run holdfast check, and use another snapshot"),
        }
    }
}

impl Advice for ListError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Catalog(error) => error.advice(),
            Self::NoSuchPath(_) => Some("holdfast ls SNAPSHOT shows what it has"),
        }
    }
}

impl Advice for RestoreError {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Repository(error) => error.advice(),
            Self::BadCatalog { .. } => Some("use another snapshot"),
            _ => None,
        }
    }
}

fn line(error: &(impl Advice + std::fmt::Display)) -> Failure {
    Failure::new(match error.advice() {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    })
}

macro_rules! failures {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                line(&error)
            }
        })*
    };
}

failures!(OpenError, InitError, KeyError, ReadError, WriteError, PruneError, BackupError, ListError, RestoreError);
