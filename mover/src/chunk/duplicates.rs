//! Identical small files within one run: they share one place in a bundle.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use holdfast_repository::BlobId;

/// Files per generation: what a table of 32,768 places holds, 57 bytes each; there are two generations.
const GENERATION_FILES: usize = 28_672;

/// Where a small file's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) blob: BlobId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A bounded map from content to place: what was not seen for a generation is forgotten (and stored again, which costs only
/// space).
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    generations: Mutex<Generations>,
}

/// Half of a keyed hash tells contents apart, as it does for fine hashes.
type Key = [u8; 16];

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Place>,
    old: HashMap<Key, Place>,
}

fn key(content: &BlobId) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&content.0[..16]);
    key
}

impl Duplicates {
    /// `content` is the keyed hash of the file's bytes, as if it were a blob.
    pub(crate) fn find(&self, content: &BlobId) -> Option<Place> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let content = key(content);
        if let Some(place) = generations.young.get(&content) {
            return Some(*place);
        }
        let place = generations.old.remove(&content)?;
        generations.insert(content, place);
        Some(place)
    }

    pub(crate) fn insert(&self, content: BlobId, place: Place) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(key(&content), place);
    }

    /// Forgets all of it.
    pub(crate) fn clear(&self) {
        *self.generations.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }
}

impl Generations {
    fn insert(&mut self, content: Key, place: Place) {
        if self.young.len() >= GENERATION_FILES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(content, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> BlobId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        BlobId(bytes)
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let duplicates = Duplicates::default();
        let place = |number| Place { blob: id(number), offset: number, length: 1 };
        for number in 0..10 * GENERATION_FILES as u32 {
            duplicates.insert(id(number), place(number));
            assert_eq!(duplicates.find(&id(0)), Some(place(0)), "used all the time");
        }
        assert_eq!(duplicates.find(&id(1)), None, "not used for long");
        let generations = duplicates.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_FILES);
    }
}
