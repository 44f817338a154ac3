//! What is in a bucket becomes objects again: Repositories by their storage, Snapshots by their Repository.
//!
//! A view is an enemy's text: whoever may write to the bucket may have written it. It says which objects there were, and nothing that
//! matters follows from it: names, namespaces and sizes are looked at, a view makes objects only in the place where it lies and in the
//! namespace that it names, and what can be restored is what the repository itself vouches for, opened with its password.
//! Each page is a task of its own, whose component carries the place where it begins; nothing is kept between two of them.

use std::collections::BTreeMap;

use holdfast_api::reference::TypedObjectReference;
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::action::Action;
use crate::dispatch::task::{Class, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::object::Named;

pub mod repository;
pub mod snapshot;
#[cfg(test)]
mod tests;

/// On a BackupStorage or Repository: a time. What was read back before it is read once more.
pub const ASKED: &str = "holdfast.dev/read-back";
/// On what was read back: the storage.
pub const FROM: &str = "holdfast.dev/read-back-from";
/// Before the place where a page begins, in the name of its task.
const COMPONENT: &str = "read-back:";
/// Repositories of a storage, beyond which no view makes another: whoever may write to the bucket must not fill the cluster.
pub const REPOSITORIES_MAX: usize = 20_000;
/// Snapshots of a Repository, likewise.
pub const SNAPSHOTS_MAX: usize = 10_000;
/// Names in an Event.
pub const NAMED_MAX: usize = 10;
/// Longer than any key of an object store.
const CURSOR_BYTES_MAX: usize = 4096;
/// As Kubernetes has it.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Texts of a view that are shown.
const TEXT_CHARACTERS_MAX: usize = 512;

/// Whether an object was made from a view.
pub fn is_read_back(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(FROM))
}

/// When somebody asked for it, if that has come.
pub fn asked(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    let text = metadata.annotations.as_ref()?.get(ASKED)?;
    text.parse().ok().filter(|asked| *asked <= now)
}

/// The page that an object's tasks are at.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Behind what it begins.
    pub after: String,
    /// Its task.
    pub view: TaskView,
}

/// Takes the page out of an object's tasks.
pub fn page(tasks: &mut BTreeMap<String, TaskView>) -> Option<Page> {
    let component = tasks.keys().find(|component| component.starts_with(COMPONENT)).cloned()?;
    let view = tasks.remove(&component)?;
    Some(Page { after: component.strip_prefix(COMPONENT)?.to_owned(), view })
}

/// The page that stays wanted.
pub fn keep(page: &Page) -> Wanted {
    Wanted::Keep(format!("{COMPONENT}{}", page.after))
}

/// Asks for a page.
pub fn want(after: &str, again_after: Option<u32>, storage: Named, group: String, work: Work) -> Wanted {
    Wanted::Task(Box::new(TaskRequest {
        component: format!("{COMPONENT}{after}"),
        class: Class::Reading,
        node: None,
        storage,
        group,
        persisted: None,
        again_after,
        pod_uids: Vec::new(),
        work,
    }))
}

/// What a page's task came to.
pub enum Turn<'p> {
    /// It goes on.
    Under(Wanted),
    /// It is to be read again.
    Again(Failed),
    /// This.
    Read(&'p v1::ReadBackResult),
}

/// Why a page is to be read again.
pub struct Failed {
    /// The attempt that failed.
    pub attempt: u32,
    /// Why.
    pub message: String,
    /// What people are told.
    pub event: Option<Action>,
}

/// How a page stands.
pub fn turn(page: &Page) -> Turn<'_> {
    let TaskView::Finished { attempt, outcome, .. } = &page.view else { return Turn::Under(keep(page)) };
    let attempt = *attempt;
    match outcome.as_ref() {
        Outcome::ReadBack(result) if goes_on(&page.after, &result.next) => Turn::Read(result),
        Outcome::ReadBack(_) => {
            let message = "the agent says that the next page begins before this one".to_owned();
            Turn::Again(Failed { attempt, message, event: None })
        }
        other => {
            let (message, _) = other.problem();
            Turn::Again(Failed { attempt, event: Some(Action::warning("NotReadBack", message.clone())), message })
        }
    }
}

/// What is to be done before the status says that it was done, and the rest.
pub fn before_status(actions: Vec<Action>) -> (Vec<Action>, Vec<Action>) {
    actions.into_iter().partition(|action| matches!(action, Action::BringBack { .. } | Action::Patch { .. }))
}

/// Whether there is no next page, or it is one behind this: folder by folder, as they are walked through.
fn goes_on(after: &str, next: &str) -> bool {
    next.is_empty() || (next.len() <= CURSOR_BYTES_MAX && next.split('/').gt(after.split('/')))
}

/// The document of a view, if it is of this kind.
fn document(view: &v1::ReadView, kind: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_slice(&view.json).map_err(|error| format!("no document: {error}"))?;
    let is_ours = value["apiVersion"].as_str().is_some_and(|version| version.starts_with("storage.kubestash.com/"));
    if !is_ours || value["kind"] != kind {
        return Err(format!("it is no {kind}"));
    }
    Ok(value)
}

/// An application that can be one.
fn application(told: TypedObjectReference) -> Option<TypedObjectReference> {
    let fits = |text: &Option<String>, fits: fn(&str) -> bool| text.as_deref().is_none_or(|text| text.is_empty() || fits(text));
    let is_one = is_name(&told.name) && fits(&told.kind, is_word) && fits(&told.api_group, is_name) && fits(&told.namespace, is_namespace);
    is_one.then_some(told)
}

/// A name that an object can have.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        !part.is_empty() && letters && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_part)
}

/// A name that a namespace can have.
fn is_namespace(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && !text.contains('.') && is_name(text)
}

/// A word that can be a session's or a kind's name, or a label's value.
fn is_word(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && is_component(text)
}

/// A name that a component can have: those of a DaemonSet have their node's in it.
fn is_component(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_bounded = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= NAME_BYTES_MAX && text.bytes().all(is_letter) && is_bounded(text.bytes().next()) && is_bounded(text.bytes().last())
}

/// What a page says of views that are no views.
pub fn damage(result: &v1::ReadBackResult) -> Option<String> {
    let named: Vec<String> = result.damaged_first.iter().take(NAMED_MAX).map(|text| shown(text)).collect();
    (result.damaged_count > 0).then(|| format!("{} cannot be read: {}", result.damaged_count, named.join("; ")))
}

/// A text to be shown.
pub fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TEXT_CHARACTERS_MAX).collect()
}
