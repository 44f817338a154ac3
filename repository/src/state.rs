//! `state/<n>`: the chain. Each state is whole; `n + 1` is created after `n` was read, if absent.

use std::collections::{BTreeMap, BTreeSet};

use crate::blob::{PackClass, PackName};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::config::{decode_extensions, encode_extensions};
use crate::features::Features;
use crate::id::{BlobId, LeaseId, PackId};
use crate::index::RunName;
use crate::mutation::left_out;

mod chain;
pub(crate) use chain::{READS_MAX, ensure_first, named_by_leases, newest, newest_readable, number_after, numbers, parse_object_name, publish, publish_after, read, read_if_readable};

const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) number: u64,
    /// Commits of leases below it count only if they are listed.
    pub(crate) floor: u64,
    /// Raised by every publish of a prune, and by nothing else.
    pub(crate) prune_epoch: u64,
    /// What later versions use: they may appear at any time in a repository's life.
    pub(crate) features: Features,
    pub(crate) listed: BTreeSet<LeaseId>,
    pub(crate) forgotten: BTreeSet<LeaseId>,
    /// Live index runs and their objects' lengths.
    pub(crate) runs: BTreeMap<RunName, u64>,
    /// Packs that the last mark found unused, with the state it saw: the next mark that finds them unused may condemn them.
    pub(crate) unused: BTreeMap<PackName, u64>,
    /// Packs that no mark used, with the state that condemned them: not for new use, not yet doomed.
    pub(crate) condemned: BTreeMap<PackName, u64>,
    /// Packs that may be gone at any moment.
    pub(crate) doomed: BTreeSet<PackName>,
    /// Copies found rotten: this blob in this pack.
    pub(crate) bad_blobs: BTreeSet<(BlobId, PackName)>,
    /// Packs found missing or rotten as a whole.
    pub(crate) bad_packs: BTreeSet<PackName>,
    /// For later; every publisher carries it on as it is.
    pub(crate) extensions: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn object_name(number: u64) -> String {
    format!("state/{number:016x}")
}

impl State {
    /// Whether readers that see this state accept a commit at that name.
    pub(crate) fn accepts(&self, lease: &LeaseId) -> bool {
        !self.forgotten.contains(lease) && (self.listed.contains(lease) || lease.state >= self.floor || left_out!(Floor))
    }

    /// Lists an accepted commit and its runs; false if there is nothing to do. A commit that was forgotten does not come back.
    pub(crate) fn list(&mut self, commit: &LeaseId, runs: &[(RunName, u64)]) -> bool {
        if !(self.accepts(commit) || left_out!(ListOnlyAccepted)) || self.listed.contains(commit) {
            return false;
        }
        self.listed.insert(*commit);
        self.runs.extend(runs.iter().copied());
        true
    }

    /// Readers accept it no more. It must be listed before, so that its runs stay live: others may have used its blobs.
    pub(crate) fn forget(&mut self, commit: &LeaseId) {
        self.listed.remove(commit);
        self.forgotten.insert(*commit);
    }

    /// Whether a pack's blobs may be used by a new snapshot.
    pub(crate) fn usable(&self, pack: &PackName) -> bool {
        (!self.condemned.contains_key(pack) || left_out!(Condemned)) && !self.doomed.contains(pack) && !self.bad_packs.contains(pack)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(VERSION);
        encoder.u64(self.number);
        encoder.u64(self.floor);
        encoder.u64(self.prune_epoch);
        self.features.encode(&mut encoder);
        encode_leases(&self.listed, &mut encoder);
        encode_leases(&self.forgotten, &mut encoder);
        encoder.count(self.runs.len());
        for (run, bytes) in &self.runs {
            run.encode(&mut encoder);
            encoder.varint(*bytes);
        }
        encode_marked(&self.unused, &mut encoder);
        encode_marked(&self.condemned, &mut encoder);
        encode_packs(&self.doomed, &mut encoder);
        encoder.count(self.bad_blobs.len());
        for (blob, pack) in &self.bad_blobs {
            encoder.fixed(&blob.0);
            encode_pack(pack, &mut encoder);
        }
        encode_packs(&self.bad_packs, &mut encoder);
        encode_extensions(&self.extensions, &mut encoder);
        encoder.finish()
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(content);
        if decoder.u8()? != VERSION {
            return Err(Malformed("unknown state version"));
        }
        let mut state = Self {
            number: decoder.u64()?,
            floor: decoder.u64()?,
            prune_epoch: decoder.u64()?,
            features: Features::decode(&mut decoder)?,
            listed: decode_leases(&mut decoder)?,
            forgotten: decode_leases(&mut decoder)?,
            ..Self::default()
        };
        for _ in 0..decoder.count(RunName::BYTES + 1)? {
            state.runs.insert(RunName::decode(&mut decoder)?, decoder.varint()?);
        }
        state.unused = decode_marked(&mut decoder)?;
        state.condemned = decode_marked(&mut decoder)?;
        state.doomed = decode_packs(&mut decoder)?;
        for _ in 0..decoder.count(32 + PACK_BYTES)? {
            state.bad_blobs.insert((BlobId(decoder.fixed()?), decode_pack(&mut decoder)?));
        }
        state.bad_packs = decode_packs(&mut decoder)?;
        state.extensions = decode_extensions(&mut decoder)?;
        decoder.end()?;
        if state.floor > state.number || state.condemned.values().chain(state.unused.values()).any(|&since| since > state.number) {
            return Err(Malformed("a state that speaks of later ones"));
        }
        Ok(state)
    }
}

