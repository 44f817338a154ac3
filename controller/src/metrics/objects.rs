//! KubeStash's metrics of its kinds, with its names and labels, and `namespace`. Those of single Snapshots are left out: a cluster has tens of
//! thousands, and what alerts need of them is at their Repository.

use holdfast_api::condition::{self, Condition};
use holdfast_api::reference::TypedObjectReference;
use holdfast_api::{BackupConfiguration, BackupSession, BackupStorage, Repository, RestoreSession, duration, size};
use holdfast_api::condition::kinds::backup_session as session_kinds;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;
use serde_json::Value;

use super::family::{Family, Labels};
use crate::caches::Caches;

pub(super) fn all(caches: &Caches) -> Vec<Family> {
    let mut families = configurations(caches.configurations.select(|_| true).iter().map(AsRef::as_ref));
    families.extend(sessions(caches.sessions.select(|_| true).iter().map(AsRef::as_ref)));
    families.extend(restores(caches.restores.select(|_| true).iter().map(AsRef::as_ref)));
    families.extend(repositories(caches.repositories.select(|_| true).iter().map(AsRef::as_ref)));
    families.extend(storages(caches.storages.select(|_| true).iter().map(AsRef::as_ref)));
    families
}

pub(super) fn configurations<'a>(objects: impl Iterator<Item = &'a BackupConfiguration>) -> Vec<Family> {
    let mut basics = Basics::new("core_kubestash_com_backupconfiguration", "BackupConfiguration", &["Ready", "NotReady", "Invalid"]);
    let mut sessions = Family::new("core_kubestash_com_backupconfiguration_sessions", "Sessions of this BackupConfiguration");
    let mut held = Family::new("holdfast_snapshots_held", "Whether older Snapshots stay because a volume suddenly shrank, until a person releases them");
    for object in objects {
        let mut common = labels(&object.metadata, "backup_invoker_kind", "backup_invoker_name", BackupConfiguration::KIND);
        target(&mut common, object.spec.target.as_ref());
        basics.add(&common, &object.metadata, object.status.as_ref().map(|status| (&status.phase, status.conditions.as_slice())));
        for session in &object.spec.sessions {
            let schedule = session.scheduler.as_ref().map(|scheduler| scheduler.schedule.as_str()).unwrap_or_default();
            let addon = session.addon.as_ref().and_then(|addon| addon.name.as_deref()).unwrap_or_default();
            let own = [("session_name", session.name.as_deref().unwrap_or_default()), ("schedule", schedule), ("addon_name", addon)];
            sessions.add(&common, &own, Some(1.0));
        }
        if let Some(status) = &object.status {
            let is_held = condition::is_true(&status.conditions, session_kinds::SNAPSHOTS_HELD);
            held.add(&common, &[], Some(f64::from(u8::from(is_held))));
        }
    }
    basics.with([sessions, held])
}

pub(super) fn sessions<'a>(objects: impl Iterator<Item = &'a BackupSession>) -> Vec<Family> {
    let mut basics = Basics::new("core_kubestash_com_backupsession", "BackupSession", &["Pending", "Running", "Succeeded", "Failed", "Skipped"]);
    let mut info = Family::new("core_kubestash_com_backupsession_info", "General information about this BackupSession");
    let mut took = Family::new("core_kubestash_com_backupsession_duration_seconds", "Time that this backup took");
    for object in objects {
        let mut common = labels(&object.metadata, "invoker_kind", "invoker_name", BackupSession::KIND);
        let owner = object.spec.invoker.as_ref();
        common.push(("owner_kind", owner.map(|owner| owner.kind.clone()).unwrap_or_default()));
        common.push(("owner_name", owner.map(|owner| owner.name.clone()).unwrap_or_default()));
        basics.add(&common, &object.metadata, object.status.as_ref().map(|status| (&status.phase, status.conditions.as_slice())));
        let Some(status) = &object.status else { continue };
        let present = word(&status.phase);
        let session = object.spec.session.as_deref().unwrap_or_default();
        info.add(&common, &[("session", session), ("phase", present.as_deref().unwrap_or_default())], Some(1.0));
        took.add(&common, &[], seconds(status.duration.as_deref()));
    }
    basics.with([info, took])
}

pub(super) fn restores<'a>(objects: impl Iterator<Item = &'a RestoreSession>) -> Vec<Family> {
    let mut basics = Basics::new("core_kubestash_com_restoresession", "RestoreSession", &["Pending", "Running", "Succeeded", "Failed", "Invalid", "Unknown"]);
    let mut info = Family::new("core_kubestash_com_restoresession_info", "General information about this RestoreSession");
    let mut took = Family::new("core_kubestash_com_restoresession_duration_seconds", "Time that this restore took");
    let mut components = Family::new("core_kubestash_com_restoresession_component_count_total", "Number of components of this RestoreSession");
    for object in objects {
        let mut common = labels(&object.metadata, "invoker_kind", "invoker_name", RestoreSession::KIND);
        target(&mut common, object.spec.target.as_ref());
        basics.add(&common, &object.metadata, object.status.as_ref().map(|status| (&status.phase, status.conditions.as_slice())));
        let Some(status) = &object.status else { continue };
        let present = word(&status.phase);
        let source = object.spec.data_source.as_ref();
        let of_source = |text: Option<&String>| text.cloned().unwrap_or_default();
        let own = [
            ("datasource_namespace", &*of_source(source.and_then(|source| source.namespace.as_ref()))),
            ("repository", &*of_source(source.and_then(|source| source.repository.as_ref()))),
            ("snapshot", &*of_source(source.and_then(|source| source.snapshot.as_ref()))),
            ("addon_name", object.spec.addon.as_ref().and_then(|addon| addon.name.as_deref()).unwrap_or_default()),
            ("phase", present.as_deref().unwrap_or_default()),
        ];
        info.add(&common, &own, Some(1.0));
        took.add(&common, &[], seconds(status.duration.as_deref()));
        components.add(&common, &[], status.total_components.map(f64::from));
    }
    basics.with([info, took, components])
}

