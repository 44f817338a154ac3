//! A segment: a run of entries in columns. It is decoded one entry at a time, so that a forged one cannot make us allocate
//! more than one entry beyond its own bytes.

use holdfast_repository::BlobId;

use super::column::{Cursor, Frame, Malformed, PathDecoder, PathEncoder, put_bytes, put_varint, put_zigzag};
use super::extent_list::{ExtentDecoder, ExtentEncoder};
use super::{Entry, EntryFlags, EntryKind, ExtentListRef, RelPath, Timestamp, Xattr};

const SHARED: u64 = 2;
const SUFFIXES: u64 = 4;
const KINDS: u64 = 6;
const FLAGS: u64 = 8;
const MODES: u64 = 10;
const UIDS: u64 = 12;
const GIDS: u64 = 14;
const MTIME_SECS: u64 = 16;
const MTIME_NANOS: u64 = 18;
const CTIME_SECS: u64 = 20;
const CTIME_NANOS: u64 = 22;
const INODES: u64 = 24;
const DEVICES: u64 = 26;
const SIZES: u64 = 28;
const XATTRS: u64 = 30;
const LINKS: u64 = 32;
const KIND_DATA: u64 = 34;
const BLOBS: u64 = 36;
const EXTENTS: u64 = 38;
const EXTENT_LISTS: u64 = 40;

const FLAG_READ_NEXT_TIME: u64 = 1;
const FLAG_XATTRS_INCOMPLETE: u64 = 2;
const FLAG_LISTING_INCOMPLETE: u64 = 4;
const FLAG_HAS_XATTRS: u64 = 8;
const FLAG_IS_LINK: u64 = 16;
const FLAG_HAS_EXTENT_LISTS: u64 = 32;
const FLAGS_KNOWN: u64 = 63;

/// Attributes of one inode beyond this are not kept: a list of names alone may be 64 KiB, each value again.
pub(crate) const XATTR_BYTES_MAX: usize = 1 << 20;

/// Collects entries of one segment.
#[derive(Debug, Default)]
pub(super) struct SegmentEncoder {
    count: u64,
    weight_bytes: u64,
    paths: PathEncoder,
    columns: Columns,
    extents: ExtentEncoder,
    previous: Previous,
}

#[derive(Debug, Default)]
struct Columns {
    kinds: Vec<u8>,
    flags: Vec<u8>,
    modes: Vec<u8>,
    uids: Vec<u8>,
    gids: Vec<u8>,
    mtime_secs: Vec<u8>,
    mtime_nanos: Vec<u8>,
    ctime_secs: Vec<u8>,
    ctime_nanos: Vec<u8>,
    inodes: Vec<u8>,
    devices: Vec<u8>,
    sizes: Vec<u8>,
    xattrs: Vec<u8>,
    links: Vec<u8>,
    kind_data: Vec<u8>,
    extent_lists: Vec<u8>,
}

/// What the next entry's numbers are differences to.
#[derive(Debug, Default)]
struct Previous {
    uid: u32,
    gid: u32,
    mtime_secs: i64,
    inode: u64,
}

