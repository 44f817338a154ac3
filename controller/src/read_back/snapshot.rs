//! From a Snapshot's view, and what the repository holds under its name, to a Snapshot as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::condition::kinds::{read_back as reasons, snapshot as kinds};
use holdfast_api::condition::{self, Condition};
use holdfast_api::driver::Driver;
use holdfast_api::reference::TypedObjectReference;
use holdfast_api::snapshot::stats::{BackupSummary, ResticStats};
use holdfast_api::snapshot::{Component, ComponentPhase, SnapshotPhase, SnapshotSpec, SnapshotStatus};
use holdfast_api::{Repository, Snapshot, duration, labels, names, size};
use holdfast_proto::v1::{ReadView, StoredSnapshot};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use serde_json::{Value, json};

use super::{FROM, application, document, is_component, is_name, is_word, shown};
use crate::dispatch::assign::storage_of;
use crate::object::Named;
use crate::restore_session::components::engine_snapshot;

/// Components of a Snapshot; an object must not grow without bound.
const COMPONENTS_MAX: usize = 1000;
/// Seconds by which another machine's clock may be ahead of ours.
const AHEAD_S_MAX: i64 = 3600;
/// From when on a number at the end of a name is a time: that of its session, in seconds.
const TIMES_FROM_S: i64 = 1_000_000_000;

/// The name of the Snapshot that a view stands for.
pub fn name(view: &ReadView) -> Option<&str> {
    let name = view.path.rsplit('/').next()?.strip_suffix(".yaml")?;
    is_name(name).then_some(name)
}

/// The Snapshot of `repository` that a view stands for, and its status; or why there is none.
pub fn from_view(view: &ReadView, repository: &Repository, now: Timestamp) -> Result<(Snapshot, SnapshotStatus), String> {
    let name = name(view).ok_or("its name is none that an object can have")?;
    // It would take the name of a session that is still to come, and whoever writes to the bucket can work that out.
    let stamp = name.rsplit('-').next().and_then(|digits| digits.parse::<i64>().ok()).filter(|stamp| *stamp >= TIMES_FROM_S);
    if stamp.is_some_and(|stamp| stamp > now.as_second().saturating_add(AHEAD_S_MAX)) {
        return Err("its name is of a time that has not come yet".into());
    }
    let told = if view.json.is_empty() { None } else { Some(told(view, name, repository)?) };
    let mut told_components = told.as_ref().and_then(|told| told.status.as_ref()).map(|status| status.components.clone()).unwrap_or_default();
    // Holdfast keeps no component beside another tool's: one that a view adds would only stand in a restore's way.
    let is_alone = view.stored.is_empty();
    told_components.retain(|name, component| is_component(name) && (is_alone || !is_foreign(component)));
    if told_components.len() > COMPONENTS_MAX {
        return Err(format!("it has more than {COMPONENTS_MAX} components"));
    }
    let app = app_of(view, told.as_ref())?;
    let session = view.stored.last().map(|stored| stored.session.as_str());
    let session = session.or(told.as_ref().and_then(|told| told.spec.session.as_deref())).filter(|session| is_word(session)).map(str::to_owned);
    let components = components(view, told_components, session.as_deref().unwrap_or_default());
    let status = status(view, told.as_ref(), components, now)?;
    let spec = told.map(|told| told.spec).unwrap_or_default();
    Ok((object(name, repository, session, app, spec), status))
}

/// What the view says, if it may say it here.
fn told(view: &ReadView, name: &str, repository: &Repository) -> Result<Snapshot, String> {
    let mut value = document(view, Snapshot::KIND)?;
    older_shape(&mut value);
    let told: Snapshot = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if told.metadata.name.as_deref() != Some(name) {
        return Err("it has another name than its file".into());
    }
    // What lies in the directory of one Repository is of no other, and of no other namespace.
    if told.metadata.namespace != repository.metadata.namespace || told.spec.repository != repository.metadata.name {
        return Err("it names another Repository".into());
    }
    Ok(told)
}

/// KubeStash had the numbers of a path without `summary` around them.
fn older_shape(value: &mut Value) {
    let components = value.pointer_mut("/status/components").and_then(Value::as_object_mut);
    for component in components.into_iter().flat_map(|components| components.values_mut()) {
        for stats in component.get_mut("resticStats").and_then(Value::as_array_mut).into_iter().flatten() {
            if stats.get("id").is_some() && stats.get("summary").is_none() {
                *stats = json!({"summary": stats.take()});
            }
        }
    }
}

