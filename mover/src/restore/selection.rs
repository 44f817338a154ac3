//! Which entries are restored: restic's include and exclude.

use crate::catalog::RelPath;
use crate::pattern::PatternSet;

/// The patterns, and the source that they are applied to.
#[derive(Debug)]
pub(super) struct Selection {
    include: PatternSet,
    exclude: PatternSet,
    /// The names of the source's own path, from `/` downwards.
    base: Vec<Vec<u8>>,
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) selected: bool,
    /// Whether anything below can be selected.
    pub(super) descend: bool,
}

impl Selection {
    pub(super) fn new(include: PatternSet, exclude: PatternSet, source: &[u8]) -> Self {
        let base = source.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        Self { include, exclude, base }
    }

    /// True if nothing is left out.
    pub(super) fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    pub(super) fn choose(&self, path: &RelPath) -> Choice {
        if self.is_everything() {
            return Choice { selected: true, descend: true };
        }
        let names: Vec<&[u8]> = self.base.iter().map(Vec::as_slice).chain(path.components()).collect();
        if !self.exclude.is_empty() && self.exclude.matches(&names) {
            return Choice { selected: false, descend: false };
        }
        if self.include.is_empty() {
            return Choice { selected: true, descend: true };
        }
        let verdict = self.include.verdict(&names);
        Choice { selected: verdict.matched, descend: verdict.matched || verdict.below_may_match }
    }

    /// Whether the walk would look into `directory`.
    pub(super) fn enters(&self, directory: &RelPath) -> bool {
        let mut at = Some(directory.clone());
        while let Some(directory) = at.filter(|_| !self.is_everything()) {
            if !self.choose(&directory).descend {
                return false;
            }
            at = directory.parent();
        }
        true
    }

    /// Whether the walk would come to `path` and select it.
    pub(super) fn reaches(&self, path: &RelPath) -> bool {
        if self.is_everything() {
            return true;
        }
        path.parent().is_none_or(|parent| self.enters(&parent)) && self.choose(path).selected
    }
}
