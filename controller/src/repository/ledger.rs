//! What of a Repository is to be forgotten: annotations on it, one for each Snapshot.
//!
//! An entry is the commit point of a removal. Once it stands, the Snapshot goes, and then its data is forgotten, whatever happens in
//! between and however long the backend is away: the Snapshot itself need not wait for that, so its namespace never does. Each entry
//! is a key of its own, so that whoever adds one overwrites no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::{Repository, Snapshot};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::dispatch::task::{Outcome, TaskView};
use crate::object::{Key, Kind};

/// Before the name of the Snapshot.
pub const PREFIX: &str = "forget.holdfast.dev/";
/// Longest name that an annotation can have after its prefix; Snapshots of ours are no longer.
const NAME_CHARACTERS_MAX: usize = 63;
/// All annotations of an object may have 256 KiB together. More is taken when there is room.
const BYTES_MAX: usize = 64 * 1024;

/// One Snapshot whose data is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the Snapshot.
    pub snapshot: String,
    /// Its UID.
    pub uid: String,
    /// The engine's snapshots that it stood for; none of one that failed early, which still has a view.
    pub ids: Vec<String>,
}

impl Entry {
    /// Of a Snapshot; none if its name is longer than those of ours.
    pub fn of(snapshot: &Snapshot, ids: BTreeSet<String>) -> Option<Self> {
        let name = snapshot.metadata.name.clone()?;
        (name.chars().count() <= NAME_CHARACTERS_MAX).then(|| Self {
            snapshot: name,
            uid: snapshot.metadata.uid.clone().unwrap_or_default(),
            ids: ids.into_iter().collect(),
        })
    }

    fn value(&self) -> String {
        format!("{} {}", self.uid, self.ids.join(" ")).trim_end().to_owned()
    }
}

/// The entries of a Repository.
pub fn entries(metadata: &ObjectMeta) -> Vec<Entry> {
    let annotations = metadata.annotations.iter().flatten();
    annotations
        .filter_map(|(key, value)| {
            let snapshot = key.strip_prefix(PREFIX)?.to_owned();
            let mut words = value.split_whitespace().map(str::to_owned);
            Some(Entry { snapshot, uid: words.next()?, ids: words.collect() })
        })
        .collect()
}

/// Whether a Snapshot is to be removed, or is on its way.
pub fn has(repository: &Repository, snapshot: &Snapshot) -> bool {
    let name = snapshot.metadata.name.as_deref().unwrap_or_default();
    let value = repository.metadata.annotations.as_ref().and_then(|all| all.get(&format!("{PREFIX}{name}")));
    value.is_some_and(|value| value.split_whitespace().next() == snapshot.metadata.uid.as_deref())
}

/// How many of these, from the first on, still fit.
pub fn room(repository: &Repository, wanted: &[Entry]) -> usize {
    let known = repository.metadata.annotations.iter().flatten().filter(|(key, _)| key.starts_with(PREFIX));
    let mut bytes: usize = known.map(|(key, value)| key.len() + value.len()).sum();
    let fits = wanted.iter().take_while(|entry| {
        bytes += PREFIX.len() + entry.snapshot.len() + entry.value().len();
        bytes <= BYTES_MAX
    });
    fits.count()
}

/// Writes entries down; others stay as they are.
pub fn record(repository: &Repository, entries: &[Entry]) -> Option<Action> {
    let annotations: Map<String, Value> =
        entries.iter().map(|entry| (format!("{PREFIX}{}", entry.snapshot), json!(entry.value()))).collect();
    (!annotations.is_empty()).then(|| Action::Patch {
        key: key_of(repository),
        resource_version: None,
        patch: json!({"metadata": {"annotations": annotations}}),
    })
}

/// The annotations that strike entries out.
pub fn struck(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (format!("{PREFIX}{}", entry.snapshot), Value::Null)).collect()
}

/// A Repository's name.
pub fn key_of(repository: &Repository) -> Key {
    let metadata = &repository.metadata;
    Key::of(Kind::Repository, metadata)
}

