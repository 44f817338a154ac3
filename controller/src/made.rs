//! Snapshots that we have created a moment ago: the cache may not show them yet, and to create them again would be a request for nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::object::Key;

/// How long a cache may lag behind our own write before its object is looked at anyway.
pub const LAG_MS: u64 = 5_000;
/// So many are remembered before those are let go that are older than that.
const KEPT: usize = 4_096;

/// When each was created.
#[derive(Debug, Default)]
pub struct Made(Mutex<HashMap<Key, u64>>);

impl Made {
    /// It was created, or was there.
    pub fn note(&self, key: Key, now_ms: u64) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= KEPT {
            made.retain(|_, at_ms| now_ms < *at_ms + LAG_MS);
        }
        made.insert(key, now_ms);
    }

    /// Whether it was created so lately that the cache need not show it.
    pub fn is_recent(&self, key: &Key, now_ms: u64) -> bool {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(key).is_some_and(|at_ms| now_ms < at_ms + LAG_MS)
    }

    /// It is gone: it may be created again at once.
    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn what_was_created_a_moment_ago_is_not_created_again_until_it_is_gone() {
        let (made, key) = (Made::default(), Key::new(Kind::Snapshot, "demo", "s"));
        assert!(!made.is_recent(&key, 10_000));
        made.note(key.clone(), 10_000);
        assert!(made.is_recent(&key, 14_999) && !made.is_recent(&key, 15_000));
        made.forget(&key);
        assert!(!made.is_recent(&key, 10_001));
        for number in 0..3 * KEPT {
            made.note(Key::new(Kind::Snapshot, "demo", number.to_string()), number as u64 * 10);
        }
        assert!(made.0.lock().unwrap().len() <= KEPT, "what is old is let go");
    }
}
