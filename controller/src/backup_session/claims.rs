//! Which session of an invoker runs: one at a time.
//!
//! The caches alone cannot tell, since they lag behind what was written a moment ago. There is one leader, so a claim in
//! its memory can; after a restart the claims follow from the sessions' own statuses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_api::BackupSession;
use holdfast_api::condition::has;
use holdfast_api::condition::kinds::backup_session as kinds;

use crate::object::Named;

/// Claims of all invokers.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<(Named, String), Claim>>);

#[derive(Debug, Clone)]
struct Claim {
    session: String,
    uid: String,
}

/// Whether a session is over.
pub fn has_ended(session: &BackupSession) -> bool {
    session.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_terminal())
}

/// Whether a session has made its Snapshots, or tried to.
pub fn has_begun(session: &BackupSession) -> bool {
    session.status.as_ref().is_some_and(|status| has(&status.conditions, kinds::SNAPSHOTS_ENSURED))
}

impl Claims {
    /// Claims the invoker for `session`, if no other runs; else says which does. `siblings` are the other sessions.
    pub fn claim(&self, session: &BackupSession, siblings: &[Arc<BackupSession>]) -> Option<String> {
        let invoker = session.spec.invoker.as_ref()?;
        let namespace = session.metadata.namespace.clone().unwrap_or_default();
        let key = (Named::new(namespace, &invoker.name), invoker.kind.clone());
        let name = session.metadata.name.clone().unwrap_or_default();
        let uid = session.metadata.uid.clone().unwrap_or_default();
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if has_ended(session) {
            if claims.get(&key).is_some_and(|claim| claim.uid == uid) {
                claims.remove(&key);
            }
            return None;
        }
        if has_begun(session) {
            claims.insert(key, Claim { session: name, uid });
            return None;
        }
        if let Some(running) = siblings.iter().find(|other| has_begun(other) && !has_ended(other)) {
            return running.metadata.name.clone();
        }
        // A claim holds until its session is seen to have ended, or is gone (`release_session`).
        let ended = |claim: &Claim| {
            siblings.iter().any(|other| other.metadata.uid.as_deref() == Some(&claim.uid) && has_ended(other))
        };
        match claims.get(&key) {
            Some(claim) if claim.uid != uid && !ended(claim) => Some(claim.session.clone()),
            _ => {
                claims.insert(key, Claim { session: name, uid });
                None
            }
        }
    }

    /// Others may lead meanwhile, and let sessions begin and end.
    pub fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// This session is gone.
    pub fn release_session(&self, name: &Named) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|(invoker, _), claim| invoker.namespace != name.namespace || claim.session != name.name);
    }
}