pub(crate) fn encode_lease(lease: &LeaseId, encoder: &mut Encoder) {
    encoder.u64(lease.state);
    encoder.fixed(&lease.random);
}

pub(crate) fn decode_lease(decoder: &mut Decoder<'_>) -> Result<LeaseId, Malformed> {
    Ok(LeaseId { state: decoder.u64()?, random: decoder.fixed()? })
}

pub(crate) const LEASE_BYTES: usize = 24;
const PACK_BYTES: usize = 17;

fn encode_leases(leases: &BTreeSet<LeaseId>, encoder: &mut Encoder) {
    encoder.count(leases.len());
    for lease in leases {
        encode_lease(lease, encoder);
    }
}

fn decode_leases(decoder: &mut Decoder<'_>) -> Result<BTreeSet<LeaseId>, Malformed> {
    (0..decoder.count(LEASE_BYTES)?).map(|_| decode_lease(decoder)).collect()
}

pub(crate) fn encode_pack(pack: &PackName, encoder: &mut Encoder) {
    encoder.u8(pack.class as u8);
    encoder.fixed(&pack.id.0);
}

pub(crate) fn decode_pack(decoder: &mut Decoder<'_>) -> Result<PackName, Malformed> {
    let class = PackClass::from_u8(decoder.u8()?).ok_or(Malformed("unknown pack class"))?;
    Ok(PackName { class, id: PackId(decoder.fixed()?) })
}

/// Packs, each with the state that marked it.
fn encode_marked(packs: &BTreeMap<PackName, u64>, encoder: &mut Encoder) {
    encoder.count(packs.len());
    for (pack, since) in packs {
        encode_pack(pack, encoder);
        encoder.u64(*since);
    }
}

fn decode_marked(decoder: &mut Decoder<'_>) -> Result<BTreeMap<PackName, u64>, Malformed> {
    (0..decoder.count(PACK_BYTES + 8)?).map(|_| Ok((decode_pack(decoder)?, decoder.u64()?))).collect()
}

fn encode_packs(packs: &BTreeSet<PackName>, encoder: &mut Encoder) {
    encoder.count(packs.len());
    for pack in packs {
        encode_pack(pack, encoder);
    }
}

fn decode_packs(decoder: &mut Decoder<'_>) -> Result<BTreeSet<PackName>, Malformed> {
    (0..decoder.count(PACK_BYTES)?).map(|_| decode_pack(decoder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Feature, Need};
    use proptest::prelude::*;

    fn lease(state: u64) -> LeaseId {
        LeaseId { state, random: [state as u8; 16] }
    }

    fn pack(id: u8) -> PackName {
        PackName { class: PackClass::Meta, id: PackId([id; 16]) }
    }

    fn state() -> State {
        State {
            number: 9,
            floor: 5,
            prune_epoch: 2,
            features: Features(vec![Feature { name: "f".into(), since: "3".into(), need: Need::ToWrite }]),
            listed: [lease(1), lease(6)].into(),
            forgotten: [lease(7)].into(),
            runs: [(RunName { lease: lease(1), number: 3 }, 500)].into(),
            unused: [(pack(5), 8)].into(),
            condemned: [(pack(1), 4)].into(),
            doomed: [pack(2)].into(),
            bad_blobs: [(BlobId([8; 32]), pack(3))].into(),
            bad_packs: [pack(4)].into(),
            extensions: [("later".to_owned(), vec![1])].into(),
        }
    }

    #[test]
    fn it_survives() {
        assert_eq!(State::decode(&state().encode()), Ok(state()));
    }

    #[test]
    fn readers_accept_the_listed_and_what_is_above_the_floor() {
        let state = state();
        assert!(state.accepts(&lease(1)), "listed, below the floor");
        assert!(!state.accepts(&lease(2)), "below the floor: a zombie's");
        assert!(state.accepts(&lease(5)), "at the floor");
        assert!(!state.accepts(&lease(7)), "forgotten");
        assert!(!state.usable(&pack(1)) && !state.usable(&pack(2)) && state.usable(&pack(3)) && !state.usable(&pack(4)));
    }

    proptest! {
        #[test]
        fn mutated_bytes_never_panic(place: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut content = state().encode();
            let place = place.index(content.len());
            content[place] = byte;
            let _ = State::decode(&content);
            prop_assert!(State::decode(&content[..cut.index(content.len())]).is_err());
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = State::decode(&bytes);
        }
    }
}
