//! Reads a catalog into windows, and refuses one that no honest backup wrote: only what has a directory above it, in order, is
//! ever planned. The target is not touched here.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::Arc;

use super::directory::{Directory, TargetRoot};
use super::file::FileTask;
use super::issue::{Issue, Issues, Severity};
use super::selection::Selection;
use super::source::{Entries, Extents, Step, Tree};
use super::window::{Link, Make, Thing, Window};
use super::RestoreError;
use crate::catalog::{CatalogError, Entry, EntryKind, Gap, RelPath};

/// Groups of hard links whose first name is not restored; beyond this many, each name becomes a file of its own, and says so.
const REPLACED_FIRSTS_MAX: usize = 100_000;
/// Extents of one file that go into a window at once, whatever that weighs: our own catalogs have no more outside lists.
const EXTENTS_MAX: usize = 4_096;
/// Lost parts that are remembered one by one; what lies between two beyond that counts as lost too where a link asks.
const GAPS_MAX: usize = 1_000;
/// Directories, one in the other, that are made although nothing is known of them but their names.
const LOST_ABOVE_MAX: usize = 128;

pub(super) struct Planner {
    entries: Box<dyn Entries>,
    selection: Selection,
    target: Arc<TargetRoot>,
    issues: Arc<Issues>,
    /// The directories above the next entry.
    above: Vec<Above>,
    /// Nothing below this is restored.
    skipped: Option<RelPath>,
    giant: Option<Giant>,
    /// First names that were left out, and the name that stands in for each.
    replaced_firsts: HashMap<RelPath, RelPath>,
    gaps: Vec<Gap>,
    /// Nothing came since the last gap: what is above the next entry may be in it.
    behind_gap: bool,
    at_end: bool,
}

struct Above {
    directory: Arc<Directory>,
    /// None if it is lost: then the directory comes back, and nothing else of it.
    entry: Option<Entry>,
    /// It is made: because it was selected, or something below it was.
    planned: bool,
}

/// A file whose extents did not all fit into the window so far.
struct Giant {
    file: Arc<FileTask>,
    extents: Box<dyn Extents>,
    offset: u64,
}

impl Planner {
    pub(super) fn new(tree: Tree, selection: Selection, target: Arc<TargetRoot>, issues: Arc<Issues>) -> Self {
        let mut planner = Self {
            entries: tree.entries,
            selection,
            target,
            issues,
            above: Vec::new(),
            skipped: None,
            giant: None,
            replaced_firsts: HashMap::new(),
            gaps: Vec::new(),
            behind_gap: false,
            at_end: false,
        };
        if !tree.has_root {
            planner.enter(RelPath::root(), None);
        }
        planner
    }

    /// The next window, of about the given weight; none at the end.
    pub(super) async fn next(&mut self, weight_bytes_max: usize) -> Result<Option<Window>, RestoreError> {
        if self.at_end {
            return Ok(None);
        }
        let mut window = Window::default();
        while window.weight_bytes() < weight_bytes_max {
            if let Some(giant) = self.giant.take() {
                self.go_on(giant, &mut window, weight_bytes_max).await?;
                continue;
            }
            match self.entries.step().await.map_err(|error| broken(&self.target.source, error))? {
                Some(Step::Entry(entry)) => self.take(entry, None, &mut window).await?,
                Some(Step::Lost(entry, why)) => self.take(entry, Some(why), &mut window).await?,
                Some(Step::Missing(path, why)) => self.take_missing(path, why),
                Some(Step::Gap(gap)) => self.take_gap(gap),
                None => {
                    self.leave_until(None, &mut window);
                    self.at_end = true;
                    break;
                }
            }
        }
        Ok(Some(window))
    }

    /// What is lost is named, and everything else comes back.
    fn take_gap(&mut self, gap: Gap) {
        self.behind_gap = true;
        let within = match (&gap.until, gap.from.as_ref().or(gap.after.as_ref())) {
            (Some(until), Some(from)) => from.common(until),
            _ => RelPath::root(),
        };
        if self.selection.enters(&within) {
            let source = self.target.source.clone();
            self.issues.add_lost_part(Issue { severity: Severity::Failed, source, path: gap.path(), what: gap.describe() });
        }
        let is_full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut().filter(|_| is_full) {
            Some(last) => last.until = gap.until,
            None => self.gaps.push(gap),
        }
    }

    fn take_missing(&mut self, path: RelPath, what: String) {
        let is_skipped = self.skipped.as_ref().is_some_and(|skipped| path.is_within(skipped));
        if !is_skipped && (self.selection.reaches(&path) || self.selection.enters(&path)) {
            self.issues.add_lost_part(Issue { severity: Severity::Failed, source: self.target.source.clone(), path, what });
        }
    }