impl SegmentEncoder {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// About the bytes it will have, known before it is encoded; the same for the same entries.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    pub(super) fn push(&mut self, entry: &Entry) -> u64 {
        self.count += 1;
        self.paths.push(entry.path.as_bytes());
        self.push_attributes(entry);
        self.push_kind(entry);
        let weight = weight_bytes(entry);
        self.weight_bytes += weight;
        weight
    }

    fn push_attributes(&mut self, entry: &Entry) {
        let (columns, previous) = (&mut self.columns, &mut self.previous);
        put_varint(&mut columns.flags, flag_bits(entry));
        put_varint(&mut columns.modes, u64::from(entry.mode));
        put_zigzag(&mut columns.uids, i64::from(entry.uid) - i64::from(previous.uid));
        put_zigzag(&mut columns.gids, i64::from(entry.gid) - i64::from(previous.gid));
        put_zigzag(&mut columns.mtime_secs, entry.mtime.secs.wrapping_sub(previous.mtime_secs));
        put_varint(&mut columns.mtime_nanos, u64::from(entry.mtime.nanos));
        put_zigzag(&mut columns.ctime_secs, entry.ctime.secs.wrapping_sub(entry.mtime.secs));
        put_zigzag(&mut columns.ctime_nanos, i64::from(entry.ctime.nanos) - i64::from(entry.mtime.nanos));
        put_zigzag(&mut columns.inodes, entry.inode.wrapping_sub(previous.inode) as i64);
        put_varint(&mut columns.devices, entry.device);
        if !entry.xattrs.is_empty() {
            put_varint(&mut columns.xattrs, entry.xattrs.len() as u64);
            for (name, value) in &entry.xattrs {
                put_bytes(&mut columns.xattrs, name);
                put_bytes(&mut columns.xattrs, value);
            }
        }
        *previous = Previous { uid: entry.uid, gid: entry.gid, mtime_secs: entry.mtime.secs, inode: entry.inode };
    }

    fn push_kind(&mut self, entry: &Entry) {
        let columns = &mut self.columns;
        columns.kinds.push(kind_code(&entry.kind));
        if let Some(first) = &entry.link_to {
            put_bytes(&mut columns.links, first.as_bytes());
            if entry.kind.is_file() {
                put_varint(&mut columns.sizes, entry.size);
            }
            return;
        }
        match &entry.kind {
            EntryKind::Symlink { target } => put_bytes(&mut columns.kind_data, target),
            EntryKind::CharDevice { rdev } | EntryKind::BlockDevice { rdev } => put_varint(&mut columns.kind_data, *rdev),
            EntryKind::File if !entry.extent_lists.is_empty() => {
                put_varint(&mut columns.sizes, entry.size);
                put_varint(&mut columns.extent_lists, entry.extent_lists.len() as u64);
                for list in &entry.extent_lists {
                    self.extents.push_list(&mut columns.extent_lists, list);
                }
            }
            EntryKind::File => {
                put_varint(&mut columns.sizes, entry.size);
                self.extents.push_file(&entry.extents);
            }
            EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket => {}
        }
    }

    /// The segment's bytes; the encoder is empty again.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let Self { count, paths, columns, extents, .. } = std::mem::take(self);
        Frame::encode(0, count, &[
            (SHARED, &paths.shared),
            (SUFFIXES, &paths.suffixes),
            (KINDS, &columns.kinds),
            (FLAGS, &columns.flags),
            (MODES, &columns.modes),
            (UIDS, &columns.uids),
            (GIDS, &columns.gids),
            (MTIME_SECS, &columns.mtime_secs),
            (MTIME_NANOS, &columns.mtime_nanos),
            (CTIME_SECS, &columns.ctime_secs),
            (CTIME_NANOS, &columns.ctime_nanos),
            (INODES, &columns.inodes),
            (DEVICES, &columns.devices),
            (SIZES, &columns.sizes),
            (XATTRS, &columns.xattrs),
            (LINKS, &columns.links),
            (KIND_DATA, &columns.kind_data),
            (BLOBS, &extents.blobs),
            (EXTENTS, &extents.column),
            (EXTENT_LISTS, &columns.extent_lists),
        ])
    }
}

fn weight_bytes(entry: &Entry) -> u64 {
    let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let name = entry.path.name().map_or(0, <[u8]>::len);
    let link = entry.link_to.as_ref().map_or(0, |first| first.as_bytes().len());
    let target = if let EntryKind::Symlink { target } = &entry.kind { target.len() } else { 0 };
    (48 + name + xattrs + link + target + 8 * entry.extents.len() + 40 * entry.extent_lists.len()) as u64
}

fn flag_bits(entry: &Entry) -> u64 {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    bit(entry.flags.read_next_time, FLAG_READ_NEXT_TIME)
        | bit(entry.flags.xattrs_incomplete, FLAG_XATTRS_INCOMPLETE)
        | bit(entry.flags.listing_incomplete, FLAG_LISTING_INCOMPLETE)
        | bit(!entry.xattrs.is_empty(), FLAG_HAS_XATTRS)
        | bit(entry.link_to.is_some(), FLAG_IS_LINK)
        | bit(entry.link_to.is_none() && !entry.extent_lists.is_empty(), FLAG_HAS_EXTENT_LISTS)
}

fn kind_code(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::Directory => 1,
        EntryKind::File => 2,
        EntryKind::Symlink { .. } => 3,
        EntryKind::Fifo => 4,
        EntryKind::Socket => 5,
        EntryKind::CharDevice { .. } => 6,
        EntryKind::BlockDevice { .. } => 7,
    }
}

