//! The index from the packs: they are asked what they hold, and what of it no readable run lists is listed.
//!
//! All of them are asked, two small requests each: of a pack that a run lists, another may have listed more, and what is lost with that
//! one nothing but the pack itself tells.
//!
//! What they hold is right for whoever reads them: a pack's list is sealed with it. Which of them are used nobody needs to know here;
//! those of a backup that runs or was interrupted are listed too, as if it had reached a checkpoint. Condemned packs are left out: a
//! prune that began before this lease may take them away, and no snapshot that can be read uses them.

use futures::stream::{self, StreamExt};

use super::WriteError;
use crate::blob::PackName;
use crate::check::packs::{self, Listed};
use crate::check::{reason, trailers};
use crate::core::{Core, Created};
use crate::id::LeaseId;
use crate::index::{Run, RunEntry, RunName};
use crate::reader::Reader;
use crate::sealed::ObjectKind;
use crate::store::StoreError;
use crate::view::View;

const TRAILERS_AT_ONCE: usize = 16;
/// Some 25 MB, as a writer's runs.
const RUN_ENTRIES_MAX: usize = 400_000;

#[derive(Debug, Default)]
pub(super) struct Rebuilt {
    /// Written under the reader's lease, with their objects' lengths; in no state yet.
    pub(super) runs: Vec<(RunName, u64)>,
    pub(super) packs: u64,
    pub(super) blobs: u64,
    pub(super) unreadable: Vec<(String, String)>,
}

pub(super) async fn rebuild(reader: &Reader, view: &View, dry_run: bool) -> Result<Rebuilt, WriteError> {
    let core = reader.core();
    let state = &view.state;
    let listed = Listed::count(view)?;
    let mut asked: Vec<(PackName, u64)> = packs::lengths(core).await?.into_iter().collect();
    asked.retain(|(pack, _)| !state.doomed.contains(pack) && !state.condemned.contains_key(pack));
    asked.sort_unstable();
    let mut rebuilt = Rebuilt::default();
    let mut run = Run::default();
    let mut lists = stream::iter(asked.into_iter().map(|(pack, bytes)| async move { (pack, trailers::read(core, pack, bytes).await) })).buffered(TRAILERS_AT_ONCE);
    while let Some((pack, list)) = lists.next().await {
        let (info, mut blobs) = match list {
            Ok(list) => list,
            // Gone since it was listed: a prune's, or never this repository's.
            Err(error) if error.is_not_found() => continue,
            // What runs list in it says the check.
            Err(error) if error.is_damage() && listed.of(&pack) > 0 => continue,
            Err(error) if error.is_damage() => {
                rebuilt.unreadable.push((pack.to_string(), reason(&error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if listed.of(&pack) >= blobs.len() && view.index.pack(&pack).is_some() {
            continue;
        }
        blobs.retain(|blob| !view.index.find(&blob.id).any(|found| found.location == blob.location(pack)));
        let slot = run.packs.len() as u32;
        run.packs.push(info);
        rebuilt.packs += 1;
        rebuilt.blobs += blobs.len() as u64;
        run.entries.extend(blobs.into_iter().map(|blob| RunEntry { blob, pack: slot, fine: None }));
        if run.entries.len() >= RUN_ENTRIES_MAX {
            rebuilt.write(core, reader.lease(), std::mem::take(&mut run), dry_run).await?;
        }
    }
    view.index.intact()?;
    if !run.packs.is_empty() {
        rebuilt.write(core, reader.lease(), run, dry_run).await?;
    }
    Ok(rebuilt)
}

impl Rebuilt {
    async fn write(&mut self, core: &Core, lease: Option<LeaseId>, mut run: Run, dry_run: bool) -> Result<(), WriteError> {
        let Some(lease) = lease.filter(|_| !dry_run) else { return Ok(()) };
        run.sort();
        let name = RunName { lease, number: self.runs.len() as u32 };
        let object_name = name.to_string();
        let object = core.seal(ObjectKind::IndexRun, &object_name, &run.encode())?;
        match crate::core::create(core.store.as_ref(), &core.environment, &object_name, &object).await? {
            Created::Written => {
                self.runs.push((name, object.len() as u64));
                Ok(())
            }
            Created::Other(_) => Err(StoreError::Corrupt { object: object_name, reason: "someone else's bytes stand there".into() }.into()),
        }
    }
}
