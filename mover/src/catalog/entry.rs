//! One entry of a volume: a directory, a file, or anything else that has a name.

use holdfast_repository::BlobId;

use crate::catalog::RelPath;

/// An entry as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root of the source; the root itself is the empty path.
    pub path: RelPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky included: `07777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last change of the inode: never restored, only compared.
    pub ctime: Timestamp,
    /// Inode number on the volume: never restored, only compared.
    pub inode: u64,
    /// Which of the volume's devices the inode number belongs to: 0 is the root's, others are numbered as they appear.
    /// (A device number itself changes with each mount, and would change the whole catalog with it.)
    pub device: u64,
    /// Bytes of content: the sum of the extents (of those of the first name, if this is a hard link to it). 0 for all but files.
    pub size: u64,
    /// Extended attributes, sorted by name; POSIX ACLs and file capabilities are among them.
    pub xattrs: Vec<Xattr>,
    /// Set if this is another name of the entry at that path, which comes earlier. Content, symbolic link target and device
    /// number stand there only; attributes stand at both.
    pub link_to: Option<RelPath>,
    /// What a later backup must know about how this entry was read.
    pub flags: EntryFlags,
    /// Content of a file, in order, without gaps. Empty if `extent_lists` is not: read both through
    /// [`CatalogReader::extents`](crate::catalog::CatalogReader::extents).
    pub extents: Vec<Extent>,
    /// Content of a giant file: lists of extents that are stored as blobs of their own, in order.
    pub extent_lists: Vec<ExtentListRef>,
}

/// Name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// The kind of an entry, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// Where it points, byte for byte; never followed.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
    /// A character device.
    CharDevice {
        /// The device it stands for, as in `stat`.
        rdev: u64,
    },
    /// A block device.
    BlockDevice {
        /// The device it stands for, as in `stat`.
        rdev: u64,
    },
}

impl EntryKind {
    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File)
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }
}

/// Nanoseconds precise, before 1970 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// How an entry was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags {
    /// It changed while it was read, or so shortly before that a further change may not show in its times: the next backup reads
    /// it again whatever its times say.
    pub read_next_time: bool,
    /// Some of its extended attributes could not be read (they are named in the report of that backup).
    pub xattrs_incomplete: bool,
    /// A directory whose names could not be (all) read: its content here is not complete.
    pub listing_incomplete: bool,
}

/// A piece of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Part of a stored blob.
    Blob {
        /// The blob.
        blob: BlobId,
        /// Where in the blob's raw bytes the piece begins.
        offset: u32,
        /// Its bytes.
        length: u32,
    },
    /// Nothing was ever written here: a hole.
    Hole {
        /// Its bytes.
        length: u64,
    },
    /// Zero bytes that somebody wrote: they have space on the volume.
    Zero {
        /// Its bytes.
        length: u64,
    },
}

impl Extent {
    /// Bytes of the file that it covers.
    pub fn length(&self) -> u64 {
        match *self {
            Self::Blob { length, .. } => u64::from(length),
            Self::Hole { length } | Self::Zero { length } => length,
        }
    }
}

/// A list of extents (depth 1) or of such lists (depth 2 and more) that is stored as a blob of kind `ExtentList`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentListRef {
    /// The blob.
    pub blob: BlobId,
    /// 1: it holds extents. n: it holds references of depth n-1.
    pub depth: u8,
    /// Bytes of the file that it covers.
    pub length: u64,
}
