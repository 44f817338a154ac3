//! What goes from the walk to the workers, and from both to the catalog.

use crate::catalog::Entry;
use crate::scan::{FileType, Found, Stat};

/// An inode that has more than one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) key: LinkKey,
    /// Names that the inode says it has.
    pub(super) links: u32,
}

/// Device and inode.
pub(super) type LinkKey = (u64, u64);

impl Link {
    /// None for an inode with one name, and for directories.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        let linked = stat.links > 1 && stat.file_type != FileType::Directory;
        linked.then_some(Self { key: (stat.device, stat.inode), links: stat.links })
    }
}

/// A file whose content is to be read.
pub(super) struct ReadJob {
    /// Its place among all entries.
    pub(super) sequence: u64,
    pub(super) found: Found,
    /// Number of its device in the catalog.
    pub(super) device: u64,
    /// Set if other names of it may follow.
    pub(super) link: Option<Link>,
    /// The parent's entry, if it is unchanged and its extents must first be looked through: then it is read only if one of its
    /// blobs is gone.
    pub(super) reuse: Option<Box<Entry>>,
    /// What the parent has at this place: a large file that changed is compared with it.
    pub(super) basis: Option<Box<Entry>>,
}

/// Work for one worker.
pub(super) enum Job {
    /// Small files, to one bundle.
    Bundle(Vec<ReadJob>),
    /// A file to chunks of its own.
    Large(Box<ReadJob>),
}

/// What became of an entry.
pub(super) struct Outcome {
    pub(super) sequence: u64,
    pub(super) result: OutcomeKind,
}

/// See [`Outcome`].
pub(super) enum OutcomeKind {
    /// It goes into the catalog; further names of it may follow if it has a key.
    Entry(Box<Entry>, Option<Link>),
    /// Another name of a file that was seen: it becomes a link, or is read if the first name could not be.
    Follow(Box<ReadJob>),
    /// It could not be read, and was named.
    Nothing,
    /// The walk is over; `sequence` is the number of entries.
    End,
}
