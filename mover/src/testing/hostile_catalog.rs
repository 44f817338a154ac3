//! A catalog that no honest backup wrote, made of the choices that stand in an input's bytes: the encoder is the real one, what it
//! is given is not.

use holdfast_repository::BlobId;

use crate::catalog::testing as encode;
use crate::catalog::{Entry, EntryFlags, EntryKind, Extent, ExtentListRef, RelPath, Timestamp};

const ENTRIES_MAX: usize = 24;
const NAMES: [&[u8]; 10] = [b"a", b"b", b"c", b"d", b"link", b"old", b"out", b"\xff\xfe", b"canary", b"a-b"];
/// Most inputs must get further than to the first of these.
const REFUSED_NAMES: [&[u8]; 5] = [b"..", b".", b"", b"nul\0nul", b"..\0"];
const SIZES: [u64; 10] = [0, 1, 100, 5000, 300_000, 1 << 40, 1 << 50, (1 << 63) - 1, 1 << 63, u64::MAX];
const NUMBERS: [u64; 8] = [0, 1, 1000, 65_534, 1 << 31, u32::MAX as u64, 1 << 40, u64::MAX];

/// The bytes as choices, one after another; all first choices at their end.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number below `below`, which is at most 256.
    pub(super) fn below(&mut self, below: usize) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first) % below
            }
            None => 0,
        }
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What stands around the catalog: what is stored, and what it would like to reach.
pub(super) struct Surroundings<'s> {
    /// A blob of data, and its bytes.
    pub(super) data: (BlobId, u32),
    /// The absolute path of what must not be touched.
    pub(super) outside: &'s [u8],
    /// Zeros that were written are written again: only where they cannot fill a disk.
    pub(super) is_small_target: bool,
}

/// Stores each blob and answers its id.
pub(super) type Store<'s> = dyn FnMut(holdfast_repository::BlobKind, &[u8]) -> BlobId + 's;

/// The root of a catalog made of `choices`.
pub(super) fn catalog(choices: &mut Choices<'_>, surroundings: &Surroundings<'_>, store: &mut Store<'_>) -> BlobId {
    let entries = entries(choices, surroundings, store);
    let per_segment = 1 + choices.below(ENTRIES_MAX);
    let mut children: Vec<(RelPath, BlobId)> = Vec::new();
    for part in entries.chunks(per_segment) {
        let mut raw = encode::segment(part);
        damage(choices, &mut raw);
        children.push((part[0].path.clone(), store(holdfast_repository::BlobKind::Catalog, &raw)));
    }
    if children.is_empty() || choices.one_in(20) {
        let raw = encode::segment(&[]);
        children.push((RelPath::root(), store(holdfast_repository::BlobKind::Catalog, &raw)));
    }
    let mut level = 1;
    while children.len() > 1 || (level < 30 && choices.one_in(4)) {
        if choices.one_in(8) {
            let again = choices.of(&[1, 2, 50]);
            children = children.iter().cycle().take(children.len() * again).cloned().collect();
        }
        let mut raw = encode::node(level, &children);
        damage(choices, &mut raw);
        children = vec![(children[0].0.clone(), store(holdfast_repository::BlobKind::Catalog, &raw))];
        level += if choices.one_in(20) { 2 } else { 1 };
    }
    children[0].1
}

fn damage(choices: &mut Choices<'_>, raw: &mut Vec<u8>) {
    if choices.one_in(12) && !raw.is_empty() {
        let at = (choices.below(256) * 256 + choices.below(256)) % raw.len();
        raw[at] = choices.below(256) as u8;
    }
}

fn entries(choices: &mut Choices<'_>, surroundings: &Surroundings<'_>, store: &mut Store<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    if !choices.one_in(16) {
        entries.push(attributes(choices, encode::entry(RelPath::root(), EntryKind::Directory)));
    }
    for _ in 0..choices.below(ENTRIES_MAX) {
        let path = path(choices, &entries, surroundings);
        let entry = entry(choices, path, &entries, surroundings, store);
        entries.push(attributes(choices, entry));
    }
    if !choices.one_in(8) {
        // As paths are ordered; their own order is none where a name has a NUL.
        entries.sort_by_cached_key(|entry| entry.path.as_bytes().iter().map(|byte| if *byte == b'/' { 0 } else { 1 + u16::from(*byte) }).collect::<Vec<u16>>());
    }
    if !choices.one_in(8) {
        entries.dedup_by(|a, b| a.path == b.path);
    }
    entries
}

fn path(choices: &mut Choices<'_>, entries: &[Entry], surroundings: &Surroundings<'_>) -> RelPath {
    if choices.one_in(40) {
        return RelPath::unchecked(surroundings.outside.to_vec());
    }
    // Below what is there already, most of the time: a directory, a file, a symlink.
    let is_below_anything = choices.one_in(6);
    let above: Vec<&Entry> = entries.iter().filter(|entry| is_below_anything || entry.kind.is_directory()).collect();
    let mut path = match above.len() {
        0 => Vec::new(),
        count => above[choices.below(count)].path.as_bytes().to_vec(),
    };
    for _ in 0..=usize::from(choices.one_in(8)) {
        if !path.is_empty() {
            path.push(b'/');
        }
        match choices.below(40) {
            0 => path.extend(std::iter::repeat_n(b'x', 255)),
            1 => path.extend(std::iter::repeat_n(b'x', 4096)),
            2 => path.extend(std::iter::repeat_n(b'x', 5000)),
            3 => path.extend(b"d/".repeat(2000)),
            4 => path.extend_from_slice(choices.of(&REFUSED_NAMES)),
            _ => path.extend_from_slice(choices.of(&NAMES)),
        }
    }
    RelPath::unchecked(path)
}

