//! A volume has one restore at a time, whoever asked for the others: of two at once a mixture would stay, and both would call it theirs.
//!
//! A restore takes all its volumes at once, when it is given to an agent. Until then it has none and holds up nobody; from then on it
//! waits for no other task. So nobody who has a volume waits for one, and no circle of waits can close, of however many components two
//! sessions are made and in whatever order they come. A volume is free again as soon as the agent has said that the attempt ended, or,
//! of an agent that says nothing, when no right to write can be left: what else the session of that attempt goes on with holds up nobody.

use std::collections::HashMap;

use holdfast_proto::v1;

use super::{State, Table, Task};
use crate::dispatch::task::{TaskKey, Work};
use crate::object::{Key, Named};
use crate::target::paths::meet;

/// Where in which volume a restore writes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    claim: Named,
    claim_uid: String,
    path: String,
}

impl Place {
    /// All that this work writes to.
    pub(super) fn all(work: &Work) -> Vec<Self> {
        let Work::Restore { task, .. } = work else { return Vec::new() };
        let place = |target: &v1::RestoreTarget| {
            let volume = target.volume.as_ref()?;
            let claim = Named::new(&volume.pvc_namespace, &volume.pvc_name);
            Some(Self { claim, claim_uid: volume.pvc_uid.clone(), path: target.path_in_volume.clone() })
        };
        task.targets.iter().filter_map(place).collect()
    }
}

/// Whether two tasks must not write at the same time because of these places. Components of one session may write to a volume together
/// where their places are apart: they are of one backup.
fn collide((key, place): (&TaskKey, &Place), (other, theirs): (&TaskKey, &Place)) -> bool {
    key != other && place.claim_uid == theirs.claim_uid && (key.owner_uid != other.owner_uid || meet(&place.path, &theirs.path))
}

/// The last right to write that an attempt was given.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) answered_ms: u64,
    pub(super) owner: Key,
    pub(super) places: Vec<Place>,
}

/// Who may be writing where, by the UIDs of the claims.
#[derive(Debug, Default)]
pub(super) struct Writers(HashMap<String, Vec<(TaskKey, Key, Place)>>);

impl Writers {
    pub(super) fn add(&mut self, key: &TaskKey, owner: &Key, places: &[Place]) {
        for place in places {
            self.0.entry(place.claim_uid.clone()).or_default().push((key.clone(), owner.clone(), place.clone()));
        }
    }

    /// Whose end a task that writes to these places has to wait for, and at which claim.
    pub(super) fn before<'p>(&self, key: &TaskKey, places: &'p [Place]) -> Option<(&Key, &'p Named)> {
        places.iter().find_map(|place| {
            let mut others = self.0.get(&place.claim_uid)?.iter();
            let (_, owner, _) = others.find(|(other, _, theirs)| collide((key, place), (other, theirs)))?;
            Some((owner, &place.claim))
        })
    }
}

impl Table {
    /// How long after the last answer a right may still be used.
    pub(super) fn lapse_ms(&self) -> u64 {
        self.limits.grant_ttl_ms + self.limits.grant_margin_ms
    }

    /// Those who may write now: what is with an agent, or may come back with one, and that of which only the right is left.
    pub(super) fn writers(&self, now_ms: u64) -> Writers {
        let mut writers = Writers::default();
        for (key, right) in self.live_rights(now_ms) {
            writers.add(key, &right.owner, &right.places);
        }
        for (key, task) in self.tasks.iter().filter(|(_, task)| is_begun(&task.state)) {
            writers.add(key, &task.owner.key, &task.places);
        }
        writers
    }

    /// The rights to write that may not have ended yet.
    fn live_rights(&self, now_ms: u64) -> impl Iterator<Item = (&TaskKey, &Right)> {
        self.rights.iter().filter(move |(_, right)| right.answered_ms + self.lapse_ms() > now_ms)
    }

    /// Whether somebody else's right to write to the volumes of a task may not have ended yet. What comes back with its agent has not stood
    /// in line for them, so the right itself is asked about as well.
    pub(super) fn is_kept_out(&self, key: &TaskKey, now_ms: u64) -> bool {
        let Some(task) = self.tasks.get(key) else { return false };
        let collides = |(other, right): (&TaskKey, &Right)| {
            task.places.iter().any(|place| right.places.iter().any(|theirs| collide((key, place), (other, theirs))))
        };
        self.live_rights(now_ms).any(collides)
    }

    /// What keeps a restore in line from its volumes.
    pub(super) fn waits_for_volumes(&self, task: &Task, not_before_ms: u64, now_ms: u64) -> Option<String> {
        let places = Place::all(&task.request.work);
        if places.is_empty() {
            return None;
        }
        let key = TaskKey { owner_uid: task.owner.uid.clone(), component: task.request.component.clone() };
        if let Some((owner, claim)) = self.writers(now_ms).before(&key, &places) {
            return Some(format!("PersistentVolumeClaim {claim} is being restored by {owner}"));
        }
        let is_first = task.attempt == 0 && not_before_ms > now_ms;
        is_first.then(|| "waiting until nothing that the controller before this one had begun can write any more".to_owned())
    }

    /// Whether anything of an object may still run, or begin to: its tasks that have not ended; what was given a right to write; and of the
    /// components that `attempted` names what the leader before had begun, while its right may last.
    pub fn is_at_work<'a>(&self, owner_uid: &str, mut attempted: impl Iterator<Item = &'a str>, now_ms: u64) -> bool {
        let has_ended = |component: &str| self.ended.contains_key(&TaskKey { owner_uid: owner_uid.to_owned(), component: component.to_owned() });
        self.tasks.of_uid(owner_uid).any(|(_, task)| !matches!(task.state, State::Finished { .. }))
            || self.live_rights(now_ms).any(|(key, _)| key.owner_uid == owner_uid)
            || (now_ms < self.since_ms + self.lapse_ms() && attempted.any(|component| !has_ended(component)))
    }
}

/// Whether an attempt is with an agent, or may come back with one.
fn is_begun(state: &State) -> bool {
    matches!(state, State::Starting { .. } | State::Running { .. } | State::Missing { .. })
}
