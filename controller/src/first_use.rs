//! What may not change, where no webhook was there to say so: the value that was used first stands in the status, and by another one nothing
//! is done. Put back, all goes on as before.

use holdfast_api::backup_storage::Backend;
use holdfast_api::condition::kinds::{backup_session as session_kinds, repository as repository_kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::{BackupSession, BackupStorage, BackupVerificationSession, Repository, RestoreSession, defaults};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::repository::deletion::place;
use crate::repository::views::directory;
use crate::restore_session;

/// How a place begins that was written down by us, and by nobody before us.
const PLACE: &str = "BackupStorage ";

/// Where a Repository was opened first.
pub fn opened_at(repository: &Repository) -> Option<&str> {
    let conditions = &repository.status.as_ref()?.conditions;
    let of_opening = condition::get(conditions, repository_kinds::REPOSITORY_INITIALIZED).filter(|condition| condition.status == "True");
    let at = [of_opening, condition::get(conditions, shared::SPEC_KEPT)];
    at.into_iter().flatten().filter_map(|condition| condition.message.as_deref()).find(|message| message.starts_with(PLACE))
}

/// Why nothing is done with a Repository as it stands; that it was opened elsewhere.
pub fn elsewhere(repository: &Repository) -> Option<String> {
    let (first, now) = (opened_at(repository)?, place(repository));
    (first != now).then(|| format!("it was first opened in {first}, and its spec says {now}: the data would stay behind; change it back"))
}

/// Whether the directory of a Repository is another one. Another storage may be another name of the same.
pub fn directory_changed(repository: &Repository) -> bool {
    opened_at(repository).is_some_and(|first| !first.ends_with(&format!(", directory {:?}", directory(repository))))
}

/// Writes down where a Repository was opened first, before its condition says something else.
pub fn keep_place(repository: &Repository, conditions: &mut Vec<Condition>, now: Timestamp) {
    let Some(first) = opened_at(repository) else { return };
    let is_there = first == place(repository);
    let reason = if is_there { shared::AS_FIRST_USED } else { shared::SPEC_CHANGED };
    condition::set(conditions, Condition::new(shared::SPEC_KEPT, is_there, reason, first, now));
}

/// Why nothing is done in a storage as it stands: it holds repositories, and its backend was another one.
pub fn moved(storage: &BackupStorage) -> Option<String> {
    let status = storage.status.as_ref().filter(|status| !status.repositories.is_empty())?;
    let first = condition::get(&status.conditions, shared::SPEC_KEPT)?.message.as_deref()?;
    let holds = status.repositories.len();
    (first != backend(storage)?).then(|| format!("spec.storage must stay {first}: the storage holds {holds} repositories; change it back, or make another BackupStorage"))
}

/// Writes down which backend a storage was first used with, or that it is another one now.
pub fn keep_backend(storage: &BackupStorage, conditions: &mut Vec<Condition>, now: Timestamp) {
    let kept = condition::get(conditions, shared::SPEC_KEPT).and_then(|condition| condition.message.clone());
    let condition = match (moved(storage), kept, backend(storage)) {
        (Some(_), Some(first), _) => Condition::new(shared::SPEC_KEPT, false, shared::SPEC_CHANGED, first, now),
        (_, _, Some(backend)) => Condition::new(shared::SPEC_KEPT, true, shared::AS_FIRST_USED, backend, now),
        _ => return,
    };
    condition::set(conditions, condition);
}

/// A backend as one text, whoever wrote it.
fn backend(storage: &BackupStorage) -> Option<String> {
    // Without its status, which lists all that it holds.
    let mut storage = BackupStorage::new("", storage.spec.clone());
    defaults::backup_storage(&mut storage);
    let backend: Backend = storage.spec.storage?;
    serde_json::to_string(&backend).ok()
}

/// What says that a session has begun.
fn begun(session: &BackupSession) -> Option<&Condition> {
    condition::get(&session.status.as_ref()?.conditions, session_kinds::SNAPSHOTS_ENSURED)
}

/// Whether the spec of a session was changed after the session had begun.
pub fn is_changed(session: &BackupSession) -> bool {
    let seen = begun(session).and_then(|begun| begun.observed_generation);
    session.metadata.deletion_timestamp.is_none() && seen.is_some() && seen != session.metadata.generation
}

/// What a session or restore begins with, as a condition keeps it.
pub fn begins_with(spec: &impl Serialize) -> String {
    serde_json::to_string(spec).unwrap_or_default()
}

/// What an object began with, if it is of another generation now and the condition says it.
fn begun_with<S: DeserializeOwned>(begun: Option<&Condition>, generation: Option<i64>) -> Option<S> {
    let begun = begun.filter(|begun| begun.observed_generation != generation)?;
    serde_json::from_str(begun.message.as_deref()?).ok()
}

/// A session as it was begun: whatever its spec says since, it does what it has begun.
pub fn as_begun(session: Arc<BackupSession>) -> Arc<BackupSession> {
    let Some(spec) = begun_with(begun(&session), session.metadata.generation) else { return session };
    let mut kept = session.as_ref().clone();
    kept.spec = spec;
    Arc::new(kept)
}

/// A restore as it was begun, and whether its spec says something else since. One that was refused before it began may be mended.
pub fn restore_as_begun(restore: Arc<RestoreSession>) -> (Arc<RestoreSession>, bool) {
    let conditions = restore.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let spec = begun_with(condition::get(conditions, shared::SPEC_KEPT), restore.metadata.generation);
    match spec.filter(|spec| *spec != restore.spec && !restore_session::plan::may_heal(&restore)) {
        Some(spec) => {
            let mut kept = restore.as_ref().clone();
            kept.spec = spec;
            (Arc::new(kept), true)
        }
        None => (restore, false),
    }
}

/// Writes down what a restore, as it was begun, begins with, or that its spec says something else now; true if that is news.
pub fn keep_restore(restore: &RestoreSession, is_changed: bool, conditions: &mut Vec<Condition>, now: Timestamp) -> bool {
    let first = condition::get(conditions, shared::SPEC_KEPT).and_then(|kept| kept.observed_generation);
    let reason = if is_changed { shared::SPEC_CHANGED } else { shared::AS_FIRST_USED };
    let kept = Condition::new(shared::SPEC_KEPT, !is_changed, reason, begins_with(&restore.spec), now);
    condition::set(conditions, kept.observed(first.or(restore.metadata.generation))) && is_changed
}

/// Whether the spec of a try is not what it was made with: only a change of the spec, and its end, count as another generation.
pub fn is_another(session: &BackupVerificationSession) -> bool {
    session.metadata.deletion_timestamp.is_none() && session.metadata.generation.is_some_and(|generation| generation > 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn repository(path: &str, storage: &str, conditions: Value) -> Repository {
        serde_json::from_value(json!({"metadata": {"name": "repo", "namespace": "demo"}, "spec": {"storageRef": {"name": storage}, "path": path},
            "status": {"conditions": conditions}}))
        .unwrap()
    }

    fn said(type_: &str, status: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": "r", "message": message, "lastTransitionTime": "2026-11-20T00:00:00Z"})
    }

    const FIRST: &str = "BackupStorage demo/store, directory \"app\"";

    #[test]
    fn the_place_where_a_repository_was_opened_first_is_not_forgotten_when_opening_fails_later() {
        let open = said("RepositoryInitialized", "True", FIRST);
        let failed = json!([said("RepositoryInitialized", "False", "no route to host"), said("SpecKept", "True", FIRST)]);
        for conditions in [json!([open]), failed] {
            let at = |path: &str, storage: &str| repository(path, storage, conditions.clone());
            assert_eq!(elsewhere(&at("/app/", "store")), None);
            assert!(elsewhere(&at("/other", "store")).unwrap().contains("directory \"other\""));
            assert!(directory_changed(&at("/other", "store")) && !directory_changed(&at("/app", "store")));
            assert!(elsewhere(&at("/app", "copy")).is_some() && !directory_changed(&at("/app", "copy")));
        }
        let never = [json!([]), json!([said("RepositoryInitialized", "True", "of KubeStash")]), json!([said("RepositoryInitialized", "False", "no")])];
        for conditions in never {
            assert_eq!(elsewhere(&repository("/other", "store", conditions)), None);
        }
    }

    #[test]
    fn a_backend_is_the_same_with_a_slash_and_another_one_with_anything_else() {
        let storage = |s3: Value, repositories: usize, conditions: Vec<Condition>| -> BackupStorage {
            let repositories: Vec<Value> = (0..repositories).map(|number| json!({"name": format!("r{number}")})).collect();
            serde_json::from_value(json!({"metadata": {"name": "store", "namespace": "demo"}, "spec": {"storage": {"provider": "s3", "s3": s3}},
                "status": {"repositories": repositories, "conditions": conditions}}))
            .unwrap()
        };
        let first = json!({"bucket": "b", "prefix": "p", "secretName": "s"});
        let now = Timestamp::UNIX_EPOCH;
        let mut kept = Vec::new();
        keep_backend(&storage(first.clone(), 0, Vec::new()), &mut kept, now);
        let slash = json!({"bucket": "b", "prefix": "p/", "secretName": "s"});
        assert_eq!(moved(&storage(slash, 2, kept.clone())), None);
        let other = storage(json!({"bucket": "c", "prefix": "p", "secretName": "s"}), 2, kept.clone());
        let why = moved(&other).unwrap();
        assert!(why.contains("holds 2 repositories") && why.contains(r#""bucket":"b""#), "{why}");
        // It is not forgotten by looking at the other one.
        keep_backend(&other, &mut kept, now);
        assert!(kept[0].status == "False" && moved(&storage(first, 2, kept.clone())).is_none());
        let empty = storage(json!({"bucket": "c"}), 0, kept.clone());
        assert_eq!(moved(&empty), None, "nothing would stay behind");
        keep_backend(&empty, &mut kept, now);
        assert!(kept[0].message.as_deref().unwrap().contains(r#""bucket":"c""#));
    }

    #[test]
    fn a_session_does_what_it_has_begun() {
        let session = |name: &str, generation: i64, begun: Value| -> Arc<BackupSession> {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": "s", "generation": generation},
                "spec": {"invoker": {"kind": "BackupConfiguration", "name": "one"}, "session": name}, "status": {"conditions": begun}})).unwrap())
        };
        let first = session("daily", 1, json!([]));
        let mut begun = said("SnapshotsEnsured", "True", &begins_with(&first.spec));
        begun["observedGeneration"] = json!(1);
        let changed = session("weekly", 2, json!([begun]));
        assert!(is_changed(&changed));
        assert_eq!(as_begun(changed).spec, first.spec);
        let same = session("daily", 1, json!([begun]));
        assert!(!is_changed(&same));
        assert_eq!(as_begun(session("weekly", 2, json!([]))).spec.session.as_deref(), Some("weekly"), "nothing of it had begun");
        // From before this was written down.
        assert!(!is_changed(&session("daily", 1, json!([said("SnapshotsEnsured", "True", "")]))));
    }

    #[test]
    fn a_restore_does_what_it_has_begun() {
        let restore = |generation: i64, include: &str, status: Value| -> Arc<RestoreSession> {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": "back", "generation": generation},
                "spec": {"dataSource": {"repository": "repo", "snapshot": include}}, "status": status})).unwrap())
        };
        let (first, now) = (restore(1, "one", json!({})), Timestamp::UNIX_EPOCH);
        let mut kept = Vec::new();
        assert!(!keep_restore(&first, false, &mut kept, now), "nothing to tell of");
        let running = json!({"phase": "Running", "components": {"dump": {"phase": "Running"}}, "conditions": kept});
        let (as_begun, is_changed) = restore_as_begun(restore(2, "two", running.clone()));
        assert!(is_changed && as_begun.spec == first.spec);
        assert!(keep_restore(&as_begun, is_changed, &mut kept, now) && !keep_restore(&as_begun, is_changed, &mut kept, now), "told once");
        assert_eq!((kept[0].status.as_str(), kept[0].observed_generation), ("False", Some(1)));
        let still = json!({"phase": "Running", "components": {"dump": {"phase": "Running"}}, "conditions": kept});
        assert!(restore_as_begun(restore(2, "two", still.clone())).0.spec == first.spec);
        let (back, is_changed) = restore_as_begun(restore(3, "one", still));
        assert!(!is_changed);
        keep_restore(&back, is_changed, &mut kept, now);
        assert_eq!(kept[0].status, "True", "changed back");
        // Nothing of it has begun: what it was refused for may be mended.
        let refused = json!({"phase": "Invalid", "conditions": running["conditions"]});
        assert_eq!(restore_as_begun(restore(2, "two", refused)).0.spec.data_source.as_ref().unwrap().snapshot.as_deref(), Some("two"));
    }
}
