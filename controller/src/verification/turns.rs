//! Few tries at once: each has claims as large as what was backed up, and ten thousand schedules may name the same minute.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::object::Key;

/// Tries that run at once in a cluster.
const AT_ONCE: usize = 8;

/// Whose turn it is. There is one leader, so its memory can tell; those that had begun before it keep theirs.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeSet<Key>>);

impl Turns {
    /// Whether this one may run, or does. One that `has_begun` does not ask.
    pub fn take(&self, key: &Key, has_begun: bool) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if has_begun || turns.contains(key) || turns.len() < AT_ONCE {
            turns.insert(key.clone());
            return true;
        }
        false
    }

    /// It is over, or gone.
    pub fn end(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Another leader gives them.
    pub fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn few_try_at_once_and_the_next_one_when_one_is_over() {
        let turns = Turns::default();
        let key = |number: usize| Key::new(Kind::BackupVerificationSession, "demo", number.to_string());
        assert!((0..AT_ONCE).all(|number| turns.take(&key(number), false)));
        assert!(!turns.take(&key(AT_ONCE), false) && turns.take(&key(0), false), "it has its turn already");
        assert!(turns.take(&key(100), true), "it had begun before");
        turns.end(&key(100));
        assert!(!turns.take(&key(AT_ONCE), false));
        turns.end(&key(3));
        assert!(turns.take(&key(AT_ONCE), false));
    }
}
