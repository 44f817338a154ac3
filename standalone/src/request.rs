//! What a request asks for: the path's object, the query's options, the body.

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use url::form_urlencoded;

use crate::failure::Failure;

/// Largest body that the real server takes.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The resource, and in it the object, that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// `/api/v1/...` and `/apis/GROUP/VERSION/...`; nothing for any other path.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let target = |namespace: Option<&str>,
                      plural: &str,
                      name: Option<&str>,
                      subresource: Option<&str>| Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        };
        match rest {
            ["namespaces", name, subresource @ ("status" | "finalize")] => {
                Some(target(None, "namespaces", Some(name), Some(subresource)))
            }
            ["namespaces", namespace, plural] => Some(target(Some(namespace), plural, None, None)),
            ["namespaces", namespace, plural, name] => {
                Some(target(Some(namespace), plural, Some(name), None))
            }
            ["namespaces", namespace, plural, name, subresource] => Some(target(
                Some(namespace),
                plural,
                Some(name),
                Some(subresource),
            )),
            [plural] => Some(target(None, plural, None, None)),
            [plural, name] => Some(target(None, plural, Some(name), None)),
            [plural, name, subresource] => {
                Some(target(None, plural, Some(name), Some(subresource)))
            }
            _ => None,
        }
    }
}

/// The options of the query string that this server understands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) resource_version_match: Option<String>,
    pub(crate) watch: bool,
    pub(crate) allow_watch_bookmarks: bool,
    pub(crate) send_initial_events: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) field_manager: Option<String>,
    pub(crate) force: bool,
    pub(crate) propagation_policy: Option<String>,
    pub(crate) grace_period_seconds: Option<i64>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            let number = || {
                value
                    .parse::<u32>()
                    .map_err(|_| Failure::bad_request(format!("{name} is not a number: {value:?}")))
            };
            let truth = || matches!(&*value, "true" | "1");
            match &*name {
                "labelSelector" => query.label_selector = Some(value.into_owned()),
                "fieldSelector" => query.field_selector = Some(value.into_owned()),
                "limit" => query.limit = Some(number()? as usize).filter(|limit| *limit > 0),
                "continue" => query.continue_token = Some(value.into_owned()),
                "resourceVersion" => query.resource_version = Some(value.into_owned()),
                "resourceVersionMatch" => query.resource_version_match = Some(value.into_owned()),
                "watch" => query.watch = truth(),
                "allowWatchBookmarks" => query.allow_watch_bookmarks = truth(),
                "sendInitialEvents" => query.send_initial_events = truth(),
                "timeoutSeconds" => query.timeout_seconds = Some(u64::from(number()?)),
                "dryRun" => query.dry_run = value == "All",
                "fieldManager" => query.field_manager = Some(value.into_owned()),
                "force" => query.force = truth(),
                "propagationPolicy" => query.propagation_policy = Some(value.into_owned()),
                "gracePeriodSeconds" => query.grace_period_seconds = Some(i64::from(number()?)),
                // Unknown fields are pruned without complaint here, so every level of strictness but Strict is met.
                "fieldValidation" if value == "Strict" => {
                    return Err(Failure::not_implemented("fieldValidation=Strict"));
                }
                "fieldValidation" | "pretty" | "timeout" => {}
                other => {
                    return Err(Failure::not_implemented(format!(
                        "the query parameter {other:?}"
                    )));
                }
            }
        }
        Ok(query)
    }
}

/// One request, read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) content_type: String,
    /// The client wants metadata only.
    pub(crate) metadata_only: bool,
    pub(crate) user_agent: String,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(parts: &http::request::Parts, body: Bytes) -> Result<Self, Failure> {
        if body.len() > BODY_BYTES_MAX {
            let message = format!(
                "the request is {} bytes, more than the limit of {BODY_BYTES_MAX}",
                body.len()
            );
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query().unwrap_or_default())?,
            content_type: header(http::header::CONTENT_TYPE)
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            metadata_only: header(http::header::ACCEPT).contains("as=PartialObjectMetadata"),
            user_agent: header(http::header::USER_AGENT).to_owned(),
            body,
        })
    }

    /// The body as JSON or, for apply patches, as YAML that is JSON too.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("the body is not JSON: {error}")))
    }

    /// The body, or nothing if there is none.
    pub(crate) fn optional_json(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            Ok(Value::Null)
        } else {
            self.json()
        }
    }

    /// Who writes: named in the query, or the client's program, as the real server does.
    pub(crate) fn manager(&self) -> String {
        match &self.query.field_manager {
            Some(manager) => manager.clone(),
            None => self
                .user_agent
                .split('/')
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or("unknown")
                .to_owned(),
        }
    }
}
