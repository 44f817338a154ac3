//! What is stored: blobs, packs, index, states, leases, snapshots, keys. Knows nothing of Kubernetes.
//!
//! `docs/format.md` has every byte and the rules of writing; the modules here stand in its order.

pub mod codec;

mod blob;
mod blobs;
mod cache;
mod check;
mod compress;
mod config;
mod core;
mod crypto;
mod environment;
mod error;
mod features;
mod fine;
mod forget;
mod id;
mod index;
mod keys;
mod lease;
mod lock;
mod mutation;
mod pace;
mod pack;
pub mod past_cache;
mod prune;
mod read_ahead;
mod reader;
mod refs;
mod repair;
mod repository;
mod sealed;
mod secret;
mod snapshot;
mod spill;
mod state;
mod stats;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod view;
mod writer;

pub use blob::{BLOB_RAW_BYTES_MAX, BlobKind, BlobLocation, ChunkerParameters, FINE_STEP_BYTES, PackClass, PackName};
pub use cache::{CACHE_BYTES_MAX, CacheUsage};
pub use check::{CheckOptions, CheckProgress, CheckReport, Finding, NextPart};
pub use compress::Scratch;
pub use environment::{Clock, Environment, Random};
pub use error::{CommitError, InitError, OpenError, ReadError, WriteError};
pub use fine::{FineHash, FineHashes};
pub use forget::retention::{Candidate, Group, Retention};
pub use id::{BlobId, KeyId, LeaseId, MasterKeyId, PackId, ParseIdError, RepositoryId, SnapshotId};
pub use index::RunName;
pub use keys::ring::{KeyError, KeyInfo};
pub use lease::{Activity, Purpose};
pub use pace::Pace;
pub use prune::{PruneError, PruneOptions, PruneProgress, PruneReport, WaitingFor};
pub use reader::{Fetched, Reader};
pub use repair::{RepairOptions, RepairReport, Rescued};
pub use repository::{InitReport, Repository};
pub use secret::SecretBytes;
pub use snapshot::listing::Snapshots;
pub use snapshot::{SnapshotDraft, SnapshotRecord, SourceRecord, Statistics};
pub use stats::{BlobCount, Objects, RepositoryStats, SnapshotStats};
pub use spill::{SPILL_BYTES_MAX, Sorted, Sorter, Spill, SpillError, SpillFile, SpillPlace};
pub use store::{Store, StoreError};
pub use writer::{Added, Writer, WriterOptions};
