//! What a restore would do. Nothing is written; kinds, sizes, times, owners and modes are looked at, content and extended
//! attributes are not read.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use holdfast_repository::{Reader, SnapshotRecord};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::directory::open_from_root;
use super::rules::Rules;
use super::planner::broken;
use super::run::find_source;
use super::selection::Selection;
use super::worker::file_type;
use super::RestoreError;
use crate::catalog::{CatalogReader, Entry, EntryKind, RelPath, Step};
use crate::pattern::PatternSet;

/// What is to be looked at.
pub struct PreviewRequest {
    /// Each wanted source's path in the snapshot, and the directory that would become it; none: it is not there.
    pub targets: Vec<(Vec<u8>, Option<OwnedFd>)>,
    /// Only what these match; empty: everything.
    pub include: PatternSet,
    /// Nothing that these match.
    pub exclude: PatternSet,
    /// As the restore would have them.
    pub rules: Rules,
}

/// What would become of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not there.
    Create,
    /// Something that cannot become it stands in its place: it is removed and made anew.
    Replace,
    /// It is there, and these differ.
    Change(Vec<&'static str>),
    /// It is there, and looks the same.
    Leave,
    /// It cannot come back, and what follows it neither: what is lost, and why.
    Lost(String),
}

/// How many entries of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Not there.
    pub create: u64,
    /// Removed and made anew.
    pub replace: u64,
    /// Changed where they are.
    pub change: u64,
    /// Looking the same.
    pub leave: u64,
    /// Parts of the catalog that cannot be read.
    pub lost: u64,
    /// Sizes of those files that would be created, replaced, or have another size or time.
    pub bytes: u64,
}

/// Compares a snapshot with the targets; `tell` hears of each entry, in order.
pub async fn preview(
    reader: &Reader,
    record: &SnapshotRecord,
    request: PreviewRequest,
    tell: &mut (dyn FnMut(&[u8], &RelPath, &Action) + Send),
) -> Result<Preview, RestoreError> {
    let mut counts = Preview::default();
    for (source, root) in request.targets {
        let found = find_source(record, &source)?;
        let source_path = || String::from_utf8_lossy(&source).into_owned();
        let Some(catalog) = found.catalog else {
            return Err(RestoreError::BadCatalog { source_path: source_path(), path: ".".into(), reason: "nothing of it was backed up" });
        };
        let selection = Selection::new(request.include.clone(), request.exclude.clone(), &source);
        let mut catalog = CatalogReader::new(Arc::new(reader.clone()), catalog);
        let mut place = Place { root, at: None };
        // Directories above the entry that nothing was said of yet: they are made if something in them is.
        let mut above: Vec<Entry> = Vec::new();
        let mut skipped: Option<RelPath> = None;
        while let Some(step) = catalog.step().await.map_err(|error| broken(&source, error))? {
            let entry = match step {
                Step::Entry(entry) => entry,
                Step::Gap(gap) => {
                    counts.lost += 1;
                    tell(&source, &gap.path(), &Action::Lost(gap.describe()));
                    continue;
                }
            };
            if skipped.as_ref().is_some_and(|skipped| entry.path.is_within(skipped)) {
                continue;
            }
            above.retain(|directory| entry.path.is_within(&directory.path));
            let choice = selection.choose(&entry.path);
            let is_directory = entry.kind.is_directory();
            skipped = (is_directory && !choice.descend).then(|| entry.path.clone());
            if is_directory && choice.descend {
                above.push(entry);
                if !choice.selected {
                    continue;
                }
            } else if choice.selected {
                above.push(entry);
            } else {
                continue;
            }
            for entry in above.drain(..) {
                let action = place.compare(&entry, &request.rules);
                counts.count(&entry, &action);
                tell(&source, &entry.path, &action);
            }
        }
    }
    Ok(counts)
}

impl Preview {
    fn count(&mut self, entry: &Entry, action: &Action) {
        let (counter, is_written) = match action {
            Action::Create => (&mut self.create, true),
            Action::Replace => (&mut self.replace, true),
            Action::Change(aspects) => (&mut self.change, aspects.iter().any(|aspect| matches!(*aspect, "size" | "time"))),
            Action::Leave => (&mut self.leave, false),
            Action::Lost(_) => (&mut self.lost, false),
        };
        *counter += 1;
        if is_written && entry.link_to.is_none() {
            self.bytes = self.bytes.saturating_add(entry.size);
        }
    }
}

struct Place {
    root: Option<OwnedFd>,
    /// The directory looked into last; none if it cannot be entered.
    at: Option<(RelPath, Option<OwnedFd>)>,
}

impl Place {
    fn compare(&mut self, entry: &Entry, rules: &Rules) -> Action {
        match self.stat(entry) {
            Ok((stat, target)) => difference(entry, &stat, target.as_deref(), rules),
            Err(_) => Action::Create,
        }
    }

    fn stat(&mut self, entry: &Entry) -> Result<(Stat, Option<Vec<u8>>), Errno> {
        let root = self.root.as_ref().ok_or(Errno::NOENT)?;
        let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.name()) else {
            return Ok((rustix::fs::statat(root, c".", AtFlags::empty())?, None));
        };
        if self.at.as_ref().is_none_or(|(at, _)| *at != parent) {
            let opened = open_from_root(root, &parent).ok();
            self.at = Some((parent, opened));
        }
        let at = self.at.as_ref().and_then(|(_, fd)| fd.as_ref()).ok_or(Errno::NOENT)?;
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let target = match entry.kind {
            EntryKind::Symlink { .. } => rustix::fs::readlinkat(at.as_fd(), name, Vec::new()).ok().map(std::ffi::CString::into_bytes),
            _ => None,
        };
        Ok((stat, target))
    }
}

fn difference(entry: &Entry, stat: &Stat, there: Option<&[u8]>, rules: &Rules) -> Action {
    let kind = file_type(&entry.kind);
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Action::Replace;
    }
    let is_another = match &entry.kind {
        // A further name has neither target nor device.
        _ if entry.link_to.is_some() => false,
        EntryKind::Symlink { target } => there != Some(target.as_slice()),
        EntryKind::CharDevice { rdev } | EntryKind::BlockDevice { rdev } => *rdev != stat.st_rdev,
        // Other names of it are not ours to change.
        EntryKind::File => stat.st_nlink > 1,
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket => false,
    };
    if is_another {
        return Action::Replace;
    }
    let owner = rules.owner(entry.uid, entry.gid);
    let aspects = [
        ("size", entry.kind.is_file() && entry.link_to.is_none() && u64::try_from(stat.st_size) != Ok(entry.size)),
        ("time", (stat.st_mtime, stat.st_mtime_nsec) != (entry.mtime.secs, u64::from(entry.mtime.nanos))),
        ("owner", owner.is_some_and(|owner| owner != (stat.st_uid, stat.st_gid))),
        ("mode", kind != FileType::Symlink && stat.st_mode & 0o7777 != entry.mode & 0o7777),
    ];
    let differing: Vec<&'static str> = aspects.into_iter().filter(|(_, differs)| *differs).map(|(aspect, _)| aspect).collect();
    if differing.is_empty() { Action::Leave } else { Action::Change(differing) }
}