    /// The directories above `path` whose own entries are lost. False: it is not restored.
    fn enter_lost(&mut self, path: &RelPath) -> bool {
        let mut missing = Vec::new();
        let mut at = path.parent();
        while let Some(directory) = at.filter(|directory| self.above.last().is_none_or(|above| above.directory.path != *directory)) {
            if missing.len() == LOST_ABOVE_MAX {
                self.report(path, "too many of the directories that it stands in are lost");
                return false;
            }
            at = directory.parent();
            missing.push(directory);
        }
        for path in missing.into_iter().rev() {
            if !self.selection.choose(&path).descend {
                self.skipped = Some(path);
                return false;
            }
            self.enter(path, None);
        }
        true
    }

    async fn take(&mut self, mut entry: Entry, lost: Option<String>, window: &mut Window) -> Result<(), RestoreError> {
        let behind_gap = std::mem::take(&mut self.behind_gap);
        if self.skipped.as_ref().is_some_and(|skipped| entry.path.is_within(skipped)) {
            return Ok(());
        }
        self.skipped = None;
        self.leave_until(Some(&entry.path), window);
        if behind_gap && !self.enter_lost(&entry.path) {
            return Ok(());
        }
        self.check_place(&entry)?;
        let choice = self.selection.choose(&entry.path);
        if entry.kind.is_directory() {
            if choice.descend {
                window.weigh(&entry);
                self.enter(entry.path.clone(), Some(entry));
                if choice.selected {
                    self.plan_above(window);
                }
            } else {
                self.entries.pass_over(&entry.path);
                self.skipped = Some(entry.path);
            }
            return Ok(());
        }
        if !choice.selected {
            return Ok(());
        }
        let parent = self.plan_above(window);
        window.weigh(&entry);
        if let Some(why) = lost {
            window.lost_files.push((Arc::new(FileTask::new(parent, entry, &[])), why));
            return Ok(());
        }
        match entry.link_to.take() {
            Some(first) => self.take_link(entry, first, parent, window).await,
            None => self.take_content(entry, parent, window).await,
        }
    }

    /// A link without a directory above it, a second root, an entry below a file or a symlink: none of it is from a backup.
    fn check_place(&self, entry: &Entry) -> Result<(), RestoreError> {
        let reason = match (entry.path.parent(), self.above.last()) {
            (None, None) if entry.kind.is_directory() => return Ok(()),
            (None, _) => "its root is not a directory",
            (Some(parent), Some(above)) if above.directory.path == parent => return self.check_link(entry),
            (Some(_), _) => "what it stands in is not a directory",
        };
        Err(self.hostile(entry, reason))
    }

