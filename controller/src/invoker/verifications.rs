//! When what an invoker has backed up is tried out: by the schedule of the verifier that each repository names.
//!
//! One annotation is the memory, as `nextSchedule` is that of the sessions; KubeStash's status has no field for it. A slot that comes
//! before there is anything to try, or while the try before still runs, stays due until it can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::backup_batch::BackupBatchStatus;
use holdfast_api::backup_verification_session::BackupVerificationSessionSpec;
use holdfast_api::condition::kinds::backup_configuration as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::{BackupVerificationSession, BackupVerifier, labels, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::{Invoker, Observed};
use crate::action::{Action, Created};
use crate::caches::Caches;
use crate::object::Named;
use crate::schedule::Schedule;
use crate::verification::{has_ended, newest_of, verifier};

/// On an invoker: JSON, `<session>/<repository>` to the time of the next try.
pub const ANNOTATION: &str = "holdfast.dev/next-verifications";

/// A repository of a session that names a verifier.
struct Wanted<'a> {
    session: &'a str,
    repository: &'a str,
    verifier: Named,
}

impl Wanted<'_> {
    fn key(&self) -> String {
        format!("{}/{}", self.session, self.repository)
    }

    /// Its verifier and that one's schedule; or what is wrong with them.
    fn usable<'o>(&self, observed: &'o Observed) -> Result<(&'o BackupVerifier, Schedule), String> {
        let found = observed.verifiers.get(&self.verifier).map(AsRef::as_ref);
        let namespace = observed.invoker.metadata().namespace.as_deref().unwrap_or_default();
        if let Some(problem) = verifier::problem(&self.verifier, found, namespace) {
            return Err(problem);
        }
        let scheduler = found.and_then(|found| found.spec.scheduler.as_ref());
        let (Some(found), Some(scheduler)) = (found, scheduler) else { return Err(format!("BackupVerifier {} has no schedule", self.verifier)) };
        match Schedule::parse(&scheduler.schedule, &observed.time_zone) {
            Ok(schedule) => Ok((found, schedule)),
            Err(error) => Err(format!("BackupVerifier {}: spec.scheduler.schedule: {error}", self.verifier)),
        }
    }
}

fn wanted(invoker: &Invoker) -> Vec<Wanted<'_>> {
    let own = invoker.metadata().namespace.as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for session in invoker.sessions() {
        let Some(name) = session.name else { continue };
        all.extend(session.repositories().filter_map(|(_, reference)| {
            let verifier = reference.backup_verifier.as_ref()?;
            let verifier = Named::new(verifier.namespace_or(own), &verifier.name);
            Some(Wanted { session: name, repository: reference.name.as_deref()?, verifier })
        }));
    }
    all
}

/// The verifiers that it names and that exist.
pub(super) fn verifiers(caches: &Caches, invoker: &Invoker) -> BTreeMap<Named, Arc<BackupVerifier>> {
    let named = wanted(invoker).into_iter().map(|wanted| wanted.verifier);
    named.filter_map(|name| caches.verifiers.get(&name.namespace, &name.name).map(|found| (name, found))).collect()
}

/// What could be tried now, of that which is due: only then is it looked for.
pub(super) fn newest(caches: &Caches, invoker: &Invoker, now: Timestamp) -> BTreeMap<String, String> {
    let tries = Tries::of(invoker.metadata());
    let own = invoker.metadata().namespace.as_deref().unwrap_or_default();
    let all = wanted(invoker);
    let due = all.iter().filter(|wanted| tries.next.get(&wanted.key()).is_some_and(|slot| *slot <= now));
    due.filter_map(|wanted| Some((wanted.key(), newest_of(caches, own, wanted.repository, Some(wanted.session))?))).collect()
}

/// Whether backups in a repository are tried out; nothing if nobody asked for it.
pub(super) fn is_configured(observed: &Observed, repository: &str) -> Option<bool> {
    let all = wanted(&observed.effective);
    let mut of_repository = all.iter().filter(|wanted| wanted.repository == repository).peekable();
    of_repository.peek()?;
    Some(of_repository.all(|wanted| wanted.usable(observed).is_ok()))
}

/// The next try of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tries {
    next: BTreeMap<String, Timestamp>,
}

