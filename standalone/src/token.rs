//! ServiceAccount tokens bound to a pod, and their review.
//!
//! A token here is a random name for claims that the server keeps, not a JWT: nobody but the TokenReview may read it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    metadata,
    state::{State, now, random},
    store::Key,
};

/// Lifetime of a minted token, as of a projected one.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Audience of a token that names none.
pub(crate) const API_AUDIENCE: &str = "https://kubernetes.default.svc";

#[derive(Debug)]
struct Claims {
    namespace: String,
    service_account: String,
    pod: String,
    pod_uid: String,
    node: String,
    node_uid: String,
    audience: String,
    expires: Timestamp,
}

/// Tokens that were minted, by the token.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    claims: BTreeMap<String, Claims>,
}

/// Why no token was minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The service account was not given as `namespace/name`.
    #[error("{0:?} is not a service account's namespace/name")]
    NotAServiceAccount(String),
    /// There is no such object to bind the token to.
    #[error("there is no {kind} {name}: create it first")]
    NotFound {
        /// Lower-case kind.
        kind: &'static str,
        /// `namespace/name`, or name.
        name: String,
    },
}

impl State {
    /// The answer to a TokenRequest of a service account, for a token bound to a pod: what a kubelet asks for.
    pub(crate) fn answer_token_request(
        &mut self,
        namespace: &str,
        account: &str,
        mut request: Value,
    ) -> Result<Value, Failure> {
        let bound = &request["spec"]["boundObjectRef"];
        if bound["kind"] != "Pod" {
            return Err(Failure::not_implemented(
                "a token that is not bound to a Pod",
            ));
        }
        let pods = self
            .kinds
            .get("pods")
            .cloned()
            .ok_or_else(Failure::no_such_resource)?;
        let pod_name = bound["name"].as_str().unwrap_or_default().to_owned();
        let pod = self.get(&pods, &Key::new(namespace, &pod_name))?;
        if bound["uid"]
            .as_str()
            .is_some_and(|uid| uid != metadata::text(&pod, "uid"))
        {
            return Err(Failure::conflict(
                &pods,
                &pod_name,
                "the UID in the bound object reference does not match",
            ));
        }
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let audiences = request["spec"]["audiences"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let audience = match audiences {
            [] => API_AUDIENCE.to_owned(),
            [one] => one.as_str().unwrap_or_default().to_owned(),
            _ => return Err(Failure::not_implemented("a token for several audiences")),
        };
        let minted = self.mint_token(
            &format!("{namespace}/{account}"),
            &pod_name,
            node,
            &audience,
        );
        let token = minted.map_err(|error| Failure::new(404, "NotFound", error.to_string()))?;
        request["status"] =
            json!({"token": token, "expirationTimestamp": metadata::seconds(now() + LIFETIME)});
        Ok(request)
    }

    pub(crate) fn mint_token(
        &mut self,
        service_account: &str,
        pod: &str,
        node: &str,
        audience: &str,
    ) -> Result<String, MintError> {
        let Some((namespace, account)) = service_account.split_once('/') else {
            return Err(MintError::NotAServiceAccount(service_account.to_owned()));
        };
        let uid = |kind: &'static str, resource: &str, namespace: &str, name: &str| {
            let found = self.store.get(resource, &Key::new(namespace, name));
            let found = found.ok_or_else(|| MintError::NotFound {
                kind,
                name: format!("{namespace}/{name}"),
            })?;
            Ok::<_, MintError>(metadata::text(&found, "uid").to_owned())
        };
        uid("serviceaccount", "serviceaccounts", namespace, account)?;
        let claims = Claims {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            pod: pod.to_owned(),
            pod_uid: uid("pod", "pods", namespace, pod)?,
            node: node.to_owned(),
            node_uid: uid("node", "nodes", "", node)?,
            audience: audience.to_owned(),
            expires: now() + LIFETIME,
        };
        self.tokens
            .claims
            .retain(|_, claims| claims.expires > now());
        let token = format!(
            "standalone-{}{}",
            metadata::generate_uid(random),
            metadata::generate_uid(random)
        );
        self.tokens.claims.insert(token.clone(), claims);
        Ok(token)
    }

    /// The answer to a TokenReview: the request with its status.
    pub(crate) fn review_token(&self, mut review: Value) -> Value {
        let asked: Vec<&str> = review["spec"]["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let asked = if asked.is_empty() {
            vec![API_AUDIENCE]
        } else {
            asked
        };
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        let status = match self.tokens.claims.get(token) {
            None => json!({"user": {}, "error": "[invalid bearer token]"}),
            Some(claims) if claims.expires <= now() => {
                json!({"user": {}, "error": "[invalid bearer token, service account token has expired]"})
            }
            Some(claims) if !asked.contains(&claims.audience.as_str()) => {
                json!({"user": {}, "error": format!("[invalid bearer token, token audiences {:?} is invalid for the target audiences {asked:?}]", [&claims.audience])})
            }
            Some(claims) if !self.is_bound(claims) => {
                json!({"user": {}, "error": "[invalid bearer token, service account token has been invalidated]"})
            }
            Some(claims) => {
                json!({"authenticated": true, "audiences": [claims.audience], "user": user(claims)})
            }
        };
        review["status"] = status;
        review
    }

    /// A token dies with its pod and its service account.
    fn is_bound(&self, claims: &Claims) -> bool {
        let pod = self
            .store
            .get("pods", &Key::new(&claims.namespace, &claims.pod));
        let account = self.store.get(
            "serviceaccounts",
            &Key::new(&claims.namespace, &claims.service_account),
        );
        account.is_some() && pod.is_some_and(|pod| metadata::text(&pod, "uid") == claims.pod_uid)
    }
}

fn user(claims: &Claims) -> Value {
    let Claims {
        namespace,
        service_account,
        ..
    } = claims;
    json!({
        "username": format!("system:serviceaccount:{namespace}:{service_account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
        "extra": {
            "authentication.kubernetes.io/pod-name": [claims.pod],
            "authentication.kubernetes.io/pod-uid": [claims.pod_uid],
            "authentication.kubernetes.io/node-name": [claims.node],
            "authentication.kubernetes.io/node-uid": [claims.node_uid],
        },
    })
}
