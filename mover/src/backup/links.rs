//! Hard links: which names are of one file.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::job::{Link, LinkKey};
use crate::catalog::{Entry, EntryKind, RelPath, Timestamp};
use crate::scan::Stat;

/// The walk's side: has this file been seen, and may more names follow?
#[derive(Debug)]
pub(super) struct LinkCensus {
    left: HashMap<LinkKey, u32>,
    budget_bytes: usize,
    used_bytes: usize,
}

/// What a name of a file with several names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkRole {
    /// The first.
    First,
    /// A further one.
    Further,
    /// Memory for the groups is used up: it is kept as a file of its own.
    Apart,
}

/// A key, a count, the path and what it was (in the catalog's side), and the tables' slack.
const GROUP_BYTES: usize = 136;

impl LinkCensus {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { left: HashMap::new(), budget_bytes, used_bytes: 0 }
    }

    /// `links` is the number of names that the inode says it has. A group is forgotten with its last name.
    pub(super) fn role(&mut self, link: Link, path: &RelPath) -> LinkRole {
        let Link { key, links } = link;
        if let Some(left) = self.left.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                self.left.remove(&key);
                self.used_bytes = self.used_bytes.saturating_sub(GROUP_BYTES + path.as_bytes().len());
            }
            return LinkRole::Further;
        }
        let bytes = GROUP_BYTES + path.as_bytes().len();
        if self.used_bytes + bytes > self.budget_bytes {
            return LinkRole::Apart;
        }
        self.used_bytes += bytes;
        self.left.insert(key, links - 1);
        LinkRole::First
    }
}

/// The catalog's side: the first name of each file that is in the catalog.
#[derive(Debug, Default)]
pub(super) struct LinkPaths {
    groups: HashMap<LinkKey, (First, u32)>,
}

/// A first name, and what was there when it was read.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) path: RelPath,
    kind: Discriminant<EntryKind>,
    size: u64,
    pub(super) mtime: Timestamp,
}

impl First {
    /// Whether a further name is still of that. An inode tells nothing: it may have been written since, which to a restore is another
    /// file, and the next file gets its number when it is gone.
    pub(super) fn is_still(&self, stat: &Stat) -> bool {
        let kind = stat.entry_kind();
        let size = if kind.is_file() { stat.size } else { 0 };
        // A pipe's time moves with what goes through it, and it has no content that could be another.
        let is_unwritten = self.mtime == stat.mtime || matches!(kind, EntryKind::Fifo);
        discriminant(&kind) == self.kind && size == self.size && is_unwritten
    }
}

impl LinkPaths {
    pub(super) fn first(&mut self, link: Link, entry: &Entry) {
        let first = First { path: entry.path.clone(), kind: discriminant(&entry.kind), size: entry.size, mtime: entry.mtime };
        self.groups.insert(link.key, (first, link.links - 1));
    }

    /// The first name, for a further one.
    pub(super) fn further(&mut self, key: LinkKey) -> Option<First> {
        let (first, left) = self.groups.get_mut(&key)?;
        *left -= 1;
        if *left > 0 {
            return Some(first.clone());
        }
        self.groups.remove(&key).map(|(first, _)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::change::entry_of;
    use crate::scan::FileType;

    #[test]
    fn a_further_name_is_of_what_was_read_or_of_something_else() {
        let time = |secs| Timestamp { secs, nanos: 5 };
        let stat = |file_type, size, mtime| Stat {
            file_type,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime,
            ctime: mtime,
            inode: 7,
            device: 8,
            size,
            allocated_bytes: 0,
            links: 2,
            rdev: 0,
            is_mount_root: false,
        };
        let is = |first: (FileType, u64, i64), further: (FileType, u64, i64)| {
            let (first, further) = (stat(first.0, first.1, time(first.2)), stat(further.0, further.1, time(further.2)));
            let (Some(link), mut links) = (Link::of(&first), LinkPaths::default()) else { unreachable!() };
            links.first(link, &entry_of(RelPath::parse(b"first").unwrap(), &first, 0));
            let found = links.further(link.key).unwrap();
            assert!(links.further(link.key).is_none(), "that was its last name");
            found.is_still(&further)
        };
        use FileType::{Fifo, File, Symlink};
        assert!(is((File, 9, 1), (File, 9, 1)) && is((Symlink, 3, 1), (Symlink, 3, 1)));
        assert!(!is((File, 9, 1), (File, 10, 1)) && !is((File, 9, 1), (File, 9, 2)));
        assert!(!is((Symlink, 3, 1), (Symlink, 3, 2)) && !is((File, 0, 1), (Fifo, 0, 1)), "the inode's next user");
        assert!(is((Fifo, 0, 1), (Fifo, 0, 2)));
    }
}
