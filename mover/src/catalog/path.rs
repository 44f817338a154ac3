//! Paths below a source's root, and their order.

use std::cmp::Ordering;
use std::fmt;

/// The longest single name that any Linux file system gives out (reiserfs); most stop at 255.
const NAME_BYTES_MAX: usize = 4096;
/// The longest path. `PATH_MAX` limits what one system call takes, not how deep a tree can be;
/// this one keeps a catalog's blobs small whatever the tree.
const PATH_BYTES_MAX: usize = 1 << 20;

/// A path relative to a source's root: names of any bytes but NUL and `/`, none of them empty, `.` or `..`.
/// The root is the empty path. Ordered by components: `a` < `a/c` < `a-b`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

/// Why bytes are not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An empty name: a leading, trailing or double slash.
    #[error("a path has an empty name")]
    EmptyName,
    /// `.` or `..`.
    #[error("a path has the name \".\" or \"..\"")]
    DotName,
    /// A NUL byte, or in a single name a slash.
    #[error("a name has a byte that no name can have")]
    ForbiddenByte,
    /// Longer than any file system allows.
    #[error("a path or a name is too long")]
    TooLong,
}

impl RelPath {
    /// The root of the source.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks every name: what this returns cannot leave the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if !bytes.is_empty() {
            for name in bytes.split(|byte| *byte == b'/') {
                check_name(name)?;
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// What no parser would take: a hostile writer's.
    #[cfg(any(test, feature = "testing"))]
    pub fn unchecked(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(path))
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, joined by slashes, without one in front.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names from the root downwards; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let root = self.0.is_empty();
        self.0.split(|byte| *byte == b'/').filter(move |_| !root)
    }

    /// The last name; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds it; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The deepest directory (or entry) that both are within.
    pub fn common(&self, other: &Self) -> Self {
        let names: Vec<&[u8]> = self.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(name, _)| name).collect();
        Self(names.join(&b'/'))
    }

    /// True if it is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(ancestor.as_bytes()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        [] => Err(PathError::EmptyName),
        b"." | b".." => Err(PathError::DotName),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
        _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(PathError::ForbiddenByte),
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let common = self.0.iter().zip(&other.0).take_while(|(a, b)| a == b).count();
        match (self.0.get(common), other.0.get(common)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => rank(*a).cmp(&rank(*b)),
        }
    }
}

/// A name that ends here comes before every name that goes on, so the slash ranks below every other byte.
fn rank(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// For messages: printable, with every other byte escaped, so that a hostile name cannot forge a line of a log.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    fmt::Write::write_char(f, character)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn order_is_by_components() {
        let mut paths = ["a-b", "a/c", "a", "", "a/c/d", "a.b", "b", "a/b-c", "a/b/z"].map(path);
        paths.sort();
        assert_eq!(paths, ["", "a", "a/b/z", "a/b-c", "a/c", "a/c/d", "a-b", "a.b", "b"].map(path));
    }

    #[test]
    fn hostile_paths_are_refused() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(RelPath::root().join(b"a/b"), Err(PathError::ForbiddenByte));
    }

    #[test]
    fn parts() {
        assert_eq!(path("a/b/c").components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(RelPath::root().components().count(), 0);
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(path("a/b/c").common(&path("a/b")), path("a/b"));
        assert_eq!(path("a/bc").common(&path("a/b")), path("a"));
        assert_eq!(path("a").common(&path("b")), RelPath::root());
        assert!(path("a/b").is_within(&path("a")) && !path("ab").is_within(&path("a")) && path("a").is_within(&RelPath::root()));
    }

    #[test]
    fn a_name_cannot_forge_a_line_of_a_log() {
        let hostile = RelPath::parse(b"a\nb\xff\x1b[2J").unwrap();
        assert_eq!(hostile.to_string(), "a\\nb\\xff\\u{1b}[2J");
    }
}