/// The engine's snapshots that a Snapshot names. Those of other drivers are not ours to forget.
pub fn engine_ids(snapshot: &Snapshot) -> BTreeSet<String> {
    let components = snapshot.status.iter().flat_map(|status| status.components.values());
    components
        .filter(|component| component.driver == Some(holdfast_api::Driver::Holdfast))
        .flat_map(|component| &component.restic_stats)
        .filter_map(|stats| stats.summary.as_ref()?.id.clone())
        .collect()
}

/// The same of results that no status shows yet.
pub fn finished_ids<'a>(tasks: impl Iterator<Item = &'a TaskView>) -> BTreeSet<String> {
    let finished = tasks.filter_map(|view| match view {
        TaskView::Finished { outcome, .. } => Some(outcome),
        _ => None,
    });
    finished
        .filter_map(|outcome| match outcome.as_ref() {
            Outcome::Backup(result) => Some(result.snapshot_id.clone()),
            _ => None,
        })
        .collect()
}

/// Whether nothing that a Snapshot holds was stored by another tool. What a pod has done whose Addon names no tool is kept nowhere that a
/// Snapshot tells of.
pub fn is_ours(snapshot: &Arc<Snapshot>) -> bool {
    let components = snapshot.status.iter().flat_map(|status| status.components.values());
    components.into_iter().all(|component| match &component.driver {
        Some(driver) => *driver == holdfast_api::Driver::Holdfast,
        None => component.path.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_ours_as_long_as_no_other_tool_has_stored_any_of_it() {
        let is_ours = |components: Value| {
            let snapshot = json!({"metadata": {"name": "s"}, "spec": {}, "status": {"components": components}});
            super::is_ours(&Arc::new(serde_json::from_value(snapshot).unwrap()))
        };
        assert!(is_ours(json!({"dump": {"driver": "Holdfast", "path": "p"}, "nightly": {"phase": "Succeeded"}})), "retention goes on");
        assert!(!is_ours(json!({"dump": {"driver": "Holdfast", "path": "p"}, "db": {"driver": "Restic", "path": "p"}})));
        assert!(!is_ours(json!({"dump": {"path": "p"}})), "nobody knows whose it is");
    }

    fn entry(name: &str) -> Entry {
        Entry { snapshot: name.into(), uid: "u-1".into(), ids: vec!["0000-aa".into(), "0000-bb".into()] }
    }

    fn written(entries: &[Entry]) -> Repository {
        let mut repository = Repository::new("repo", holdfast_api::repository::RepositorySpec::default());
        if let Some(Action::Patch { patch, .. }) = record(&repository, entries) {
            repository.metadata.annotations = serde_json::from_value(patch["metadata"]["annotations"].clone()).unwrap();
        }
        repository
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let failed = Entry { ids: Vec::new(), ..entry("c") };
        let wanted = vec![entry("a"), entry("b"), failed];
        let repository = written(&wanted);
        assert_eq!(entries(&repository.metadata), wanted);
        assert_eq!(struck(&wanted).keys().collect::<Vec<_>>(), ["forget.holdfast.dev/a", "forget.holdfast.dev/b", "forget.holdfast.dev/c"]);
        assert_eq!(record(&repository, &[]), None);
    }

    #[test]
    fn another_life_of_a_name_is_not_the_one_that_is_removed() {
        let repository = written(&[entry("a")]);
        let mut snapshot = Snapshot::new("a", holdfast_api::snapshot::SnapshotSpec::default());
        snapshot.metadata.uid = Some("u-1".into());
        assert!(has(&repository, &snapshot));
        snapshot.metadata.uid = Some("u-2".into());
        assert!(!has(&repository, &snapshot));
    }

    #[test]
    fn an_object_has_room_for_so_many_and_no_more() {
        let many: Vec<_> = (0..2_000).map(|number| entry(&format!("snapshot-{number}"))).collect();
        let fit = room(&written(&[]), &many);
        assert!((500..2_000).contains(&fit), "{fit}");
        assert_eq!(room(&written(&many[..fit]), &many[fit..]), 0);
    }
}
