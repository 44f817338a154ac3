//! Which snapshot is meant: `latest`, a whole id, or its short form.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use holdfast_repository::{Repository, SnapshotId, SnapshotRecord, Snapshots};

use crate::outcome::Failure;
use crate::text;

/// Which snapshots are looked at.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct Filter {
    /// Only snapshots that have this path, as they list it.
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Only snapshots of this host.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
}

impl Filter {
    pub(crate) fn accepts(&self, record: &SnapshotRecord) -> bool {
        self.host.as_ref().is_none_or(|host| *host == record.host)
            && self.paths.iter().all(|path| record.sources.iter().any(|source| source.path == path.as_os_str().as_bytes()))
    }
}

/// The snapshot that `wanted` names.
pub(crate) async fn find(repository: &Repository, wanted: &str, filter: &Filter) -> Result<(SnapshotId, SnapshotRecord), Failure> {
    if let Ok(id) = wanted.parse::<SnapshotId>() {
        return Ok((id, repository.snapshot(&id).await?));
    }
    let Snapshots { readable, unreadable } = repository.snapshots().await?;
    for (id, error) in &unreadable {
        eprintln!("warning: snapshot {} cannot be read: {}", id.short(), text::one_line(&error.to_string()));
    }
    let none = || Failure::new(format!("no snapshot {wanted:?} here; holdfast snapshots lists them"));
    if wanted == "latest" {
        return readable.into_iter().rev().find(|(_, record)| filter.accepts(record)).ok_or_else(|| Failure::new("no snapshot fits; holdfast snapshots lists them"));
    }
    let mut fitting = readable.into_iter().filter(|(id, _)| id.short() == wanted);
    let found = fitting.next().ok_or_else(none)?;
    match fitting.next() {
        Some(_) => Err(Failure::new(format!("several snapshots are called {wanted}; use the whole id (holdfast snapshots --json)"))),
        None => Ok(found),
    }
}
