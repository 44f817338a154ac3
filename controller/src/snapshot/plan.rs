//! What a snapshot needs: components found, backed up, summed up, its views written; or all of it stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::condition::kinds::{repository as repository_kinds, snapshot as kinds};
use holdfast_api::condition::{self, Condition};
use holdfast_api::names::component;
use holdfast_api::phase;
use holdfast_api::retention;
use holdfast_api::repository::{Repository, RepositoryPhase};
use holdfast_api::snapshot::{Component, ComponentPhase, Snapshot, SnapshotPhase, SnapshotStatus};
use holdfast_proto::v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Observed, VIEWS, deletion, has_ended, manifests, result, takeover, waiting};
use crate::action::Action;
use crate::backup_session::claims;
use crate::backup_session::plan::is_cancelled;
use crate::backup_session::retention::bytes;
use crate::dispatch::assign::storage_of;
use crate::dispatch::task::{Class, FREE_SLOT, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::first_use;
use crate::object::{Key, Kind, Named};
use crate::read_back;
use crate::repository::{statistics, views};
use crate::target::{Access, Reach};
use crate::work::pod::Seen;

/// How long a backup waits for a pod that mounts its volume: a node may be drained meanwhile.
const VOLUME_PATIENCE: Duration = Duration::from_secs(300);
/// How long it waits for its repository to be opened.
const REPOSITORY_PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// Attempts after failures that another attempt may mend.
const RETRIES_MAX: u32 = 2;
/// Attempts to write the views.
const VIEW_RETRIES_MAX: u32 = 4;

/// Whether nothing is left to do.
pub fn is_settled(snapshot: &Snapshot) -> bool {
    snapshot.metadata.deletion_timestamp.is_some()
        || has_ended(snapshot)
        || snapshot.spec.backup_session.is_none()
        // Its status is on the way; until then it must not look like a backup that nobody wants any more.
        || read_back::is_read_back(&snapshot.metadata)
}

/// Whether every component of a snapshot that has not ended itself has, or has a result.
pub(super) fn has_ended_components(observed: &Observed) -> bool {
    let has_result = |name: &String| {
        matches!(observed.tasks.get(name), Some(TaskView::Finished { .. }))
            || observed.pods.get(name).is_some_and(Seen::has_ended)
    };
    match observed.snapshot.status.as_ref().filter(|status| status.total_components.is_some()) {
        Some(status) => {
            status.components.iter().all(|(name, component)| component.phase.is_some_and(ComponentPhase::is_terminal) || has_result(name))
        }
        // It was over before they were written down.
        None => !observed.reaches.is_empty() && observed.reaches.keys().all(has_result),
    }
}

/// What is to be done about a snapshot.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let snapshot = &observed.snapshot;
    if let Some(actions) = deletion::plan(observed) {
        return actions;
    }
    if is_settled(snapshot) {
        return vec![Action::Tasks(Vec::new())];
    }
    // Deleted, or ended without this snapshot, or its repository goes: cancelled. Nothing of it stays, nor of what some of its
    // components have stored.
    let cancelled = observed
        .session
        .as_ref()
        .is_none_or(|session| session.metadata.deletion_timestamp.is_some() || claims::has_ended(session) || is_cancelled(session))
        || observed.repository.as_ref().is_some_and(|repository| repository.metadata.deletion_timestamp.is_some());
    if cancelled {
        let mut actions: Vec<Action> = deletion::record(observed).into_iter().collect();
        actions.extend([Action::Tasks(Vec::new()), delete(snapshot)]);
        return actions;
    }
    // What runs goes on; nothing begins, and what has ended is taken note of when it is resumed.
    if snapshot.spec.paused == Some(true) {
        let pods = observed.pods.values().filter(|pod| pod.standing.is_some()).map(Seen::wanted);
        return vec![Action::Tasks(takeover::begun(observed).into_iter().chain(pods).collect())];
    }
    if observed.is_held {
        return Vec::new();
    }
    let mut status = snapshot.status.clone().unwrap_or_default();
    let mut run = Pass { observed, now, events: Vec::new(), unreadable: Vec::new(), waits: Vec::new(), wanted: Vec::new(), has_running_pods: false, later: None };
    if status.total_components.is_none() && !run.find_components(&mut status) {
        run.note_waiting(&mut status);
        return run.finish(Some(status));
    }
    let names: Vec<String> = status.components.keys().cloned().collect();
    for name in names {
        if let Some(component) = status.components.get_mut(&name) {
            run.advance(&name, component);
        }
    }
    run.name_unreadable(&mut status);
    run.note_waiting(&mut status);
    status.last_update_time = snapshot.status.as_ref().and_then(|status| status.last_update_time.clone());
    let have_ended = status.components.values().all(|component| component.phase.is_some_and(ComponentPhase::is_terminal));
    if have_ended && !run.has_running_pods {
        if !run.write_views(&mut status) {
            // The results stay with the dispatcher until one write says it all.
            return run.finish(None);
        }
    } else {
        status.phase = Some(phase::snapshot(&status));
    }
    run.finish(Some(status))
}