/// The application: what was stored says so itself. A view alone could make another namespace's files look like this one's.
fn app_of(view: &ReadView, told: Option<&Snapshot>) -> Result<TypedObjectReference, String> {
    let told = told.and_then(|told| told.spec.app_ref.clone()).and_then(application);
    let Some(stored) = view.stored.last() else { return Ok(told.unwrap_or_default()) };
    let mut parts = stored.host.splitn(3, '/');
    let (Some(namespace), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("what is stored is of {:?}, which is no application", shown(&stored.host)));
    };
    // Manifests of the cluster are of no application.
    let nothing = TypedObjectReference::not_applicable();
    if kind.is_empty() && name == nothing.name {
        return Ok(nothing);
    }
    let known = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => Some("apps".to_owned()),
        "PersistentVolumeClaim" => None,
        _ => told.filter(|told| told.kind.as_deref() == Some(kind)).and_then(|told| told.api_group),
    };
    Ok(TypedObjectReference { api_group: known, kind: Some(kind.into()), name: name.into(), namespace: Some(namespace.into()) })
}

fn components(view: &ReadView, mut told: BTreeMap<String, Component>, session: &str) -> BTreeMap<String, Component> {
    for (name, component) in &mut told {
        component.integrity = None;
        component.error = component.error.as_deref().map(shown);
        if is_foreign(component) {
            continue;
        }
        let size = component.size.take();
        let stored = engine_snapshot(component).and_then(|id| view.stored.iter().find(|stored| stored.id == id && stored.component == *name));
        *component = match (component.phase, stored) {
            (Some(ComponentPhase::Succeeded), Some(stored)) => rebuilt(session, name, stored, size.as_deref()),
            (Some(ComponentPhase::Succeeded), None) => failed(session, name, "the repository does not hold it (any more)"),
            _ => failed(session, name, component.error.as_deref().unwrap_or("it had not ended")),
        };
    }
    // The newest attempt is the one that counted.
    for stored in view.stored.iter().rev().filter(|stored| is_component(&stored.component)) {
        told.entry(stored.component.clone()).or_insert_with(|| rebuilt(session, &stored.component, stored, None));
    }
    told
}

fn is_foreign(component: &Component) -> bool {
    component.driver.as_ref().is_some_and(|driver| *driver != Driver::Holdfast)
}

fn failed(session: &str, name: &str, why: &str) -> Component {
    Component { error: Some(why.into()), phase: Some(ComponentPhase::Failed), ..blank(session, name) }
}

fn blank(session: &str, name: &str) -> Component {
    Component { path: Some(names::component_path(session, name)), driver: Some(Driver::Holdfast), ..Component::default() }
}

/// A component as its backup would have shown it.
fn rebuilt(session: &str, name: &str, stored: &StoredSnapshot, size: Option<&str>) -> Component {
    let taken_ms = u64::try_from(stored.ended_unix_ms.saturating_sub(stored.started_unix_ms)).unwrap_or(0);
    let stats = stored.sources.iter().map(|source| BackupSummary {
        id: Some(stored.id.clone()),
        host_path: Some(source.container_path.clone()),
        size: Some(size::format(source.bytes)),
        uploaded: Some(size::format(source.bytes_added)),
        start_time: time(source.started_unix_ms),
        end_time: time(source.ended_unix_ms),
    });
    Component {
        phase: Some(ComponentPhase::Succeeded),
        duration: Some(duration::format(Duration::from_millis(taken_ms))),
        size: size.and_then(size::parse).map(size::format),
        restic_stats: stats.map(|summary| ResticStats { summary: Some(summary), progress: None }).collect(),
        ..blank(session, name)
    }
}

fn time(unix_ms: i64) -> Option<Time> {
    Timestamp::from_millisecond(unix_ms).ok().filter(|_| unix_ms > 0).map(Time)
}

