//! Reads repositories that restic has written (versions 1 and 2), so that what KubeStash stored can be listed and restored.
//!
//! ```text
//! objects (reads only) -> key -> repository -> index, snapshot -> tree -> entries, archive -> mover's restore
//! ```
//! Nothing is ever written into such a repository, no lock either: `objects` can only read. A `restic prune` that runs meanwhile may
//! take a pack away; the files that need it then fail, by name, and the restore is no success.
//!
//! Whoever can write to the bucket can replace the keys, whoever has the password too can forge all the rest: every object has a
//! limit on its bytes, stored and inflated, before it is read; trees are parsed entry by entry; the index and the trees on the
//! way down have a budget; names become paths only through the mover's check; and what is restored goes through the mover's writers.

mod archive;
mod cipher;
mod content;
mod dump;
mod entries;
mod error;
mod id;
mod index;
mod inflate;
mod key;
mod node;
mod objects;
mod quoted;
mod repository;
mod snapshot;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;

pub use dump::DumpError;
pub use error::OpenError;
pub use id::SnapshotId;
pub use repository::Repository;
pub use snapshot::{Snapshot, Snapshots};
pub use source::{Part, SnapshotSource};
