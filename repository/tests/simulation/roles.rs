//! Who is at work. Each has processes that may die at any moment, and come again.

use std::time::Duration;

use holdfast_repository::Repository;

use crate::chance::Chance;
use crate::process::Process;

pub(crate) mod checker;
pub(crate) mod forgetter;
pub(crate) mod pruner;
pub(crate) mod reader;
pub(crate) mod suspicious;
pub(crate) mod writer;

/// What a host does, in all its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    /// Has the cache directory of its earlier lives.
    CachingWriter,
    Reader,
    Checker,
    Forgetter,
    Pruner,
    Suspicious,
}

impl Role {
    pub(crate) fn draw(chance: &Chance) -> Self {
        use Role::*;
        [Writer, Writer, Writer, CachingWriter, Reader, Checker, Forgetter, Pruner, Pruner, Suspicious][chance.index(10)]
    }

    pub(crate) async fn work(self, process: &Process, repository: &Repository) -> Result<(), String> {
        match self {
            Self::Writer | Self::CachingWriter => writer::back_up(process, repository).await.map(drop),
            Self::Reader => reader::restore_any(process, repository).await,
            Self::Checker => checker::check(process, repository).await,
            Self::Forgetter => forgetter::forget_some(process, repository).await,
            Self::Pruner => pruner::prune(process, repository).await,
            Self::Suspicious => suspicious::suspect(process, repository).await,
        }
    }
}

/// A wait on no scale of its own, as often of seconds as of half an hour.
pub(crate) async fn linger(chance: &Chance) {
    tokio::time::sleep(Duration::from_millis(chance.of_any_size(7) / 5)).await;
}
