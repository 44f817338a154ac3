//! One request to one answer: the verbs of the API, over the state.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use http::{Method, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use crate::{
    apply, discovery,
    failure::{Cause, Failure},
    kind::Kind,
    listing::{list, selector, shown},
    metadata,
    patch::{APPLY_PATCH, patched},
    request::{Request, Target},
    state::{Server, State},
    store::Key,
    watching::Watcher,
    write::{DeleteOptions, Deleted, Part, WriteOptions},
};

/// Body of an answer: whole, or a watch's stream.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The API as a tower service, for `kube::Client::new` and for an HTTP server.
#[derive(Debug, Clone)]
pub struct ApiService {
    pub(crate) server: Arc<Server>,
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let server = self.server.clone();
        Box::pin(async move {
            let answered = match read(request).await {
                Ok(request) => answer(&server, &request),
                Err(failure) => Err(failure),
            };
            let answer =
                answered.unwrap_or_else(|failure| Answer::Whole(failure.code, failure.to_status()));
            Ok(answer.into_response())
        })
    }
}

enum Answer {
    Whole(u16, Value),
    Stream(Box<Watcher>),
}

impl Answer {
    fn ok(body: Value) -> Result<Self, Failure> {
        Ok(Self::Whole(200, body))
    }

    fn into_response(self) -> Response<ResponseBody> {
        let (code, body) = match self {
            Self::Whole(code, body) => (
                code,
                Full::new(Bytes::from(body.to_string())).boxed_unsync(),
            ),
            Self::Stream(watcher) => {
                let frames = watcher
                    .stream()
                    .map(|line| Ok(http_body::Frame::data(line)));
                (200, StreamBody::new(frames).boxed_unsync())
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let json = http::HeaderValue::from_static("application/json");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, json);
        response
    }
}

async fn read<B>(request: http::Request<B>) -> Result<Request, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let unreadable =
        |error: B::Error| Failure::bad_request(format!("the body cannot be read: {error}"));
    let body = body.collect().await.map_err(unreadable)?.to_bytes();
    Request::new(&parts, body)
}

fn answer(server: &Arc<Server>, request: &Request) -> Result<Answer, Failure> {
    if request.method == Method::GET
        && let Some(body) = server.with(|state| discovery::answer(state, &request.path))
    {
        return Answer::ok(body);
    }
    let Some(target) = Target::parse(&request.path) else {
        return Err(Failure::not_implemented(format!(
            "the path {}",
            request.path
        )));
    };
    if let Some(review) = review(server, request, &target) {
        return review;
    }
    let kind = server.with(|state| state.kind_of(&target))?;
    if kind.namespaced != target.namespace.is_some()
        && (target.name.is_some() || !kind.namespaced || request.method == Method::POST)
    {
        return Err(Failure::no_such_resource());
    }
    match (&target.name, target.subresource.as_deref()) {
        (None, _) => collection(server, request, &kind, &target),
        (Some(name), None) => object(server, request, &kind, &target, name, Part::Main),
        (Some(name), Some("status")) if kind.has_status => {
            object(server, request, &kind, &target, name, Part::Status)
        }
        (Some(_), Some("status")) => Err(Failure::no_such_resource()),
        (Some(name), Some("token"))
            if kind.is_core("serviceaccounts") && request.method == Method::POST =>
        {
            let (namespace, question) = (
                target.namespace.as_deref().unwrap_or_default(),
                request.json()?,
            );
            let answer =
                server.with(|state| state.answer_token_request(namespace, name, question))?;
            Ok(Answer::Whole(201, answer))
        }
        (Some(_), Some(other)) => Err(Failure::not_implemented(format!(
            "the subresource {}/{other}",
            kind.plural
        ))),
    }
}