/// Gives the entries of a segment, one after another.
#[derive(Debug)]
pub(super) struct SegmentDecoder {
    remaining: u64,
    paths: PathDecoder,
    kinds: Cursor,
    flags: Cursor,
    modes: Cursor,
    uids: Cursor,
    gids: Cursor,
    mtime_secs: Cursor,
    mtime_nanos: Cursor,
    ctime_secs: Cursor,
    ctime_nanos: Cursor,
    inodes: Cursor,
    devices: Cursor,
    sizes: Cursor,
    xattrs: Cursor,
    links: Cursor,
    kind_data: Cursor,
    extents: ExtentDecoder,
    extent_lists: Cursor,
    previous: Previous,
}

impl SegmentDecoder {
    pub(super) fn from_frame(mut frame: Frame) -> Result<Self, Malformed> {
        if frame.level != 0 {
            return Err(Malformed("it is not a segment"));
        }
        let decoder = Self {
            remaining: frame.count,
            paths: PathDecoder::new(frame.column(SHARED), frame.column(SUFFIXES)),
            kinds: frame.column(KINDS),
            flags: frame.column(FLAGS),
            modes: frame.column(MODES),
            uids: frame.column(UIDS),
            gids: frame.column(GIDS),
            mtime_secs: frame.column(MTIME_SECS),
            mtime_nanos: frame.column(MTIME_NANOS),
            ctime_secs: frame.column(CTIME_SECS),
            ctime_nanos: frame.column(CTIME_NANOS),
            inodes: frame.column(INODES),
            devices: frame.column(DEVICES),
            sizes: frame.column(SIZES),
            xattrs: frame.column(XATTRS),
            links: frame.column(LINKS),
            kind_data: frame.column(KIND_DATA),
            extents: ExtentDecoder::new(frame.column(BLOBS), frame.column(EXTENTS)),
            extent_lists: frame.column(EXTENT_LISTS),
            previous: Previous::default(),
        };
        frame.refuse_unknown()?;
        Ok(decoder)
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        if self.remaining == 0 {
            return Ok(None);
        }
        self.remaining -= 1;
        let path = self.paths.next()?;
        let bits = self.flags.varint()?;
        if bits & !FLAGS_KNOWN != 0 {
            return Err(Malformed("an entry has a flag that this program does not know"));
        }
        let mut entry = self.attributes(path, bits)?;
        self.kind(&mut entry, bits)?;
        Ok(Some(entry))
    }

    fn attributes(&mut self, path: RelPath, bits: u64) -> Result<Entry, Malformed> {
        let previous = &mut self.previous;
        let mode = self.modes.varint_u32()?;
        if mode > 0o7777 {
            return Err(Malformed("a mode has more than permission bits"));
        }
        let uid = id(previous.uid, self.uids.zigzag()?)?;
        let gid = id(previous.gid, self.gids.zigzag()?)?;
        let mtime_secs = previous.mtime_secs.wrapping_add(self.mtime_secs.zigzag()?);
        let mtime = timestamp(mtime_secs, i64::from(self.mtime_nanos.varint_u32()?))?;
        let ctime_secs = mtime_secs.wrapping_add(self.ctime_secs.zigzag()?);
        let ctime = timestamp(ctime_secs, i64::from(mtime.nanos).wrapping_add(self.ctime_nanos.zigzag()?))?;
        let inode = previous.inode.wrapping_add(self.inodes.zigzag()? as u64);
        *previous = Previous { uid, gid, mtime_secs, inode };
        let xattrs = if bits & FLAG_HAS_XATTRS != 0 { self.xattr_list()? } else { Vec::new() };
        Ok(Entry {
            path,
            kind: EntryKind::Directory,
            mode,
            uid,
            gid,
            mtime,
            ctime,
            inode,
            device: self.devices.varint()?,
            size: 0,
            xattrs,
            link_to: None,
            flags: EntryFlags {
                read_next_time: bits & FLAG_READ_NEXT_TIME != 0,
                xattrs_incomplete: bits & FLAG_XATTRS_INCOMPLETE != 0,
                listing_incomplete: bits & FLAG_LISTING_INCOMPLETE != 0,
            },
            extents: Vec::new(),
            extent_lists: Vec::new(),
        })
    }