impl Tries {
    /// As an invoker remembers them. What cannot be read is forgotten: then the next slot counts.
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
        Self { next: text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default() }
    }

    /// The write that makes an invoker remember them, if it does not.
    pub(super) fn write(&self, invoker: &Invoker) -> Option<Action> {
        let metadata = invoker.metadata();
        if *self == Self::of(metadata) {
            return None;
        }
        // Plain data: there is nothing that could not be written.
        let text = if self.next.is_empty() { None } else { serde_json::to_string(&self.next).ok() };
        Some(Action::Patch {
            key: invoker.key(),
            resource_version: metadata.resource_version.clone(),
            patch: json!({"metadata": {"annotations": {ANNOTATION: text}}}),
        })
    }

    /// Says of each session whether its verifiers can do their work, and when they do it next. What cannot be done keeps its slot: it is
    /// made up for when it can.
    pub(super) fn ensure(&mut self, observed: &Observed, status: &mut BackupBatchStatus, now: Timestamp) -> Vec<Action> {
        let all = wanted(&observed.effective);
        self.next.retain(|key, _| all.iter().any(|wanted| wanted.key() == *key));
        let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for wanted in &all {
            let problems = problems.entry(wanted.session).or_default();
            match wanted.usable(observed) {
                Ok((_, schedule)) => {
                    let kept = schedule.kept(self.next.get(&wanted.key()).copied(), now);
                    self.note(wanted, kept);
                }
                Err(problem) => problems.push(format!("Repository {}: {problem}", wanted.repository)),
            }
        }
        let mut events = Vec::new();
        for known in &mut status.sessions {
            let name = known.name.as_deref().unwrap_or_default();
            let condition = match problems.get(name).map(|problems| problems.join("; ")) {
                None => {
                    condition::remove(&mut known.conditions, kinds::VERIFICATION_SCHEDULED);
                    continue;
                }
                Some(problem) if problem.is_empty() => Condition::new(kinds::VERIFICATION_SCHEDULED, true, kinds::VERIFICATION_SCHEDULED, "", now),
                Some(problem) => {
                    events.push(Action::warning(kinds::VERIFIER_NOT_USABLE, format!("session {name}: backups are not tried out: {problem}")));
                    Condition::new(kinds::VERIFICATION_SCHEDULED, false, kinds::VERIFIER_NOT_USABLE, problem, now)
                }
            };
            condition::set(&mut known.conditions, condition);
        }
        events
    }

    fn note(&mut self, wanted: &Wanted<'_>, slot: Option<Timestamp>) {
        match slot {
            Some(slot) => self.next.insert(wanted.key(), slot),
            None => self.next.remove(&wanted.key()),
        };
    }

    /// The tries that are due, and when to look again.
    pub(super) fn trigger(&mut self, observed: &Observed, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if observed.invoker.is_paused() {
            // The slots stay where they are: what was missed is made up for once when the pause is over.
            return actions;
        }
        for wanted in &wanted(&observed.effective) {
            let Ok((verifier, schedule)) = wanted.usable(observed) else { continue };
            let Some(first) = self.next.get(&wanted.key()).copied() else { continue };
            let scheduler = verifier.spec.scheduler.as_ref();
            if scheduler.and_then(|scheduler| scheduler.suspend) == Some(true) {
                continue;
            }
            let late_seconds_max = scheduler.and_then(|scheduler| scheduler.starting_deadline_seconds);
            let Some(due) = schedule.due(first, late_seconds_max, now) else {
                actions.push(Action::at(first, now));
                continue;
            };
            // The end of a backup, and of the try before, wakes the invoker.
            let Some(snapshot) = observed.newest.get(&wanted.key()).filter(|_| !is_running(observed, wanted)) else { continue };
            self.note(wanted, due.next);
            actions.extend(due.next.map(|next| Action::at(next, now)));
            if due.is_too_late {
                let (repository, slot) = (wanted.repository, due.slot);
                let what = format!("a try of Repository {repository} was due at {slot}, later than its startingDeadlineSeconds allow");
                actions.push(Action::warning("MissedVerification", what));
                continue;
            }
            actions.push(begin(observed, wanted, verifier, snapshot, due.slot));
        }
        actions
    }
}

fn is_running(observed: &Observed, wanted: &Wanted<'_>) -> bool {
    observed.verifications.iter().any(|session| {
        session.spec.repository.as_deref() == Some(wanted.repository) && session.spec.session.as_deref() == Some(wanted.session) && !has_ended(session)
    })
}

/// Its name follows from the slot: no slot is tried twice, whatever crashes in between.
fn begin(observed: &Observed, wanted: &Wanted<'_>, verifier: &BackupVerifier, snapshot: &str, slot: Timestamp) -> Action {
    let key = observed.invoker.key();
    let spec = BackupVerificationSessionSpec {
        invoker: Some(observed.invoker.reference()),
        session: Some(wanted.session.to_owned()),
        repository: Some(wanted.repository.to_owned()),
        snapshot: Some(snapshot.to_owned()),
        retry_left: verifier.spec.retry_config.as_ref().map(|retry| retry.max_retry.unwrap_or(1)),
    };
    let mut session = BackupVerificationSession::new(&names::backup_verification_session(wanted.repository, wanted.session, slot), spec);
    let mut all = labels::of_invoker(key.kind.as_str(), &key.namespace, &key.name);
    all.insert(labels::SESSION_NAME.into(), names::bounded(wanted.session));
    all.insert(labels::REPOSITORY_NAME.into(), names::bounded(wanted.repository));
    session.metadata.labels = Some(all);
    session.metadata.namespace = Some(key.namespace);
    session.metadata.owner_references = Some(vec![observed.invoker.owner_reference()]);
    Action::Create(Box::new(Created::Verification(session)))
}