fn status(view: &ReadView, told: Option<&Snapshot>, components: BTreeMap<String, Component>, now: Timestamp) -> Result<SnapshotStatus, String> {
    let before = told.and_then(|told| told.status.as_ref());
    let has_ended = before.and_then(|status| status.phase).is_some_and(SnapshotPhase::is_terminal);
    if view.stored.is_empty() && !has_ended {
        return Err("it had not ended".into());
    }
    let is_held = |component: &Component| component.phase == Some(ComponentPhase::Succeeded);
    let was_good = before.and_then(|status| status.phase) == Some(SnapshotPhase::Succeeded);
    if was_good && !components.values().any(is_held) {
        return Err("the repository holds nothing of it (any more)".into());
    }
    let expected = before.and_then(|status| status.total_components).map_or(0, |total| usize::try_from(total).unwrap_or(usize::MAX));
    let is_whole = !components.is_empty() && components.len() >= expected && components.values().all(is_held);
    // Where only a view tells of it, its word counts; nothing follows from that here but what is shown.
    let is_good = is_whole && (was_good || !view.stored.is_empty());
    let taken = view.stored.iter().map(|stored| stored.ended_unix_ms).max().and_then(time);
    let taken = taken.or(before.and_then(|status| status.snapshot_time.clone()));
    let latest = now.checked_add(jiff::SignedDuration::from_secs(AHEAD_S_MAX)).unwrap_or(Timestamp::MAX);
    let taken = taken.filter(|Time(taken)| *taken <= latest).ok_or("it has no time, or one that has not come yet")?;
    let mut status = SnapshotStatus {
        phase: Some(if is_good { SnapshotPhase::Succeeded } else { SnapshotPhase::Failed }),
        size: before.and_then(|status| size::parse(status.size.as_deref()?)).map(size::format),
        snapshot_time: Some(taken.clone()),
        last_update_time: Some(Time(now)),
        total_components: i32::try_from(components.len().max(expected)).ok(),
        components,
        ..SnapshotStatus::default()
    };
    say(view, told.is_some(), &mut status, now);
    Ok(status)
}

fn say(view: &ReadView, has_view: bool, status: &mut SnapshotStatus, now: Timestamp) {
    let uploaded = if has_view {
        Condition::new(kinds::SNAPSHOT_METADATA_UPLOADED, true, kinds::SUCCESSFULLY_UPLOADED_SNAPSHOT_METADATA, "", now)
    } else {
        let message = "its view is lost or damaged: this is what the repository itself holds";
        Condition::new(kinds::SNAPSHOT_METADATA_UPLOADED, false, reasons::VIEW_LOST, message, now)
    };
    condition::set(&mut status.conditions, uploaded);
    let held = |stored: &&StoredSnapshot| status.components.get(&stored.component).and_then(engine_snapshot) == Some(&stored.id);
    let gaps = view.stored.iter().filter(held).filter(|stored| stored.unreadable_count > 0);
    let gaps: Vec<String> =
        gaps.map(|stored| format!("component {}: {} files could not be read", stored.component, stored.unreadable_count)).collect();
    if !gaps.is_empty() {
        let named = Condition::new(kinds::FILES_UNREADABLE, true, kinds::SOME_FILES_COULD_NOT_BE_READ, gaps.join("; "), now);
        condition::set(&mut status.conditions, named);
    }
}

fn object(name: &str, repository: &Repository, session: Option<String>, app: TypedObjectReference, told: SnapshotSpec) -> Snapshot {
    let owner = repository.metadata.name.clone().unwrap_or_default();
    let namespace = repository.metadata.namespace.clone().unwrap_or_default();
    let storage = storage_of(repository, &Named::new(&namespace, &owner)).map(|storage| storage.to_string()).unwrap_or_default();
    let is_id = |id: &String| id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mut snapshot = Snapshot::new(
        name,
        SnapshotSpec {
            snapshot_id: told.snapshot_id.filter(is_id),
            type_: told.type_.filter(|kind| is_word(kind)).or(Some("FullBackup".into())),
            repository: Some(owner.clone()),
            session,
            backup_session: told.backup_session.filter(|session| is_name(session)),
            version: Some(names::LAYOUT_VERSION.into()),
            app_ref: Some(app.clone()),
            // Nothing that is read back removes anything.
            deletion_policy: None,
            paused: None,
        },
    );
    snapshot.metadata.namespace = Some(namespace);
    let mut all = labels::of_snapshot(&owner, &app);
    all.retain(|_, value| is_word(value));
    snapshot.metadata.labels = Some(all);
    snapshot.metadata.annotations = Some([(FROM.to_owned(), storage)].into());
    snapshot.metadata.owner_references = Some(vec![OwnerReference {
        api_version: Repository::API_VERSION.into(),
        kind: Repository::KIND.into(),
        name: owner,
        uid: repository.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }]);
    snapshot
}
