//! Which sessions that have ended stay: the newest.

use std::cmp::Reverse;
use std::sync::Arc;

use kube::Resource;

use crate::action::Action;
use crate::object::{Key, Kind};

/// Deletes all but the newest `kept` of some sessions of one kind.
pub fn beyond<'s, K: Resource<DynamicType = ()> + 's>(kind: Kind, sessions: impl Iterator<Item = &'s Arc<K>>, kept: usize) -> Vec<Action> {
    let mut sessions: Vec<_> = sessions.map(|session| session.meta()).collect();
    sessions.sort_by_key(|metadata| Reverse((metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.clone())));
    let gone = sessions.into_iter().skip(kept);
    gone.map(|metadata| Action::Delete { key: Key::of(kind, metadata), uid: metadata.uid.clone().unwrap_or_default() }).collect()
}
