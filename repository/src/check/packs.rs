//! Packs against the index: there, of the right length, with the right list, with the right content.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use super::{CheckOptions, CheckProgress, Findings, NextPart, content, trailers};
use crate::blob::{PackClass, PackName};
use crate::core::Core;
use crate::error::ReadError;
use crate::id::{BlobId, PackId};
use crate::pack::{PackEntry, PackInfo};
use crate::reader::Reader;
use crate::store::StoreError;
use crate::view::View;

/// Requests at once for packs that were not listed.
const HEADS_AT_ONCE: usize = 32;

/// Says how many bytes there are, and where a part ended.
pub(super) async fn check(
    reader: &Reader,
    view: &View,
    present: HashMap<PackName, u64>,
    options: CheckOptions,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(u64, Option<PackId>), ReadError> {
    let packs = there(reader.core(), view, present, findings).await?;
    progress.packs_total.store(packs.len() as u64, Ordering::Relaxed);
    let pack_bytes = packs.iter().map(|info| info.object_bytes).sum();
    let deep = options.trailers || options.reads_data();
    let listed = if deep { Listed::count(view)? } else { Listed::default() };
    let (whole, rest, read_until) = match options.next_part {
        Some(next) => part(packs, next),
        None => {
            let (whole, rest) = sample(packs, options.read_data_percent, u128::from_le_bytes(reader.core().environment.random()));
            (whole, rest, None)
        }
    };
    if options.trailers {
        trailers::check(reader, view, rest, &listed, progress, findings).await?;
    } else {
        progress.packs_done.fetch_add(rest.len() as u64, Ordering::Relaxed);
    }
    content::check(reader, view, whole, &listed, progress, findings).await?;
    Ok((pack_bytes, read_until))
}

/// Every pack in the store, with its length.
pub(crate) async fn lengths(core: &Core) -> Result<HashMap<PackName, u64>, ReadError> {
    let (mut data, meta) = futures::try_join!(lengths_of(core, PackClass::Data), lengths_of(core, PackClass::Meta))?;
    data.extend(meta);
    Ok(data)
}

async fn lengths_of(core: &Core, class: PackClass) -> Result<HashMap<PackName, u64>, ReadError> {
    let mut lengths = HashMap::new();
    let mut names = core.store.list(class.folder(), None);
    while let Some(entry) = names.next().await {
        let entry = entry?;
        let id = entry.name.rsplit('/').next().and_then(|id| id.parse().ok());
        if let Some(name) = id.map(|id| PackName { class, id }).filter(|name| name.to_string() == entry.name) {
            lengths.insert(name, entry.bytes);
        }
    }
    Ok(lengths)
}

/// The packs of the index that are there, whole.
async fn there(core: &Core, view: &View, mut present: HashMap<PackName, u64>, findings: &mut Findings) -> Result<Vec<PackInfo>, ReadError> {
    let mut packs = Vec::new();
    let mut unlisted = Vec::new();
    for info in view.index.packs() {
        match present.remove(&info.name) {
            Some(bytes) if bytes == info.object_bytes => packs.push(*info),
            Some(bytes) => findings.lost_pack(info.name, wrong_length(info, bytes)),
            // One that was stored after the listing began is not missing.
            None => unlisted.push(*info),
        }
    }
    drop(present);
    let mut heads = stream::iter(unlisted.into_iter().map(|info| async move { (info, core.store.head(&info.name.to_string()).await) })).buffered(HEADS_AT_ONCE);
    while let Some((info, head)) = heads.next().await {
        match head {
            Ok(bytes) if bytes == info.object_bytes => packs.push(info),
            Ok(bytes) => findings.lost_pack(info.name, wrong_length(&info, bytes)),
            Err(StoreError::NotFound { .. }) => findings.lost_pack(info.name, "it is missing"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(packs)
}

fn wrong_length(info: &PackInfo, bytes: u64) -> String {
    format!("it has {bytes} bytes instead of {}", info.object_bytes)
}

/// A share of the packs, at least one of any, and the rest: in another order for each `salt`, so that sampling often comes to all.
fn sample(mut packs: Vec<PackInfo>, percent: u8, salt: u128) -> (Vec<PackInfo>, Vec<PackInfo>) {
    let count = (packs.len() * usize::from(percent.min(100))).div_ceil(100);
    packs.sort_unstable_by_key(|info| u128::from_le_bytes(info.name.id.0) ^ salt);
    let rest = packs.split_off(count);
    (packs, rest)
}

/// The part that is next, the rest, and where the part ends if others follow it. Behind the last pack a round begins anew.
fn part(mut packs: Vec<PackInfo>, next: NextPart) -> (Vec<PackInfo>, Vec<PackInfo>, Option<PackId>) {
    packs.sort_unstable_by_key(|info| info.name.id.0);
    let total: u64 = packs.iter().map(|info| info.object_bytes).sum();
    let wanted = total.div_ceil(u64::from(next.parts.max(1)));
    let behind = next.after.map_or(0, |after| packs.partition_point(|info| info.name.id.0 <= after.0));
    let first = if behind == packs.len() { 0 } else { behind };
    let mut bytes = 0;
    let mut read = packs.split_off(first);
    let count = read.iter().take_while(|info| {
        let has_room = bytes < wanted;
        bytes += info.object_bytes;
        has_room
    });
    let behind = read.split_off(count.count());
    let read_until = if behind.is_empty() { None } else { read.last().map(|info| info.name.id) };
    packs.extend(behind);
    (read, packs, read_until)
}

/// How many blobs the index lists in each pack.
#[derive(Debug, Default)]
pub(crate) struct Listed(HashMap<PackName, u32>);

impl Listed {
    pub(crate) fn count(view: &View) -> Result<Self, ReadError> {
        let mut listed = Self::default();
        for (_, found) in view.index.all() {
            *listed.0.entry(found.location.pack).or_default() += 1;
        }
        view.index.intact().map(|()| listed)
    }

    pub(crate) fn of(&self, pack: &PackName) -> usize {
        self.0.get(pack).copied().unwrap_or_default() as usize
    }

    /// Every blob that the index lists in a pack must stand in the pack's own list, at the same place.
    pub(super) fn compare(&self, view: &View, pack: PackName, own: &[PackEntry], findings: &mut Findings) {
        let stands = |entry: &&PackEntry| view.index.find(&entry.id).any(|found| found.location == entry.location(pack));
        let same = own.iter().filter(stands).count();
        if same == self.of(&pack) {
            return;
        }
        // Rare, so it may be slow: the blobs are looked for one by one.
        let own: HashMap<(BlobId, u32), &PackEntry> = own.iter().map(|entry| ((entry.id, entry.offset), entry)).collect();
        for (id, found) in view.index.all().filter(|(_, found)| found.location.pack == pack) {
            if own.get(&(id, found.location.offset)).is_none_or(|entry| entry.location(pack) != found.location) {
                let error = ReadError::damaged(pack.to_string(), format!("the index lists blob {id} in it, its own list does not"));
                findings.rotten_blob(id, pack, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(count: u8) -> Vec<PackInfo> {
        let name = |id: u8| PackName { class: PackClass::Data, id: PackId(*blake3::hash(&[id]).as_bytes().first_chunk().expect("16 bytes")) };
        (0..count).map(|id| PackInfo { name: name(id), object_bytes: 1, salt: [0; 32] }).collect()
    }

    #[test]
    fn a_share_is_that_large_and_another_one_each_time() {
        for (count, percent, wanted) in [(0, 50, 0), (10, 0, 0), (3, 1, 1), (100, 10, 10), (100, 100, 100), (7, 50, 4)] {
            let (whole, rest) = sample(packs(count), percent, 7);
            assert_eq!((whole.len(), rest.len()), (wanted, usize::from(count) - wanted), "{percent} % of {count}");
        }
        let names = |salt: u128| sample(packs(100), 10, salt).0.into_iter().map(|info| info.name).collect::<std::collections::BTreeSet<_>>();
        let salt = |round: u64| u128::from_le_bytes(*blake3::hash(&round.to_le_bytes()).as_bytes().first_chunk().expect("16 bytes"));
        assert_eq!(names(salt(1)), names(salt(1)), "by the injected chance alone");
        let seen: std::collections::BTreeSet<_> = (0..100).flat_map(|round| names(salt(round))).collect();
        assert_eq!(seen.len(), 100, "ten percent, a hundred times");
    }

    #[test]
    fn parts_are_of_their_size_and_a_round_of_them_is_everything_once() {
        let name = |info: &PackInfo| info.name.id.0;
        for (count, parts) in [(1, 30), (3, 30), (30, 30), (100, 30), (100, 7), (100, 1)] {
            let (mut after, mut read, mut rounds) = (None, Vec::new(), 0);
            loop {
                let (part, rest, read_until) = part(packs(count), NextPart { after, parts });
                assert_eq!(part.len() + rest.len(), usize::from(count));
                let most = usize::from(count).div_ceil(parts as usize);
                assert!((1..=most).contains(&part.len()), "{} of {count} in {parts} parts", part.len());
                read.extend(part.iter().map(name));
                rounds += 1;
                after = read_until;
                if after.is_none() {
                    break;
                }
            }
            assert!(rounds <= parts.min(u32::from(count)), "{rounds} rounds");
            let mut all: Vec<_> = packs(count).iter().map(name).collect();
            all.sort_unstable();
            assert_eq!(read, all);
        }
        // What has come and gone meanwhile: it goes on behind the same place, and behind the end it begins anew.
        let after = |byte: u8| Some(PackId([byte; 16]));
        let (first, _, _) = part(packs(100), NextPart { after: after(0x80), parts: 100 });
        assert!(first[0].name.id.0 > [0x80; 16]);
        let (wrapped, _, _) = part(packs(100), NextPart { after: after(0xff), parts: 100 });
        assert_eq!(name(&wrapped[0]), packs(100).iter().map(name).min().expect("one"));
        let (none, rest, until) = part(Vec::new(), NextPart { after: after(1), parts: 30 });
        assert!(none.is_empty() && rest.is_empty() && until.is_none());
    }
}
