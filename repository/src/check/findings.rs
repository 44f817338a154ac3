//! What is wrong so far: by object, with the snapshots that suffer and the blobs of which no good copy is left.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::blob::PackName;
use crate::blobs::Bad;
use crate::error::ReadError;
use crate::id::{BlobId, SnapshotId};
use crate::state::State;

/// Lost blobs that are remembered one by one, to name the files that need them: 2 MiB.
const LOST_MAX: usize = 1 << 16;

#[derive(Debug)]
struct Trouble {
    problem: String,
    /// Problems of the same object that are not told.
    more: u64,
    /// Something is lost or will be, or a person must do something. Otherwise nothing depends on the object.
    matters: bool,
    lost_blobs: u64,
    snapshots: BTreeSet<SnapshotId>,
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    troubles: BTreeMap<String, Trouble>,
    /// Copies found missing or rotten now.
    pub(crate) bad: Bad,
    /// Packs of which every byte was read now: of their blobs only those in `bad` are, whatever an earlier look said. A read that
    /// was torn on its way looks like rot.
    pub(crate) verified: BTreeSet<PackName>,
    pub(crate) lost: BTreeSet<BlobId>,
    pub(crate) lost_more: bool,
}

impl Findings {
    fn add(&mut self, object: &str, problem: String, matters: bool) -> &mut Trouble {
        let entry = self.troubles.entry(object.to_owned());
        let trouble = entry
            .and_modify(|known| known.more += 1)
            .or_insert_with(|| Trouble { problem, more: 0, matters: false, lost_blobs: 0, snapshots: BTreeSet::new() });
        trouble.matters |= matters;
        trouble
    }

    /// Of an object that is needed as it is.
    pub(crate) fn damaged(&mut self, object: &str, problem: impl Into<String>) {
        self.add(object, problem.into(), true);
    }

    /// Of an object that nothing depends on (any more).
    pub(crate) fn leftover(&mut self, object: &str, problem: impl Into<String>) {
        self.add(object, problem.into(), false);
    }

    /// A whole pack; whether it matters is found out by who needs it.
    pub(crate) fn lost_pack(&mut self, pack: PackName, problem: impl Into<String>) {
        self.add(&pack.to_string(), problem.into(), false);
        self.bad.packs.insert(pack);
    }

    /// Takes back what was found of packs that are gone from the index.
    pub(crate) fn without_packs(&mut self, is_gone: impl Fn(&PackName) -> bool) {
        for pack in self.bad.packs.extract_if(.., |pack| is_gone(pack)) {
            self.troubles.remove(&pack.to_string());
        }
    }

    /// One copy of a blob; as above.
    pub(crate) fn rotten_blob(&mut self, id: BlobId, pack: PackName, error: &ReadError) {
        self.add(&pack.to_string(), reason(error), false);
        self.bad.blobs.insert((id, pack));
    }

    /// Whether anything was found about `object`.
    pub(crate) fn names(&self, object: &str) -> bool {
        self.troubles.contains_key(object)
    }

    /// No good copy is left of these blobs, which stood in `object`.
    pub(crate) fn loses(&mut self, object: &str, problem: &str, blobs: &[BlobId]) {
        let new = blobs.iter().filter(|id| self.lost.len() < LOST_MAX && self.lost.insert(**id)).count() as u64;
        self.lost_more |= self.lost.len() >= LOST_MAX;
        let known = self.troubles.contains_key(object);
        let trouble = if known { self.troubles.get_mut(object) } else { Some(self.add(object, problem.to_owned(), true)) };
        if let Some(trouble) = trouble {
            trouble.matters = true;
            trouble.lost_blobs += new;
        }
    }

    /// A snapshot needs what is lost with `object`.
    pub(crate) fn affects(&mut self, object: &str, problem: &str, snapshot: SnapshotId) {
        self.loses(object, problem, &[]);
        if let Some(trouble) = self.troubles.get_mut(object) {
            trouble.snapshots.insert(snapshot);
        }
    }

    /// What matters, and what does not: sorted by object. A bad pack that no snapshot needs matters as long as writers may use it: not if
    /// it is condemned, when a prune may be taking it away.
    pub(crate) fn into_findings(mut self, known: &State) -> (Vec<Finding>, Vec<Finding>) {
        let mut unsaid: BTreeSet<&PackName> = self.bad.packs.difference(&known.bad_packs).collect();
        unsaid.extend(self.bad.blobs.difference(&known.bad_blobs).map(|(_, pack)| pack));
        for pack in unsaid.into_iter().filter(|pack| !known.condemned.contains_key(pack)) {
            if let Some(trouble) = self.troubles.get_mut(&pack.to_string()) {
                trouble.matters = true;
            }
        }
        let (mut needed, mut left_over) = (Vec::new(), Vec::new());
        for (object, trouble) in self.troubles {
            let Trouble { mut problem, more, matters, lost_blobs, snapshots } = trouble;
            if more > 0 {
                problem = format!("{problem} (and {more} more)");
            }
            let finding = Finding { object, problem, lost_blobs, snapshots: snapshots.into_iter().collect() };
            if matters { needed.push(finding) } else { left_over.push(finding) }
        }
        (needed, left_over)
    }
}

/// What is wrong, without the object's name.
pub(crate) fn reason(error: &ReadError) -> String {
    match error {
        ReadError::Damaged { reason, .. } => reason.clone(),
        error if error.is_not_found() => "it is missing".to_owned(),
        error => error.to_string(),
    }
}