fn entry(choices: &mut Choices<'_>, path: RelPath, entries: &[Entry], surroundings: &Surroundings<'_>, store: &mut Store<'_>) -> Entry {
    let rdev = |choices: &mut Choices<'_>| choices.of(&[rustix::fs::makedev(1, 3), rustix::fs::makedev(8, 0), 0, u64::MAX]);
    let kind = match choices.below(12) {
        0..4 => EntryKind::Directory,
        4..8 => EntryKind::File,
        8 | 9 => EntryKind::Symlink { target: target(choices, surroundings) },
        10 if choices.one_in(2) => EntryKind::Fifo,
        10 => EntryKind::Socket,
        _ if choices.one_in(2) => EntryKind::CharDevice { rdev: rdev(choices) },
        _ => EntryKind::BlockDevice { rdev: rdev(choices) },
    };
    let is_file = kind.is_file();
    let mut entry = encode::entry(path, kind);
    if !entry.kind.is_directory() && choices.one_in(6) && !entries.is_empty() {
        entry.link_to = Some(match choices.below(4) {
            0 => RelPath::unchecked(b"../canary/file".to_vec()),
            1 => RelPath::unchecked(b"old".to_vec()),
            _ => entries[choices.below(entries.len())].path.clone(),
        });
    } else if is_file {
        content(choices, &mut entry, surroundings, store);
    }
    entry
}

fn target(choices: &mut Choices<'_>, surroundings: &Surroundings<'_>) -> Vec<u8> {
    match choices.below(10) {
        0..4 => surroundings.outside.to_vec(),
        4 => b"../canary".to_vec(),
        5 => b"..".to_vec(),
        6 => b"a".to_vec(),
        7 => b"nul\0nul".to_vec(),
        8 => vec![b'x'; 5000],
        _ => Vec::new(),
    }
}

fn content(choices: &mut Choices<'_>, entry: &mut Entry, surroundings: &Surroundings<'_>, store: &mut Store<'_>) {
    for _ in 0..choices.below(5) {
        let extent = extent(choices, surroundings);
        entry.extents.push(extent);
    }
    let covered = entry.extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.length()));
    if choices.one_in(5) {
        let mut list = ExtentListRef { blob: store(holdfast_repository::BlobKind::ExtentList, &encode::extents(&entry.extents)), depth: 1, length: covered };
        for depth in 2..2 + choices.below(10) as u8 {
            let times = 1 + choices.below(3);
            let raw = encode::lists(&vec![list; times], depth);
            list = ExtentListRef { blob: store(holdfast_repository::BlobKind::ExtentList, &raw), depth, length: list.length.saturating_mul(times as u64) };
        }
        entry.extents.clear();
        entry.size = list.length;
        entry.extent_lists.push(list);
    } else {
        entry.size = covered;
    }
    if choices.one_in(10) {
        entry.size = choices.of(&SIZES);
    }
}

fn extent(choices: &mut Choices<'_>, surroundings: &Surroundings<'_>) -> Extent {
    let (blob, bytes) = surroundings.data;
    match choices.below(8) {
        0 | 1 => Extent::Hole { length: choices.of(&SIZES) },
        2 if surroundings.is_small_target => Extent::Zero { length: choices.of(&SIZES) },
        2 => Extent::Zero { length: choices.of(&SIZES[..5]) },
        3 => Extent::Blob { blob, offset: choices.of(&[0, 1, bytes, u32::MAX]), length: choices.of(&[1, bytes, u32::MAX]) },
        4 => Extent::Blob { blob: BlobId([choices.below(256) as u8; 32]), offset: 0, length: 100 },
        _ => Extent::Blob { blob, offset: 0, length: bytes },
    }
}

fn attributes(choices: &mut Choices<'_>, mut entry: Entry) -> Entry {
    if !choices.one_in(4) {
        return entry;
    }
    entry.mode = choices.of(&[0o777, 0o6755, 0, 0o7777, 0o1777, 0o100_755]);
    // Ids that no user has may be refused by the file system, not by us.
    (entry.uid, entry.gid) = (choices.of(&NUMBERS) as u32, choices.of(&NUMBERS) as u32);
    entry.mtime = Timestamp { secs: choices.of(&[0, -1, i64::MIN, i64::MAX, 1 << 40]), nanos: choices.of(&[0, 999_999_999, u32::MAX]) };
    entry.flags = EntryFlags { read_next_time: choices.one_in(2), xattrs_incomplete: choices.one_in(2), listing_incomplete: choices.one_in(2) };
    for _ in 0..choices.below(3) {
        let name: &[u8] = choices.of(&[b"user.k", b"security.capability", b"trusted.k", b"system.posix_acl_access", b"", b"user.\0", b"security.selinux"]);
        let value = match choices.below(4) {
            0 => Vec::new(),
            1 => vec![1; 20],
            2 => vec![2; 70_000],
            _ => vec![0xff; 28],
        };
        entry.xattrs.push((name.to_vec(), value));
    }
    entry
}
