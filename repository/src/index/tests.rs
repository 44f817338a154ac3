use proptest::prelude::*;

use super::*;
use crate::blob::PackClass;
use crate::id::PackId;
use crate::environment::Environment;
use crate::pack::PackEntry;
use crate::blob::{BlobKind, Encoding};

fn name(id: u8) -> PackName {
    PackName { class: PackClass::Data, id: PackId([id; 16]) }
}

fn blob(id: u8) -> BlobId {
    BlobId([id; 32])
}

/// One pack with these blobs.
fn run(pack: u8, blobs: &[u8]) -> Run {
    let mut run = Run { packs: vec![PackInfo { name: name(pack), object_bytes: 100_000, salt: [pack; 32] }], ..Run::default() };
    run.fine_blobs.push(blob(200));
    for (place, &id) in blobs.iter().enumerate() {
        let entry = PackEntry { id: blob(id), kind: BlobKind::Data, encoding: Encoding::Raw, offset: 44 + place as u32 * 100, stored_bytes: 100, raw_bytes: 84 };
        let fine = (id % 2 == 0).then_some(FinePlace { blob: 0, offset: u32::from(id) });
        run.entries.push(RunEntry { blob: entry, pack: 0, fine });
    }
    run.sort();
    run
}

fn build(runs: &[Run], state: &State) -> Index {
    build_in(runs, state, Spill::nowhere(Environment::system()), usize::MAX)
}

fn build_in(runs: &[Run], state: &State, spill: Spill, resident_max: usize) -> Index {
    let mut builder = IndexBuilder::new(state, spill);
    builder.resident_max = resident_max;
    runs.iter().for_each(|run| builder.push(run).expect("push"));
    builder.finish().expect("index")
}

#[test]
fn a_run_survives() {
    let run = run(1, &[9, 3, 4]);
    assert_eq!(Run::decode(&run.encode()), Ok(run));
}

#[test]
fn a_usable_copy_wins_over_a_condemned_one() {
    let runs = [run(1, &[5, 6]), run(2, &[6, 7])];
    let state = State { number: 1, condemned: [(name(1), 1)].into(), ..State::default() };
    let index = build(&runs, &state);
    assert_eq!(index.usable(&blob(5)), None, "only in the condemned pack");
    assert_eq!(index.usable(&blob(6)).map(|location| location.pack), Some(name(2)));
    assert_eq!(index.find(&blob(5)).count(), 1, "still readable");
    assert_eq!(index.find(&blob(6)).count(), 2);
    assert_eq!(index.usable(&blob(8)), None);
}

#[test]
fn doomed_packs_are_not_there_and_rotten_copies_are_not_used() {
    let runs = [run(1, &[5, 6]), run(2, &[6, 7])];
    let state = State { doomed: [name(1)].into(), bad_blobs: [(blob(6), name(2))].into(), ..State::default() };
    let index = build(&runs, &state);
    assert_eq!(index.find(&blob(5)).count(), 0);
    assert_eq!(index.usable(&blob(6)), None, "rotten");
    assert!(index.usable(&blob(7)).is_some());
}

#[test]
fn fine_places_follow_their_run() {
    let runs = [run(1, &[4]), run(2, &[6])];
    let index = build(&runs, &State::default());
    let fine = index.find(&blob(6)).next().and_then(|found| found.fine).expect("fine");
    assert_eq!((fine.offset, index.fine_blob(fine)), (6, Some(&blob(200))));
}

proptest! {
    #[test]
    fn lookup_finds_exactly_what_was_put(blobs in prop::collection::btree_set(any::<u8>(), 0..60), wanted: u8) {
        let blobs: Vec<u8> = blobs.into_iter().collect();
        let runs: Vec<_> = blobs.chunks(7).enumerate().map(|(pack, part)| run(pack as u8, part)).collect();
        let state = State::default();
        let index = build(&runs, &state);
        prop_assert_eq!(index.usable(&blob(wanted)).is_some(), blobs.contains(&wanted));
        prop_assert_eq!(index.blob_count(), blobs.len() as u64);
    }

    #[test]
    fn mutated_bytes_never_panic(place: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut content = run(1, &[1, 2, 3]).encode();
        let place = place.index(content.len());
        content[place] = byte;
        if let Ok(run) = Run::decode(&content) {
            build(&[run], &State::default());
        }
        prop_assert!(Run::decode(&content[..cut.index(content.len())]).is_err());
    }

    #[test]
    fn a_spilled_table_says_what_the_array_says(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8), doomed: u8, bad: u8) {
        let runs: Vec<_> = parts.iter().enumerate().map(|(pack, blobs)| run((pack % 5) as u8, blobs)).collect();
        let state = State { doomed: [name(doomed % 8)].into(), condemned: [(name(bad % 3), 1)].into(), bad_blobs: [(blob(bad), name(2))].into(), ..State::default() };
        let folder = tempfile::tempdir().expect("folder");
        let handle = std::fs::File::open(folder.path()).expect("open").into();
        let spilled = build_in(&runs, &state, Spill::new(Environment::system(), handle, 1 << 20), 0);
        let resident = build(&runs, &state);
        prop_assert_eq!(matches!(spilled.entries, Entries::Spilled(_)), resident.blob_count() > 0);
        prop_assert_eq!(spilled.blob_count(), resident.blob_count());
        // Of two records of one copy either may stay: they say the same.
        let told = |index: &Index, found: Found<'_>| (found.location, found.fine.map(|place| (index.fine_blob(place).copied(), place.offset)), *found.info);
        let list = |index: &Index| index.all().map(|(id, found)| (id, told(index, found))).collect::<Vec<_>>();
        prop_assert!(list(&spilled) == list(&resident));
        for id in 0..=255 {
            let found = |index: &Index| index.find(&blob(id)).map(|found| told(index, found)).collect::<Vec<_>>();
            prop_assert!(found(&spilled) == found(&resident));
            prop_assert_eq!(spilled.usable(&blob(id)), resident.usable(&blob(id)));
        }
        prop_assert!(spilled.failure().is_none());
    }
}
