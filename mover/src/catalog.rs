//! The catalog: what a snapshot says about every entry of a volume, in the order of path components.
//!
//! The format is `docs/format-catalog.md`. Entries are encoded in columns, in small segments whose borders are chosen by the
//! paths themselves, so that the unchanged part of a tree gives the same segments again, which are then not stored again.

mod column;
pub mod entry;
mod extent_list;
mod node;
mod path;
pub mod reader;
mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod writer;

pub use entry::{Entry, EntryFlags, EntryKind, Extent, ExtentListRef, Timestamp, Xattr};
pub use path::{PathError, RelPath};
pub use reader::{BlobSource, CatalogError, CatalogReader, ExtentStream, Gap, Step};
pub(crate) use column::{border_hash, is_border};
pub(crate) use segment::XATTR_BYTES_MAX;
pub(crate) use writer::ExtentSpool;
pub use writer::{AppendError, BlobSink, CatalogSummary, CatalogWriter};

#[cfg(test)]
mod tests;
