//! Lists: filtered, paged, at a revision.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    failure::Failure,
    kind::Kind,
    metadata,
    request::Query,
    selector::Selector,
    state::{Continuation, State, random},
};

/// The list's body.
pub(crate) fn list(
    state: &mut State,
    kind: &Kind,
    namespace: Option<&str>,
    query: &Query,
    metadata_only: bool,
) -> Result<Value, Failure> {
    let (revision, mut objects) = match &query.continue_token {
        Some(token) => resume(state, token)?,
        None => {
            check_revision(state, query)?;
            let selector = selector(kind, query)?;
            let mut objects = state.store.list(&kind.group_resource(), namespace);
            objects.retain(|object| selector.matches(object));
            (state.store.revision(), objects)
        }
    };
    let mut list_metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(limit) = query.limit.filter(|limit| *limit < objects.len()) {
        let rest = objects.split_off(limit);
        let token = metadata::generate_uid(random);
        list_metadata["continue"] = json!(token);
        if query.label_selector.is_none() && query.field_selector.is_none() {
            list_metadata["remainingItemCount"] = json!(rest.len());
        }
        state.remember(Continuation {
            token,
            revision,
            rest,
        });
    }
    let items: Vec<Value> = objects
        .iter()
        .map(|object| shown(object, metadata_only))
        .collect();
    let (api_version, name) = if metadata_only {
        (
            "meta.k8s.io/v1".to_owned(),
            "PartialObjectMetadataList".to_owned(),
        )
    } else {
        (kind.api_version(), format!("{}List", kind.kind))
    };
    Ok(json!({"apiVersion": api_version, "kind": name, "metadata": list_metadata, "items": items}))
}

pub(crate) fn selector(kind: &Kind, query: &Query) -> Result<Selector, Failure> {
    Selector::parse(
        kind,
        query.label_selector.as_deref(),
        query.field_selector.as_deref(),
    )
}

/// The object, or its metadata only.
pub(crate) fn shown(object: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
    } else {
        object.clone()
    }
}

pub(crate) fn parse_revision(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::bad_request(format!("invalid resource version {text:?}")))
}

/// This server has one state, the newest: an older one is gone, a newer one has not come.
fn check_revision(state: &State, query: &Query) -> Result<(), Failure> {
    let Some(text) = &query.resource_version else {
        return Ok(());
    };
    let (wanted, current) = (parse_revision(text)?, state.store.revision());
    if wanted > current {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        return Err(Failure::new(504, "Timeout", message));
    }
    if query.resource_version_match.as_deref() == Some("Exact") && wanted < current {
        return Err(Failure::expired(format!(
            "The resourceVersion for the provided list is too old: {wanted}"
        )));
    }
    Ok(())
}

fn resume(state: &mut State, token: &str) -> Result<(u64, Vec<Arc<Value>>), Failure> {
    let found = state
        .continuations
        .iter()
        .position(|continuation| continuation.token == token);
    match found.and_then(|at| state.continuations.remove(at)) {
        Some(continuation) => Ok((continuation.revision, continuation.rest)),
        None => Err(Failure::expired(
            "The provided continue parameter is too old or unknown; list again without it",
        )),
    }
}