    fn xattr_list(&mut self) -> Result<Vec<Xattr>, Malformed> {
        let count = self.xattrs.varint()?;
        // Two length bytes and a byte of name each, at least: the count is bounded by what was read.
        if count > self.xattrs.remaining() as u64 / 3 {
            return Err(Malformed("an entry has more attributes than bytes for them"));
        }
        let mut list = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = self.xattrs.length_and_bytes()?.to_vec();
            if name.is_empty() || name.contains(&0) {
                return Err(Malformed("an attribute's name is empty or has a NUL"));
            }
            let value = self.xattrs.length_and_bytes()?.to_vec();
            list.push((name, value));
        }
        Ok(list)
    }

    fn kind(&mut self, entry: &mut Entry, bits: u64) -> Result<(), Malformed> {
        let code = self.kinds.byte()?;
        let linked = bits & FLAG_IS_LINK != 0;
        if linked {
            let first = RelPath::parse(self.links.length_and_bytes()?).map_err(|_| Malformed("a link's path is not one"))?;
            if first >= entry.path || code == 1 {
                return Err(Malformed("a hard link names no earlier entry, or is a directory"));
            }
            entry.link_to = Some(first);
        }
        entry.kind = match code {
            1 => EntryKind::Directory,
            2 => EntryKind::File,
            3 if linked => EntryKind::Symlink { target: Vec::new() },
            3 => EntryKind::Symlink { target: self.target()? },
            4 => EntryKind::Fifo,
            5 => EntryKind::Socket,
            6 => EntryKind::CharDevice { rdev: if linked { 0 } else { self.kind_data.varint()? } },
            7 => EntryKind::BlockDevice { rdev: if linked { 0 } else { self.kind_data.varint()? } },
            _ => return Err(Malformed("an entry is of a kind that this program does not know")),
        };
        if entry.kind.is_file() {
            entry.size = self.sizes.varint()?;
        }
        if entry.kind.is_file() && !linked {
            self.content(entry, bits)?;
        }
        Ok(())
    }

    fn target(&mut self) -> Result<Vec<u8>, Malformed> {
        let target = self.kind_data.length_and_bytes()?;
        if target.is_empty() || target.contains(&0) {
            return Err(Malformed("a symbolic link's target is empty or has a NUL"));
        }
        Ok(target.to_vec())
    }

    fn content(&mut self, entry: &mut Entry, bits: u64) -> Result<(), Malformed> {
        if bits & FLAG_HAS_EXTENT_LISTS == 0 {
            entry.extents = self.extents.file(entry.size)?;
            return Ok(());
        }
        let count = self.extent_lists.varint()?;
        if count == 0 || count > self.extent_lists.remaining() as u64 / 3 {
            return Err(Malformed("a file has more extent lists than bytes for them, or none"));
        }
        let lists: Vec<ExtentListRef> =
            (0..count).map(|_| self.extents.list_ref(&mut self.extent_lists)).collect::<Result<_, _>>()?;
        let covered = lists.iter().try_fold(0u64, |sum, list| sum.checked_add(list.length));
        if covered != Some(entry.size) {
            return Err(Malformed("a file's extent lists do not cover its size"));
        }
        entry.extent_lists = lists;
        Ok(())
    }
}

fn id(previous: u32, difference: i64) -> Result<u32, Malformed> {
    let id = i64::from(previous).checked_add(difference).and_then(|id| u32::try_from(id).ok());
    id.ok_or(Malformed("an owner has more than 32 bits"))
}

fn timestamp(secs: i64, nanos: i64) -> Result<Timestamp, Malformed> {
    match u32::try_from(nanos) {
        Ok(nanos) if nanos < 1_000_000_000 => Ok(Timestamp { secs, nanos }),
        _ => Err(Malformed("a time has more than a second of nanoseconds")),
    }
}

/// Blob ids of a column, by number.
pub(super) fn blob_at(table: &Cursor, index: u64) -> Result<BlobId, Malformed> {
    let mut table = table.clone();
    let start = index.checked_mul(32).ok_or(Malformed("a blob's number is beyond the table"))?;
    table.take(start)?;
    let bytes: [u8; 32] = table.take(32)?.try_into().map_err(|_| Malformed("a blob's number is beyond the table"))?;
    Ok(BlobId(bytes))
}