fn delete(snapshot: &Snapshot) -> Action {
    let metadata = &snapshot.metadata;
    Action::Delete {
        key: Key::of(Kind::Snapshot, metadata),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

/// One pass over a snapshot that goes on.
pub(super) struct Pass<'a> {
    pub(super) observed: &'a Observed,
    now: Timestamp,
    pub(super) events: Vec<Action>,
    /// What components that ended in this pass could not read.
    unreadable: Vec<String>,
    /// What components wait for that have not begun.
    waits: Vec<String>,
    pub(super) wanted: Vec<Wanted>,
    /// Whether pods run whose components have ended already.
    pub(super) has_running_pods: bool,
    later: Option<Duration>,
}

impl Pass<'_> {
    /// Names the components; false while the target is not there to say which they are.
    fn find_components(&mut self, status: &mut SnapshotStatus) -> bool {
        let session = self.observed.snapshot.spec.session.clone().unwrap_or_default();
        let mut found: BTreeMap<String, Component> = BTreeMap::new();
        match &self.observed.job {
            Err(problem) => {
                let mut failed = result::pending(&session, component::DUMP);
                result::fail(&mut failed, problem.clone());
                found.insert(component::DUMP.into(), failed);
            }
            Ok(_) if !self.observed.target_found && self.is_patient() => {
                let why = self.observed.reaches.values().find_map(|reach| if let Reach::Waiting(why) = reach { Some(why.clone()) } else { None });
                if let Some(why) = why {
                    self.wait_for(why);
                }
                return false;
            }
            Ok(_) => {
                for name in self.observed.reaches.keys() {
                    let pod = self.observed.job.as_ref().ok().and_then(|job| job.pod(name));
                    let pending = pod.map_or_else(|| result::pending(&session, name), |pod| result::pending_pod(&session, pod));
                    found.insert(name.clone(), pending);
                }
            }
        }
        status.total_components = i32::try_from(found.len()).ok();
        // A plugin may have been quicker than our write: what it says stays.
        for (name, pending) in found {
            let known = status.components.entry(name).or_insert_with(|| pending.clone());
            (known.driver, known.path) = (known.driver.take().or(pending.driver), known.path.take().or(pending.path));
        }
        true
    }

    pub(super) fn wait_for(&mut self, what: String) {
        self.waits.push(what.clone());
        self.events.push(Action::normal("Waiting", what));
        self.look_again(Duration::from_secs(5));
    }

    pub(super) fn is_patient(&self) -> bool {
        self.observed.waited < VOLUME_PATIENCE
    }

    fn note_waiting(&mut self, status: &mut SnapshotStatus) {
        let created = self.observed.snapshot.metadata.creation_timestamp.as_ref().map_or(self.now, |time| time.0);
        if let Some(after) = waiting::note(&mut status.conditions, &self.waits, created, self.now) {
            self.look_again(after);
        }
    }

    pub(super) fn look_again(&mut self, after: Duration) {
        self.later = Some(self.later.map_or(after, |later| later.min(after)));
    }

    /// A backup without some files is a success that says so for as long as the Snapshot is there; an Event is gone in an hour.
    fn name_unreadable(&mut self, status: &mut SnapshotStatus) {
        if self.unreadable.is_empty() {
            return;
        }
        let earlier = condition::get(&status.conditions, kinds::FILES_UNREADABLE).and_then(|earlier| earlier.message.clone());
        let parts: Vec<String> = earlier.into_iter().chain(self.unreadable.drain(..)).collect();
        let named =
            Condition::new(kinds::FILES_UNREADABLE, true, kinds::SOME_FILES_COULD_NOT_BE_READ, parts.join("; "), self.now);
        condition::set(&mut status.conditions, named);
    }

    /// Brings one component on.
    fn advance(&mut self, name: &str, component: &mut Component) {
        if let Some(pod) = self.observed.pods.get(name) {
            return self.advance_pod(name, component, pod);
        }
        if self.is_a_plugins_own(name) {
            return;
        }
        if component.phase.is_some_and(ComponentPhase::is_terminal) {
            return;
        }
        let mut again_after = None;
        match self.observed.tasks.get(name) {
            Some(TaskView::Finished { attempt, retries, elapsed_ms, outcome }) => match outcome.as_ref() {
                Outcome::Backup(done) => {
                    result::succeed(component, done, *elapsed_ms);
                    self.unreadable.extend(result::unreadable(name, done));
                    let remarks = result::remarks(name, done);
                    self.events.extend(remarks.into_iter().map(|(reason, message)| Action::warning(reason, message)));
                    self.wanted.push(Wanted::Keep(name.to_owned()));
                    return;
                }
                other => {
                    let (message, may_help) = other.problem();
                    if !may_help || *retries >= RETRIES_MAX {
                        result::fail(component, message);
                        self.wanted.push(Wanted::Keep(name.to_owned()));
                        return;
                    }
                    self.events.push(Action::warning("Retrying", format!("component {name}: {message}")));
                    again_after = Some(*attempt);
                }
            },
            Some(TaskView::Running { progress, .. }) => {
                component.phase = Some(ComponentPhase::Running);
                result::show_progress(component, progress.as_ref());
            }
            Some(TaskView::Waiting(why)) => {
                let what = format!("component {name}: {why}");
                if component.phase == Some(ComponentPhase::Pending) {
                    self.waits.push(what.clone());
                }
                if why != FREE_SLOT {
                    self.events.push(Action::normal("Waiting", what));
                }
            }
            None => {
                if self.leave(name, component) {
                    return;
                }
            }
        }
        // A result is taken however late it is looked at; this one is here, and has only to be asked for.
        let is_brought = self.observed.brought.ended.contains(name);
        if let Some(reason) = self.timed_out().filter(|_| !is_brought) {
            result::fail(component, reason);
            return;
        }
        self.ask_for(name, component, again_after);
    }

    pub(super) fn timed_out(&mut self) -> Option<String> {
        let deadline = self.observed.session.as_ref()?.status.as_ref()?.backup_deadline.as_ref()?.0;
        let left = deadline.duration_since(self.now);
        if left > SignedDuration::ZERO {
            self.look_again(left.unsigned_abs());
            return None;
        }
        Some("backupTimeout has passed since the first component was assigned".into())
    }

    fn ask_for(&mut self, name: &str, component: &mut Component, again_after: Option<u32>) {
        let running = matches!(self.observed.tasks.get(name), Some(TaskView::Running { .. }));
        match self.observed.reaches.get(name) {
            Some(Reach::Ready(access)) => match self.open_repository() {
                Ok(Some(storage)) => {
                    self.wanted.extend(access.held.clone().map(Wanted::Hold));
                    let request = self.request(name, access, storage, again_after);
                    self.wanted.push(Wanted::Task(Box::new(request)));
                }
                Ok(None) => self.look_again(Duration::from_secs(2)),
                Err(reason) => result::fail(component, reason),
            },
            Some(Reach::Anywhere) => match self.open_repository() {
                Ok(Some(storage)) => match manifests::request(self.observed, self.repository_name(), storage, again_after) {
                    Ok(request) => self.wanted.push(Wanted::Task(Box::new(request))),
                    Err(reason) => result::fail(component, reason),
                },
                Ok(None) => self.look_again(Duration::from_secs(2)),
                Err(reason) => result::fail(component, reason),
            },
            Some(Reach::Unmounted(wish)) if running || self.is_patient() => {
                self.wanted.push(Wanted::Hold(wish.clone()));
                if running {
                    self.wanted.push(Wanted::Keep(name.to_owned()));
                } else {
                    self.wait_for(format!("component {name}: {wish} is to run"));
                }
            }
            Some(Reach::Unmounted(wish)) => result::fail(component, format!("{wish} does not run")),
            // Its agent has been told to let go: what comes of that decides.
            Some(Reach::Waiting(_)) if running => self.wanted.push(Wanted::Keep(name.to_owned())),
            Some(Reach::Waiting(why)) if self.is_patient() => {
                self.wait_for(format!("component {name}: {why}"))
            }
            Some(Reach::Waiting(why) | Reach::Impossible(why)) => result::fail(component, why.clone()),
            None if running => self.wanted.push(Wanted::Keep(name.to_owned())),
            None => result::fail(
                component,
                self.observed
                    .job
                    .as_ref()
                    .err()
                    .cloned()
                    .unwrap_or_else(|| "the target no longer has this component".into()),
            ),
        }
    }

    /// The repository's storage once the repository is open; none while that is still to be hoped for.
    pub(super) fn open_repository(&self) -> Result<Option<Named>, String> {
        let name = self.repository_name();
        let created = self.observed.snapshot.metadata.creation_timestamp.as_ref().map_or(self.now, |time| time.0);
        let patient = self.now.duration_since(created) < REPOSITORY_PATIENCE;
        let Some(repository) = &self.observed.repository else {
            return if patient { Ok(None) } else { Err(format!("Repository {name} does not exist")) };
        };
        let status = repository.status.as_ref();
        if status.and_then(|status| status.phase) == Some(RepositoryPhase::Ready) {
            return storage_of(repository, &name).map(Some).map_err(|reason| reason.to_string());
        }
        if patient {
            return Ok(None);
        }
        let condition =
            status.and_then(|status| condition::get(&status.conditions, repository_kinds::REPOSITORY_INITIALIZED));
        let why = condition
            .and_then(|condition| condition.message.clone())
            .unwrap_or_else(|| "it is not initialised yet".into());
        Err(format!("Repository {name} is not ready: {why}"))
    }

    fn repository_name(&self) -> Named {
        let snapshot = &self.observed.snapshot;
        Named::new(
            snapshot.metadata.namespace.clone().unwrap_or_default(),
            snapshot.spec.repository.clone().unwrap_or_default(),
        )
    }

    fn request(&self, name: &str, access: &Access, storage: Named, again_after: Option<u32>) -> TaskRequest {
        let snapshot = &self.observed.snapshot;
        let job = self.observed.job.as_ref().ok();
        let (run_as_user, run_as_group) = job.map(|job| job.run_as).unwrap_or_default().ids();
        let task = v1::BackupTask {
            repository: None,
            sources: access
                .volumes
                .iter()
                .map(|located| v1::VolumeSource {
                    volume: Some(located.volume.clone()),
                    path_in_volume: located.path_in_volume.clone(),
                    container_path: located.container_path.clone(),
                })
                .collect(),
            host: host(snapshot),
            session: snapshot.spec.session.clone().unwrap_or_default(),
            excludes: job.map(|job| job.exclude.clone()).unwrap_or_default(),
            labels: [
                ("snapshot".to_owned(), snapshot.metadata.name.clone().unwrap_or_default()),
                ("component".to_owned(), name.to_owned()),
            ]
            .into(),
            run_as_user,
            run_as_group,
        };
        TaskRequest {
            component: name.to_owned(),
            class: Class::Backup,
            node: Some(access.node.clone()),
            storage,
            group: snapshot.metadata.namespace.clone().unwrap_or_default(),
            persisted: None,
            again_after,
            pod_uids: vec![access.pod_uid.clone()],
            work: Work::Backup { repository: self.repository_name(), task: Box::new(task) },
        }
    }

    /// All components have ended: the views are written with the status as it will be, then the status says so.
    fn write_views(&mut self, status: &mut SnapshotStatus) -> bool {
        status.snapshot_time = status.snapshot_time.clone().or(Some(Time(self.now)));
        status.last_update_time = Some(Time(self.now));
        // The components are in one repository and share what is stored: its size is that of the last of them.
        status.size = status
            .components
            .values()
            .filter_map(|component| component.size.clone())
            .max_by_key(|size| holdfast_api::size::parse(size));
        let mut again_after = None;
        let uploaded = match self.observed.tasks.get(VIEWS) {
            Some(TaskView::Finished { attempt, retries, outcome, .. }) => match outcome.as_ref() {
                Outcome::Views(_) => Some(Ok(())),
                other => {
                    let (message, _) = other.problem();
                    again_after = Some(*attempt);
                    (*retries >= VIEW_RETRIES_MAX).then_some(Err(message))
                }
            },
            _ => None,
        };
        if let Some(uploaded) = uploaded {
            self.conclude(status, uploaded);
            return true;
        }
        let Some(storage) = self
            .observed
            .repository
            .as_ref()
            .and_then(|repository| storage_of(repository, &self.repository_name()).ok())
        else {
            let name = self.repository_name();
            self.conclude(status, Err(format!("Repository {name} does not exist")));
            return true;
        };
        if let Some(why) = self.observed.repository.as_deref().and_then(first_use::elsewhere) {
            self.conclude(status, Err(why));
            return true;
        }
        let put = self.views(status.clone());
        // Results stay until they are written down; what still runs (its time is over) stops now.
        let ended = |name: &&String| matches!(self.observed.tasks.get(*name), Some(TaskView::Finished { .. }));
        self.wanted.retain(|wanted| matches!(wanted, Wanted::Function(_)));
        self.wanted.extend(status.components.keys().filter(ended).map(|name| Wanted::Keep(name.clone())));
        self.wanted.push(Wanted::Task(Box::new(TaskRequest {
            component: VIEWS.into(),
            class: Class::Service,
            node: None,
            storage: storage.clone(),
            group: self.repository_name().namespace,
            persisted: None,
            again_after,
            pod_uids: Vec::new(),
            work: Work::Views { storage, put, remove: Vec::new() },
        })));
        false
    }

    fn conclude(&mut self, status: &mut SnapshotStatus, uploaded: Result<(), String>) {
        if let Err(message) = &uploaded {
            self.events.push(Action::warning("ViewsNotWritten", message.clone()));
        }
        self.end(status, uploaded);
        if status.phase == Some(SnapshotPhase::Succeeded) {
            self.compare(status);
        }
        self.wanted.clear();
    }

    /// The last steps, and what they amount to.
    fn end(&self, status: &mut SnapshotStatus, uploaded: Result<(), String>) {
        let (is_uploaded, reason, message) = match uploaded {
            Ok(()) => (true, kinds::SUCCESSFULLY_UPLOADED_SNAPSHOT_METADATA, String::new()),
            Err(message) => (false, kinds::FAILED_TO_UPLOAD_SNAPSHOT_METADATA, message),
        };
        let condition = Condition::new(kinds::SNAPSHOT_METADATA_UPLOADED, is_uploaded, reason, message, self.now);
        condition::set(&mut status.conditions, condition);
        self.list_as_recent(status);
        status.phase = Some(phase::snapshot(status));
    }

    /// What its repository lists is made of what its snapshots say: that this one is listed follows from its end, and is said with it.
    fn list_as_recent(&self, status: &mut SnapshotStatus) {
        if self.observed.repository.is_none() {
            return;
        }
        let (kind, reason) = (kinds::RECENT_SNAPSHOT_LIST_UPDATED, kinds::SUCCESSFULLY_UPDATED_RECENT_SNAPSHOT_LIST);
        let message = "the Repository lists it within seconds of this";
        condition::set(&mut status.conditions, Condition::new(kind, true, reason, message, self.now));
    }

    /// A volume that lost most of what it held may have been emptied by mistake: this backup is good, and says so.
    fn compare(&mut self, status: &mut SnapshotStatus) {
        let Some(before) = &self.observed.predecessor else { return };
        let now = Snapshot { status: Some(status.clone()), ..self.observed.snapshot.as_ref().clone() };
        let Some((component, had, has)) = retention::shrunk(&bytes(before), &bytes(&now)) else { return };
        let message = format!(
            "component {component} held {} in Snapshot {} and holds {}; retention holds the older Snapshots",
            holdfast_api::size::format(had),
            before.metadata.name.as_deref().unwrap_or_default(),
            holdfast_api::size::format(has),
        );
        self.events.push(Action::warning(kinds::VOLUME_SHRANK, message.clone()));
        let condition = Condition::new(kinds::VOLUME_SHRANK, true, kinds::VOLUME_SHRANK, message, self.now);
        condition::set(&mut status.conditions, condition);
    }

    fn views(&self, status: SnapshotStatus) -> Vec<v1::View> {
        let Some(repository) = &self.observed.repository else { return Vec::new() };
        let mut shown = self.observed.snapshot.as_ref().clone();
        let mut status = status;
        self.end(&mut status, Ok(()));
        shown.status = Some(status);
        let repository = with_this(repository, &shown);
        [views::snapshot(&repository, &shown), views::repository(&repository)].into_iter().flatten().collect()
    }

    fn finish(self, status: Option<SnapshotStatus>) -> Vec<Action> {
        let old = self.observed.snapshot.status.as_ref();
        let mut actions: Vec<Action> = status.and_then(|status| Action::status(old, &status)).into_iter().collect();
        actions.push(Action::Tasks(self.wanted));
        actions.extend(self.events);
        actions.extend(self.later.map(Action::Later));
        actions
    }
}

/// The repository as its status will be when this snapshot has ended: what its view says.
fn with_this(repository: &Repository, snapshot: &Snapshot) -> Repository {
    let mut shown = repository.clone();
    let status = shown.status.get_or_insert_default();
    let mut own = holdfast_api::repository::RepositoryStatus::default();
    statistics::sum_up(&mut own, &[std::sync::Arc::new(snapshot.clone())]);
    status.last_backup_time = own.last_backup_time.or(status.last_backup_time.take());
    status.size = own.size.or(status.size.take());
    for path in own.component_paths {
        if !status.component_paths.contains(&path) {
            status.component_paths.push(path);
        }
    }
    shown
}

/// `<namespace>/<kind>/<name>` of the application: what the engine finds earlier snapshots by, beside the volume's UID.
pub(super) fn host(snapshot: &Snapshot) -> String {
    let app = snapshot.spec.app_ref.clone().unwrap_or_default();
    let namespace = app.namespace.unwrap_or_else(|| snapshot.metadata.namespace.clone().unwrap_or_default());
    format!("{namespace}/{}/{}", app.kind.unwrap_or_default(), app.name)
}
