//! What of an entry's attributes comes back, and as whose.

use super::attributes::CAPABILITY;
use crate::pattern::PatternSet;

/// More mappings than this are refused: each entry is held against all of them.
const MAPPINGS_MAX: usize = 10_000;

/// Whose the entries become, which extended attributes come back, and what counts as there already. By default everything is as
/// recorded, and nothing that stands in the target is taken to be right unread.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whose the entries become.
    pub owners: Owners,
    /// Only extended attributes whose name matches; empty: all but labels.
    pub include_xattrs: PatternSet,
    /// None whose name matches. Neither kind of pattern removes what the target has.
    pub exclude_xattrs: PatternSet,
    /// A file whose size and time are the snapshot's counts as the same, and is not read. Wrong after a crash of the machine in the
    /// middle of a restore: the file system may have kept both of a file, and none of its content.
    pub trust_times: bool,
}

/// Whose the entries become.
#[derive(Clone, Debug)]
pub enum Owners {
    /// As recorded, but for the ids that are mapped.
    Recorded {
        /// From, to.
        users: IdMap,
        /// From, to.
        groups: IdMap,
    },
    /// Whoever restores: for those who may not give files away. Set-id bits of files that were somebody else's are left out then.
    Own,
}

impl Default for Owners {
    fn default() -> Self {
        Self::Recorded { users: IdMap::default(), groups: IdMap::default() }
    }
}

/// Ids that become others.
#[derive(Clone, Debug, Default)]
pub struct IdMap(Vec<(u32, u32)>);

/// A mapping that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no mapping of ids: {reason}; it looks like 0:1000")]
pub struct IdMapError {
    text: String,
    reason: &'static str,
}

impl IdMap {
    /// Reads `from:to` in decimal.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, IdMapError> {
        let mut map = Self::default();
        for text in texts {
            let text = text.as_ref();
            let refused = |reason| IdMapError { text: text.to_owned(), reason };
            let (from, to) = text.split_once(':').ok_or_else(|| refused("the colon is missing"))?;
            // -1 means "leave it" to the system call.
            let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
            let (Some(from), Some(to)) = (id(from), id(to)) else { return Err(refused("an id is a number below 4294967295")) };
            if map.0.iter().any(|(known, _)| *known == from) {
                return Err(refused("that id is mapped already"));
            }
            if map.0.len() >= MAPPINGS_MAX {
                return Err(refused("there are too many"));
            }
            map.0.push((from, to));
        }
        Ok(map)
    }

    fn map(&self, id: u32) -> u32 {
        self.0.iter().find(|(from, _)| *from == id).map_or(id, |(_, to)| *to)
    }
}

impl Rules {
    /// The user and group that an entry of these gets; none: it stays whose it is.
    pub(super) fn owner(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        match &self.owners {
            Owners::Recorded { users, groups } => Some((users.map(uid), groups.map(gid))),
            Owners::Own => None,
        }
    }

    pub(super) fn wants_xattr(&self, name: &[u8]) -> bool {
        let is_included = if self.include_xattrs.is_empty() { !is_label(name) } else { self.include_xattrs.matches(&[name]) };
        is_included && (self.exclude_xattrs.is_empty() || !self.exclude_xattrs.matches(&[name]))
    }
}

/// What a security module has written (SELinux, Smack, IMA, EVM): it says who had the file on that node. Whoever mounts the volume now, a
/// pod with other categories, could not reach its files with it.
fn is_label(name: &[u8]) -> bool {
    name.starts_with(b"security.") && name != CAPABILITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_once_each() {
        let map = IdMap::parse(["0:1000", "1000:0"]).unwrap();
        assert_eq!([map.map(0), map.map(1000), map.map(5)], [1000, 0, 5]);
        for bad in ["", "1", "a:1", "1:", "1:4294967295", "-1:1", "1:2:3"] {
            assert!(IdMap::parse([bad]).is_err(), "{bad}");
        }
        assert!(IdMap::parse(["1:2", "1:3"]).is_err());
    }

    #[test]
    fn patterns_of_attributes_are_held_against_whole_names() {
        let set = |patterns: &[&str]| PatternSet::parse(patterns).unwrap();
        let rules = Rules { include_xattrs: set(&["user.*"]), exclude_xattrs: set(&["user.secret*"]), ..Rules::default() };
        assert!(rules.wants_xattr(b"user.mime") && !rules.wants_xattr(b"user.secret.1") && !rules.wants_xattr(b"trusted.x"));
        assert!(Rules::default().wants_xattr(b"trusted.x"));
    }

    #[test]
    fn labels_stay_behind_unless_they_are_asked_for() {
        let default = Rules::default();
        for label in ["security.selinux", "security.SMACK64", "security.ima", "security.evm"] {
            assert!(!default.wants_xattr(label.as_bytes()), "{label}");
        }
        assert!(default.wants_xattr(b"security.capability") && default.wants_xattr(b"system.posix_acl_access"));
        let asked = Rules { include_xattrs: PatternSet::parse(["security.selinux"]).unwrap(), ..Rules::default() };
        assert!(asked.wants_xattr(b"security.selinux"));
    }
}
