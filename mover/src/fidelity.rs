//! Is a tree exactly another tree? Every byte and every attribute is compared: the proof of a restore, for tests, for the demo
//! and for people (`holdfast compare`). And `torture` makes a tree of all that backup programs are known to lose.
//!
//! Not compared, since nothing can bring them back: inode numbers, ctime, atime, birth time.

mod inspect;
pub mod torture;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::catalog::RelPath;
use inspect::{Inspected, Kind};

/// So many differences are named.
pub const DIFFERENCES_NAMED_MAX: usize = 10_000;
/// Two handles stay open for each level.
const DEPTH_MAX: usize = 400;
const COMPARED_BYTES: usize = 256 << 10;

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Only one tree has it.
    Presence,
    /// File, directory, symlink, ...
    Kind,
    /// Permission bits.
    Mode,
    /// Owner and group.
    Owner,
    /// Time of the last change, to the nanosecond.
    Mtime,
    /// Extended attributes, ACLs and capabilities among them.
    Xattrs,
    /// Which names are the same file.
    Links,
    /// A file's length.
    Size,
    /// A file's bytes.
    Content,
    /// Where a symlink points.
    Target,
    /// Which device a device node stands for.
    Device,
    /// Where a file has no blocks. What it reads as is the same: file systems differ here, so this alone is no loss.
    Holes,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below the roots of both.
    pub path: RelPath,
    /// What differs.
    pub aspect: Aspect,
    /// What the first tree has.
    pub left: String,
    /// What the second has.
    pub right: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {} / {}", self.path, self.aspect, self.left, self.right)
    }
}

/// What was compared and found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Entries that both trees have.
    pub entries: u64,
    /// Bytes of content that were compared.
    pub bytes: u64,
    /// The first `DIFFERENCES_NAMED_MAX`, in the order of the walk.
    pub differences: Vec<Difference>,
    /// How many there are in all, holes aside.
    pub differences_total: u64,
}

impl Comparison {
    /// Nothing differs but, at most, where holes are.
    pub fn is_identical(&self) -> bool {
        self.differences_total == 0
    }

    /// Nothing differs at all.
    pub fn is_identical_with_holes(&self) -> bool {
        self.is_identical() && self.differences.is_empty()
    }
}

/// Why the trees could not be compared.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not compare {path}: {errno}")]
pub struct CompareError {
    /// Where.
    pub path: String,
    /// The system's words.
    pub errno: Errno,
}

/// Compares two directories and all below them.
pub fn compare(left: &Path, right: &Path) -> Result<Comparison, CompareError> {
    let open = |path: &Path| {
        rustix::fs::open(path, inspect::DIRECTORY, rustix::fs::Mode::empty())
            .map_err(|errno| CompareError { path: path.display().to_string(), errno })
    };
    let mut walk = Walk::default();
    let (left, right) = (open(left)?, open(right)?);
    walk.directories(&RelPath::root(), left.as_fd(), right.as_fd(), 0)?;
    walk.attributes(&RelPath::root(), &Inspected::of_handle(&left)?, &Inspected::of_handle(&right)?);
    Ok(walk.comparison)
}

#[derive(Default)]
struct Walk {
    comparison: Comparison,
    /// Device and inode of each side's files with several names, by the first name met.
    first_names: [HashMap<(u64, u64), RelPath>; 2],
    buffers: [Vec<u8>; 2],
}

impl Walk {
    fn directories(&mut self, path: &RelPath, left: BorrowedFd<'_>, right: BorrowedFd<'_>, depth: usize) -> Result<(), CompareError> {
        if depth > DEPTH_MAX {
            return Err(CompareError { path: path.to_string(), errno: Errno::NAMETOOLONG });
        }
        let at = |errno| CompareError { path: path.to_string(), errno };
        let (left_names, right_names) = (inspect::names(left).map_err(at)?, inspect::names(right).map_err(at)?);
        let mut names: Vec<&Vec<u8>> = left_names.union(&right_names).collect();
        names.sort_unstable();
        for name in names {
            let path = path.join(name).map_err(|_| at(Errno::INVAL))?;
            match (left_names.contains(name), right_names.contains(name)) {
                (true, true) => self.entries(&path, name, left, right, depth)?,
                (is_left, _) => {
                    let word = |present| if present { "present" } else { "missing" };
                    self.differ(&path, Aspect::Presence, word(is_left), word(!is_left));
                }
            }
        }
        Ok(())
    }

