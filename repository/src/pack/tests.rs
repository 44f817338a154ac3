use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::environment::Environment;
use crate::id::PackId;

fn keys() -> Keys {
    Keys::derive(Zeroizing::new([4; 32]))
}

fn packed(blobs: &[Vec<u8>]) -> FinishedPack {
    let (keys, environment) = (keys(), Environment::system());
    let mut builder = PackBuilder::new(&keys, &environment, PackClass::Data).expect("builder");
    let mut scratch = Scratch::new();
    for blob in blobs {
        let id = keys.blob_id(BlobKind::Data, blob);
        let (encoding, stored) = scratch.compress(blob, 3).expect("compress");
        builder.push(BlobKind::Data, id, encoding, blob.len() as u32, stored).expect("push");
    }
    builder.finish().expect("finish")
}

fn verified(pack: &PackName, object: &[u8]) -> Result<(Vec<PackEntry>, usize), ReadError> {
    let mut bad = 0;
    let entries = verify_whole(&keys(), pack, object, &mut Scratch::new(), |_, _| bad += 1)?;
    Ok((entries, bad))
}

#[test]
fn a_pack_gives_back_its_blobs_and_its_list() {
    let blobs = [b"first".to_vec(), vec![b'x'; 100_000], vec![]];
    let pack = packed(&blobs);
    assert_eq!(pack.bytes.len() as u64, pack.info.object_bytes);
    let (entries, bad) = verified(&pack.info.name, &pack.bytes).expect("whole");
    assert_eq!((&entries, bad), (&pack.entries, 0));
    let mut scratch = Scratch::new();
    for (entry, blob) in entries.iter().zip(&blobs) {
        let location = entry.location(pack.info.name);
        let range = location.range();
        let sealed = &pack.bytes[range.start as usize..range.end as usize];
        open_blob(&keys(), &pack.info.salt, &entry.id, &location, sealed, &mut scratch).expect("open");
        assert_eq!(&scratch.raw, blob);
    }
}

#[test]
fn a_pack_of_the_smallest_blobs_is_full_before_its_list_outgrows_it() {
    let keys = keys();
    let mut builder = PackBuilder::new(&keys, &Environment::system(), PackClass::Data).expect("builder");
    for number in 0..BLOBS_MAX {
        assert!(!builder.is_full(), "{number}");
        let blob = number.to_le_bytes();
        builder.push(BlobKind::Data, keys.blob_id(BlobKind::Data, &blob), Encoding::Raw, 8, &blob).expect("push");
    }
    assert!(builder.is_full());
    let pack = builder.finish().expect("finish");
    assert!(pack.info.object_bytes < DATA_PACK_BYTES as u64, "{}", pack.info.object_bytes);
    assert_eq!(verified(&pack.info.name, &pack.bytes).expect("whole").0.len(), BLOBS_MAX);
}

#[test]
fn a_packs_length_does_not_tell_its_blobs_length() {
    let lengths: std::collections::BTreeSet<_> = (40_000..40_500_u32)
        .map(|bytes| {
            let mut noise = vec![0; bytes as usize];
            aws_lc_rs::rand::fill(&mut noise).expect("random");
            packed(&[noise]).bytes.len()
        })
        .collect();
    assert!(lengths.len() <= 2, "{lengths:?}");
}

#[test]
fn content_under_another_id_is_refused_though_its_tag_fits() {
    let (keys, environment) = (keys(), Environment::system());
    let mut builder = PackBuilder::new(&keys, &environment, PackClass::Data).expect("builder");
    let claimed = keys.blob_id(BlobKind::Data, b"claimed");
    let entry = builder.push(BlobKind::Data, claimed, Encoding::Raw, 6, b"actual").expect("push");
    let pack = builder.finish().expect("finish");
    let location = entry.location(pack.info.name);
    let sealed = &pack.bytes[entry.offset as usize..][..entry.stored_bytes as usize];
    let opened = open_blob(&keys, &pack.info.salt, &claimed, &location, sealed, &mut Scratch::new());
    assert!(matches!(&opened, Err(ReadError::Damaged { reason, .. }) if reason.contains("another id")), "{opened:?}");
}

#[test]
fn a_renamed_pack_is_refused() {
    let pack = packed(&[b"content".to_vec()]);
    let other = PackName { class: PackClass::Data, id: PackId([0; 16]) };
    assert!(verified(&other, &pack.bytes).is_err());
    assert!(verified(&PackName { class: PackClass::Meta, ..pack.info.name }, &pack.bytes).is_err());
}

#[test]
fn a_sealed_key_in_the_header_is_for_a_newer_version() {
    let pack = packed(&[b"content".to_vec()]);
    let mut object = pack.bytes.to_vec();
    object[6] = 1;
    assert!(matches!(verified(&pack.info.name, &object), Err(ReadError::TooNew { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_flipped_bit_and_every_cut_is_found(sizes in prop::collection::vec(0_usize..3000, 1..5), place: prop::sample::Index, bit in 0..8_u8) {
        let blobs: Vec<_> = sizes.iter().map(|&bytes| vec![7; bytes]).collect();
        let pack = packed(&blobs);
        let place = place.index(pack.bytes.len());
        let mut flipped = pack.bytes.to_vec();
        flipped[place] ^= 1 << bit;
        prop_assert!(!matches!(verified(&pack.info.name, &flipped), Ok((_, 0))), "byte {place} of {}", flipped.len());
        prop_assert!(verified(&pack.info.name, &pack.bytes[..place]).is_err());
    }

    #[test]
    fn any_bytes_are_an_error(bytes: Vec<u8>) {
        let name = PackName { class: PackClass::Data, id: PackId([1; 16]) };
        prop_assert!(verified(&name, &bytes).is_err());
    }
}