    fn check_link(&self, entry: &Entry) -> Result<(), RestoreError> {
        match &entry.link_to {
            Some(first) if entry.kind.is_directory() || *first >= entry.path => Err(self.hostile(entry, "it links to what is not before it")),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, path: RelPath, entry: Option<Entry>) {
        let directory = match self.above.last() {
            Some(above) => above.directory.child(path),
            None => Directory::root(Arc::clone(&self.target)),
        };
        self.above.push(Above { directory, entry, planned: false });
    }

    /// Plans to make the directories above, where that is not planned yet. The last of them.
    fn plan_above(&mut self, window: &mut Window) -> Arc<Directory> {
        for above in self.above.iter_mut().filter(|above| !above.planned) {
            above.planned = true;
            if above.entry.is_none() && !above.directory.path.is_root() {
                let (source, path) = (self.target.source.clone(), above.directory.path.clone());
                let what = "it is made for what is in it; its owner, mode, time and attributes are lost".to_owned();
                self.issues.add(Issue { severity: Severity::Failed, source, path, what });
            }
            // The root is there already.
            if let Some(parent) = above.directory.parent() {
                let thing = Thing::Directory(Arc::clone(&above.directory));
                window.makes.push(Make { parent: Arc::clone(parent), thing });
            }
        }
        match self.above.last() {
            Some(above) => Arc::clone(&above.directory),
            None => Directory::root(Arc::clone(&self.target)),
        }
    }

    /// Leaves the directories that `path` is not in: their content is complete with this window.
    fn leave_until(&mut self, path: Option<&RelPath>, window: &mut Window) {
        while let Some(above) = self.above.pop() {
            if path.is_some_and(|path| path.is_within(&above.directory.path)) {
                self.above.push(above);
                return;
            }
            if let Some(entry) = above.entry.filter(|_| above.planned) {
                window.finishes.push((above.directory, entry));
            }
        }
    }

    async fn take_link(&mut self, entry: Entry, first: RelPath, parent: Arc<Directory>, window: &mut Window) -> Result<(), RestoreError> {
        if self.gaps.iter().any(|gap| gap.covers(&first)) {
            // Something else may stand there in the target.
            self.report(&entry.path, &format!("its first name, {first}, is lost"));
            return Ok(());
        }
        if self.selection.reaches(&first) {
            window.links.push(Link { parent, entry, first });
            return Ok(());
        }
        if let Some(stand_in) = self.replaced_firsts.get(&first) {
            window.links.push(Link { parent, entry, first: stand_in.clone() });
            return Ok(());
        }
        let content = match self.entries.entry_at(&first).await {
            Err(error) if error.is_damage() => {
                self.report(&entry.path, &format!("its first name, {first}, is lost: {error}"));
                return Ok(());
            }
            content => content.map_err(|error| broken(&self.target.source, error))?,
        };
        let is_first = |content: &Entry| content.link_to.is_none() && discriminant(&content.kind) == discriminant(&entry.kind);
        let Some(content) = content.filter(is_first) else {
            return Err(self.hostile(&entry, "it links to nothing"));
        };
        if self.replaced_firsts.len() < REPLACED_FIRSTS_MAX {
            self.replaced_firsts.insert(first, entry.path.clone());
        } else {
            self.report(&entry.path, "restored as a file of its own: too many groups of links have their first name left out");
        }
        // What only the first name's entry has: the content, a symlink's target or a device's number, the extended attributes.
        let Entry { kind, size, xattrs, extents, extent_lists, .. } = content;
        let whole = Entry { kind, size, xattrs, extents, extent_lists, ..entry };
        window.weigh(&whole);
        self.take_content(whole, parent, window).await
    }

    async fn take_content(&mut self, mut entry: Entry, parent: Arc<Directory>, window: &mut Window) -> Result<(), RestoreError> {
        if !matches!(entry.kind, EntryKind::File) {
            window.makes.push(Make { parent, thing: Thing::Special(Box::new(entry)) });
            return Ok(());
        }
        if !entry.extent_lists.is_empty() || entry.extents.len() > EXTENTS_MAX {
            let extents = self.entries.extents(&mut entry);
            entry.extents = Vec::new();
            entry.extent_lists = Vec::new();
            self.giant = Some(Giant { file: Arc::new(FileTask::new(parent, entry, &[])), extents, offset: 0 });
            return Ok(());
        }
        let extents = std::mem::take(&mut entry.extents);
        let covered = extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.length()));
        if covered != Some(entry.size) {
            return Err(self.hostile(&entry, "its content is not as long as it is said to be"));
        }
        let file = Arc::new(FileTask::new(parent, entry, &extents));
        let mut offset = 0;
        for extent in &extents {
            window.add_extent(&file, offset, extent);
            offset += extent.length();
        }
        self.planned(file, !extents.is_empty(), window);
        Ok(())
    }

    async fn go_on(&mut self, mut giant: Giant, window: &mut Window, weight_bytes_max: usize) -> Result<(), RestoreError> {
        while window.weight_bytes() < weight_bytes_max {
            let extent = match giant.extents.next().await {
                Err(error) if error.is_damage() => {
                    window.lost_files.push((giant.file, error.to_string()));
                    return Ok(());
                }
                extent => extent.map_err(|error| broken(&self.target.source, error))?,
            };
            let Some(extent) = extent else {
                if giant.offset != giant.file.entry.size {
                    return Err(self.hostile(&giant.file.entry, "its content is not as long as it is said to be"));
                }
                self.planned(giant.file, false, window);
                return Ok(());
            };
            let end = giant.offset.checked_add(extent.length()).filter(|end| *end <= giant.file.entry.size);
            let Some(end) = end else {
                return Err(self.hostile(&giant.file.entry, "its content is longer than it is said to be"));
            };
            window.add_extent(&giant.file, giant.offset, &extent);
            giant.offset = end;
        }
        self.giant = Some(giant);
        Ok(())
    }

    /// All writes of a file are planned. Without any (left), nobody else would come to finish it.
    fn planned(&self, file: Arc<FileTask>, has_writes: bool, window: &mut Window) {
        if has_writes {
            file.end_one();
        } else {
            window.plain_files.push(file);
        }
    }

    fn report(&self, path: &RelPath, what: &str) {
        let source = self.target.source.clone();
        self.issues.add(Issue { severity: Severity::Failed, source, path: path.clone(), what: what.to_owned() });
    }

    fn hostile(&self, entry: &Entry, reason: &'static str) -> RestoreError {
        RestoreError::BadCatalog { source_path: self.source(), path: entry.path.to_string(), reason }
    }

    fn source(&self) -> String {
        String::from_utf8_lossy(&self.target.source).into_owned()
    }
}

/// Damage is gone round; what remains is a store that does not answer.
pub(super) fn broken(source: &[u8], error: CatalogError) -> RestoreError {
    match error {
        CatalogError::Read(error) => RestoreError::Repository(error),
        CatalogError::Malformed { blob, what } => {
            let source_path = String::from_utf8_lossy(source).into_owned();
            RestoreError::BadCatalog { source_path, path: format!("blob {blob}"), reason: what }
        }
    }
}
