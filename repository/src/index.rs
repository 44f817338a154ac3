//! The index: blob -> pack, offset, length.

use crate::id::LeaseId;

/// An index run: the `number`th that `lease` wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName {
    /// Who wrote it.
    pub lease: LeaseId,
    /// Counts from 0.
    pub number: u32,
}