pub(super) fn repositories<'a>(objects: impl Iterator<Item = &'a Repository>) -> Vec<Family> {
    let mut basics = Basics::new("storage_kubestash_com_repository", "Repository", &[]);
    let mut info = Family::new("storage_kubestash_com_repository_info", "General information about this Repository");
    let mut last = Family::new("storage_kubestash_com_repository_last_successful_backup", "Last successful backup stored in this Repository");
    let mut bytes = Family::new("storage_kubestash_com_repository_size_bytes", "Data stored in this Repository");
    let mut count = Family::new("storage_kubestash_com_repository_snapshot_count_total", "Number of Snapshots in this Repository");
    for object in objects {
        let mut common = labels(&object.metadata, "invoker_kind", "invoker_name", "Repository");
        target(&mut common, object.spec.app_ref.as_ref());
        basics.add(&common, &object.metadata, object.status.as_ref().map(|status| (&status.phase, status.conditions.as_slice())));
        let Some(status) = &object.status else { continue };
        let integrity = status.integrity.map(|whole| whole.to_string()).unwrap_or_default();
        let present = word(&status.phase).unwrap_or_default();
        info.add(&common, &[("path", object.spec.path.as_deref().unwrap_or_default()), ("phase", &present), ("integrity", &integrity)], Some(1.0));
        last.add(&common, &[], status.last_backup_time.as_ref().map(unix_seconds));
        bytes.add(&common, &[], size_of(status.size.as_deref()));
        count.add(&common, &[], status.snapshot_count.map(f64::from));
    }
    basics.with([info, last, bytes, count])
}

pub(super) fn storages<'a>(objects: impl Iterator<Item = &'a BackupStorage>) -> Vec<Family> {
    let mut basics = Basics::new("storage_kubestash_com_backupstorage", "BackupStorage", &["Ready", "NotReady"]);
    let mut bytes = Family::new("storage_kubestash_com_backupstorage_size_bytes", "Data stored in this BackupStorage");
    for object in objects {
        let common = labels(&object.metadata, "invoker_kind", "invoker_name", "BackupStorage");
        basics.add(&common, &object.metadata, object.status.as_ref().map(|status| (&status.phase, status.conditions.as_slice())));
        let Some(status) = &object.status else { continue };
        bytes.add(&common, &[], size_of(status.total_size.as_deref()));
    }
    basics.with([bytes])
}

/// What is said of every kind: when an object was created, its phase, its conditions.
struct Basics {
    created: Family,
    phase: Family,
    conditions: Family,
    phases: &'static [&'static str],
}

impl Basics {
    fn new(prefix: &str, kind: &str, phases: &'static [&'static str]) -> Self {
        Self {
            created: Family::new(format!("{prefix}_created"), format!("Unix creation timestamp of this {kind} object")),
            phase: Family::new(format!("{prefix}_phase"), format!("Current phase of this {kind}")),
            conditions: Family::new(format!("{prefix}_conditions"), format!("Current conditions of this {kind}")),
            phases,
        }
    }

    fn add<P: Serialize>(&mut self, common: &Labels, metadata: &ObjectMeta, status: Option<(&Option<P>, &[Condition])>) {
        self.created.add(common, &[], metadata.creation_timestamp.as_ref().map(unix_seconds));
        if let Some((phase, conditions)) = status {
            self.phase.add_states(common, self.phases, word(phase).as_deref());
            self.conditions.add_conditions(common, conditions);
        }
    }

    /// These, and those of the kind alone.
    fn with(self, own: impl IntoIterator<Item = Family>) -> Vec<Family> {
        [self.created, self.phase, self.conditions].into_iter().chain(own).collect()
    }
}

fn labels(metadata: &ObjectMeta, kind: &'static str, name: &'static str, value: &str) -> Labels {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    vec![("namespace", namespace), (kind, value.to_owned()), (name, metadata.name.clone().unwrap_or_default())]
}

fn target(labels: &mut Labels, target: Option<&TypedObjectReference>) {
    let of = |text: Option<&String>| text.cloned().unwrap_or_default();
    labels.push(("target_kind", of(target.and_then(|target| target.kind.as_ref()))));
    labels.push(("target_name", target.map(|target| target.name.clone()).unwrap_or_default()));
    labels.push(("target_namespace", of(target.and_then(|target| target.namespace.as_ref()))));
}

/// A phase as it stands in the object.
fn word(phase: &Option<impl Serialize>) -> Option<String> {
    match serde_json::to_value(phase) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

fn unix_seconds(time: &Time) -> f64 {
    time.0.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

fn seconds(text: Option<&str>) -> Option<f64> {
    duration::parse(text?).ok().map(|taken| taken.as_secs_f64())
}

fn size_of(text: Option<&str>) -> Option<f64> {
    size::parse(text?).map(|bytes| bytes as f64)
}
