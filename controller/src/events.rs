//! Events for people, published beside the work: a slow API server never holds a backup back for one.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::action::Note;

/// Events that wait; what does not fit is dropped and logged.
const WAITING_MAX: usize = 1024;
/// Kubernetes' limit for a note, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// Where events go in.
#[derive(Clone)]
pub struct Events(mpsc::Sender<(ObjectReference, Note)>);

impl Events {
    /// A publisher, and the future that does the publishing until every clone is gone.
    pub fn new(client: kube::Client, identity: &str) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Note)>(WAITING_MAX);
        let reporter = Reporter { controller: "holdfast-controller".into(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(client, reporter);
        let publish = async move {
            while let Some((object, note)) = receiver.recv().await {
                let event = Event {
                    type_: if note.warning { EventType::Warning } else { EventType::Normal },
                    action: note.reason.clone(),
                    reason: note.reason,
                    note: Some(cut(note.message)),
                    secondary: None,
                };
                if let Err(error) = recorder.publish(&event, &object).await {
                    tracing::debug!(%error, object = object.name.as_deref().unwrap_or_default(), "an Event was not published");
                }
            }
        };
        (Self(sender), publish)
    }

    /// Publishes a note about an object.
    pub fn publish(&self, object: ObjectReference, note: Note) {
        if self.0.try_send((object, note)).is_err() {
            tracing::debug!("an Event was dropped: too many wait");
        }
    }
}

/// The first of some names, and how many more there are.
pub fn first_of(names: &[&str], most: usize) -> String {
    let first = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn cut(mut note: String) -> String {
    if note.len() > NOTE_BYTES_MAX {
        let end = (0..=NOTE_BYTES_MAX - 3).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
        note.truncate(end);
        note.push_str("...");
    }
    note
}
