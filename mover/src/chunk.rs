//! Content to blobs: where large files are cut, what is zero, which small files are the same.

mod cutter;
mod duplicates;
mod stream;

pub use cutter::Cutter;
pub(crate) use duplicates::{Duplicates, Place};
pub(crate) use stream::{ChunkStream, is_zero};