    fn entries(&mut self, path: &RelPath, name: &[u8], left: BorrowedFd<'_>, right: BorrowedFd<'_>, depth: usize) -> Result<(), CompareError> {
        let at = |errno| CompareError { path: path.to_string(), errno };
        let (one, other) = (Inspected::of_name(left, name).map_err(at)?, Inspected::of_name(right, name).map_err(at)?);
        self.comparison.entries += 1;
        if one.kind != other.kind {
            self.differ(path, Aspect::Kind, format!("{:?}", one.kind), format!("{:?}", other.kind));
            return Ok(());
        }
        self.attributes(path, &one, &other);
        self.links(path, &one, &other);
        let open = |parent, flags| rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty()).map_err(at);
        match one.kind {
            Kind::Directory => {
                let (left, right) = (open(left, inspect::DIRECTORY)?, open(right, inspect::DIRECTORY)?);
                self.directories(path, left.as_fd(), right.as_fd(), depth + 1)?;
            }
            Kind::File if one.size != other.size => self.differ(path, Aspect::Size, one.size, other.size),
            Kind::File => {
                let (left, right) = (open(left, inspect::FILE)?, open(right, inspect::FILE)?);
                self.content(path, &left, &right, one.size).map_err(at)?;
            }
            Kind::Other(_) => {}
        }
        Ok(())
    }

    fn attributes(&mut self, path: &RelPath, one: &Inspected, other: &Inspected) {
        if one.mode != other.mode {
            self.differ(path, Aspect::Mode, format!("{:04o}", one.mode), format!("{:04o}", other.mode));
        }
        if one.owner != other.owner {
            self.differ(path, Aspect::Owner, format!("{:?}", one.owner), format!("{:?}", other.owner));
        }
        if one.mtime != other.mtime {
            self.differ(path, Aspect::Mtime, format!("{:?}", one.mtime), format!("{:?}", other.mtime));
        }
        if one.xattrs != other.xattrs {
            let text = |inspected: &Inspected| inspected.xattrs.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii())).collect::<Vec<_>>().join(" ");
            self.differ(path, Aspect::Xattrs, text(one), text(other));
        }
        if one.target != other.target {
            self.differ(path, Aspect::Target, one.target.escape_ascii(), other.target.escape_ascii());
        }
        if one.rdev != other.rdev {
            self.differ(path, Aspect::Device, format!("{:#x}", one.rdev), format!("{:#x}", other.rdev));
        }
    }

    /// Of two trees walked in one order, the same names must be first names, and the same ones second names of the same.
    fn links(&mut self, path: &RelPath, one: &Inspected, other: &Inspected) {
        let mut first = |side: usize, inspected: &Inspected| {
            let several = inspected.links > 1 && inspected.kind != Kind::Directory;
            several.then(|| self.first_names[side].entry(inspected.identity).or_insert_with(|| path.clone()).clone())
        };
        // A single further name that the other tree does not have shows as a missing entry; here only what both have counts.
        let (left, right) = (first(0, one).unwrap_or_else(|| path.clone()), first(1, other).unwrap_or_else(|| path.clone()));
        if left != right {
            self.differ(path, Aspect::Links, format!("the same as {left}"), format!("the same as {right}"));
        }
    }

    fn content(&mut self, path: &RelPath, left: &OwnedFd, right: &OwnedFd, size: u64) -> Result<(), Errno> {
        let [mut one, mut other] = std::mem::take(&mut self.buffers);
        one.resize(COMPARED_BYTES, 0);
        other.resize(COMPARED_BYTES, 0);
        let (left_data, right_data) = (inspect::data_ranges(left, size)?, inspect::data_ranges(right, size)?);
        // Where neither has blocks both read as zeros.
        for range in inspect::union(&left_data, &right_data) {
            let mut offset = range.start;
            while offset < range.end {
                let bytes = usize::try_from(range.end - offset).unwrap_or(COMPARED_BYTES).min(COMPARED_BYTES);
                inspect::read_exact(left, &mut one[..bytes], offset)?;
                inspect::read_exact(right, &mut other[..bytes], offset)?;
                if let Some(at) = one[..bytes].iter().zip(&other[..bytes]).position(|(one, other)| one != other) {
                    let place = |byte: u8| format!("{byte:#04x} at {}", offset + at as u64);
                    self.differ(path, Aspect::Content, place(one[at]), place(other[at]));
                    return Ok(());
                }
                self.comparison.bytes += bytes as u64;
                offset += bytes as u64;
            }
        }
        self.buffers = [one, other];
        if left_data != right_data {
            self.differ(path, Aspect::Holes, format!("data in {left_data:?}"), format!("data in {right_data:?}"));
        }
        Ok(())
    }

    fn differ(&mut self, path: &RelPath, aspect: Aspect, left: impl fmt::Display, right: impl fmt::Display) {
        if aspect != Aspect::Holes {
            self.comparison.differences_total += 1;
        }
        if self.comparison.differences.len() < DIFFERENCES_NAMED_MAX {
            let (left, right) = (left.to_string(), right.to_string());
            self.comparison.differences.push(Difference { path: path.clone(), aspect, left, right });
        }
    }
}

#[cfg(test)]
mod tests;
