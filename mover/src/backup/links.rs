//! Hard links: which names are of one file.

use std::collections::HashMap;

use super::job::{Link, LinkKey};
use crate::catalog::RelPath;

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

/// A key, a count, the path (in the catalog's side) and the tables' slack.
const GROUP_BYTES: usize = 96;

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
    groups: HashMap<LinkKey, (RelPath, u32)>,
}

impl LinkPaths {
    pub(super) fn first(&mut self, link: Link, path: RelPath) {
        self.groups.insert(link.key, (path, link.links - 1));
    }

    /// The first name, for a further one.
    pub(super) fn further(&mut self, key: LinkKey) -> Option<RelPath> {
        let (path, left) = self.groups.get_mut(&key)?;
        *left -= 1;
        if *left > 0 {
            return Some(path.clone());
        }
        self.groups.remove(&key).map(|(path, _)| path)
    }
}