fn collection(
    server: &Arc<Server>,
    request: &Request,
    kind: &Arc<Kind>,
    target: &Target,
) -> Result<Answer, Failure> {
    let namespace = target.namespace.as_deref();
    match request.method {
        Method::GET if request.query.watch => {
            let watcher = Watcher::start(
                server,
                kind.clone(),
                target.namespace.clone(),
                &request.query,
                request.metadata_only,
            )?;
            Ok(Answer::Stream(Box::new(watcher)))
        }
        Method::GET => Answer::ok(server.with(|state| {
            list(
                state,
                kind,
                namespace,
                &request.query,
                request.metadata_only,
            )
        })?),
        Method::POST => {
            let object = request.json()?;
            let created = server
                .with(|state| state.create(kind, namespace, object, &write_options(request)))?;
            Ok(Answer::Whole(201, shown(&created, request.metadata_only)))
        }
        Method::DELETE => {
            let options = delete_options(request)?;
            Answer::ok(
                server
                    .with(|state| delete_collection(state, kind, namespace, request, &options))?,
            )
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

fn object(
    server: &Server,
    request: &Request,
    kind: &Kind,
    target: &Target,
    name: &str,
    part: Part,
) -> Result<Answer, Failure> {
    let key = Key::new(target.namespace.as_deref().unwrap_or_default(), name);
    let show = |object: &Value| shown(object, request.metadata_only);
    match request.method {
        Method::GET if request.query.watch => Err(Failure::not_implemented(
            "a watch of a single object's path",
        )),
        Method::GET => Answer::ok(show(&*server.with(|state| state.get(kind, &key))?)),
        Method::PUT => {
            let new = request.json()?;
            let written = server.with(|state| {
                let old = state.get(kind, &key)?;
                state.update(kind, &old, new, part, &write_options(request))
            })?;
            Answer::ok(show(&written))
        }
        Method::PATCH if request.content_type == APPLY_PATCH => {
            if request.query.field_manager.is_none() {
                let cause = Cause::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid(kind, name, &[cause]));
            }
            let (config, options, force) =
                (request.json()?, write_options(request), request.query.force);
            let applied = server
                .with(|state| apply::apply(state, kind, &key, config, part, force, &options))?;
            Ok(Answer::Whole(
                if applied.created { 201 } else { 200 },
                show(&applied.object),
            ))
        }
        Method::PATCH => {
            let patch = request.json()?;
            let written = server.with(|state| {
                let old = state.get(kind, &key)?;
                let new = patched(kind, &old, &request.content_type, patch)?;
                state.update(kind, &old, new, part, &write_options(request))
            })?;
            Answer::ok(show(&written))
        }
        Method::DELETE if part == Part::Main => {
            let options = delete_options(request)?;
            match server.with(|state| state.delete(kind, &key, &options))? {
                Deleted::Gone(object) => Answer::ok(success(kind, &object)),
                Deleted::Waiting(object) => Answer::ok(show(&object)),
            }
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

/// Reviews are questions, not objects.
fn review(server: &Server, request: &Request, target: &Target) -> Option<Result<Answer, Failure>> {
    let is_review = |group: &str, plural: &str| target.group == group && target.plural == plural;
    let answer = |answer: &dyn Fn(Value) -> Value| {
        Some(match request.method {
            Method::POST => request
                .json()
                .map(|question| Answer::Whole(201, answer(question))),
            _ => Err(Failure::method_not_allowed()),
        })
    };
    if is_review("authentication.k8s.io", "tokenreviews") {
        return answer(&|question| server.with(|state| state.review_token(question)));
    }
    if is_review("authorization.k8s.io", "subjectaccessreviews")
        || is_review("authorization.k8s.io", "selfsubjectaccessreviews")
    {
        return answer(&|mut question| {
            question["status"] =
                json!({"allowed": true, "reason": "the standalone API has no authorizer"});
            question
        });
    }
    None
}

fn delete_collection(
    state: &mut State,
    kind: &Kind,
    namespace: Option<&str>,
    request: &Request,
    options: &DeleteOptions,
) -> Result<Value, Failure> {
    let selector = selector(kind, &request.query)?;
    let objects = state.store.list(&kind.group_resource(), namespace);
    let mut items = Vec::new();
    for object in objects.iter().filter(|object| selector.matches(object)) {
        let key = Key::new(
            metadata::text(object, "namespace"),
            metadata::text(object, "name"),
        );
        match state.delete(kind, &key, options)? {
            Deleted::Gone(object) | Deleted::Waiting(object) => {
                items.push(shown(&object, request.metadata_only))
            }
        }
    }
    let list_metadata = json!({"resourceVersion": state.store.revision().to_string()});
    Ok(
        json!({"apiVersion": kind.api_version(), "kind": format!("{}List", kind.kind), "metadata": list_metadata, "items": items}),
    )
}

fn success(kind: &Kind, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut details =
        json!({"name": metadata["name"], "kind": kind.plural, "uid": metadata["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn write_options(request: &Request) -> WriteOptions {
    WriteOptions {
        dry_run: request.query.dry_run,
        manager: request.manager(),
        owners_settled: false,
    }
}

/// From the body or, as curl users write them, from the query.
fn delete_options(request: &Request) -> Result<DeleteOptions, Failure> {
    let body = request.optional_json()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if body["orphanDependents"] == true {
        return Err(Failure::not_implemented(
            "orphanDependents; use propagationPolicy",
        ));
    }
    Ok(DeleteOptions {
        dry_run: request.query.dry_run
            || body["dryRun"]
                .as_array()
                .is_some_and(|modes| !modes.is_empty()),
        grace_period_seconds: body["gracePeriodSeconds"]
            .as_i64()
            .or(request.query.grace_period_seconds),
        propagation_policy: text(&body["propagationPolicy"])
            .or_else(|| request.query.propagation_policy.clone()),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
    })
}
