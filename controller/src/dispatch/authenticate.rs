//! Who dials: a projected ServiceAccount token, judged by the API server.

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};

use crate::token;

/// The audience that agents' tokens are made for.
pub const AUDIENCE: &str = "holdfast";
const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";
const POD_CLAIM: &str = "authentication.kubernetes.io/pod-name";

/// An agent as the API server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Node that its pod is bound to.
    pub node: String,
    /// Its pod.
    pub pod: String,
}

/// Why a caller was turned away.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No token, or none that the API server accepts for this purpose.
    #[error("{0}")]
    Unauthenticated(String),
    /// A token of somebody else.
    #[error("{0}")]
    Forbidden(String),
    /// The API server could not be asked.
    #[error("the token could not be reviewed: {0}")]
    Unavailable(#[source] kube::Error),
}

/// Reviews tokens.
#[derive(Clone)]
pub struct Authenticator {
    client: kube::Client,
    expected_user: String,
}

impl Authenticator {
    /// Accepts the ServiceAccount `holdfast-agent` of `namespace`.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        Self { client, expected_user: format!("system:serviceaccount:{namespace}:holdfast-agent") }
    }

    /// Who holds the token in this `authorization` value.
    pub async fn identify(&self, authorization: Option<&str>) -> Result<Identity, Refusal> {
        let presented = token::bearer(authorization)
            .ok_or_else(|| Refusal::Unauthenticated("a bearer token is needed in the authorization metadata".into()))?;
        let status = token::review(&self.client, presented, Some(AUDIENCE)).await.map_err(Refusal::Unavailable)?;
        self.judge(status)
    }

    fn judge(&self, status: TokenReviewStatus) -> Result<Identity, Refusal> {
        if status.authenticated != Some(true) {
            return Err(Refusal::Unauthenticated("the API server does not accept this token".into()));
        }
        if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
            return Err(Refusal::Unauthenticated(format!("the token is not for the audience {AUDIENCE:?}")));
        }
        let user = status.user.unwrap_or_default();
        if user.username.as_deref() != Some(&self.expected_user) {
            return Err(Refusal::Forbidden(format!("only {} may attend", self.expected_user)));
        }
        let (Some(node), Some(pod)) = (claim(&user, NODE_CLAIM), claim(&user, POD_CLAIM)) else {
            return Err(Refusal::Forbidden("the token is not bound to a pod and its node".into()));
        };
        Ok(Identity { node, pod })
    }
}

fn claim(user: &UserInfo, name: &str) -> Option<String> {
    let values = user.extra.as_ref()?.get(name)?;
    match values.as_slice() {
        [value] if !value.is_empty() => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;


    use super::*;

    type Spoil = fn(&mut TokenReviewStatus);

    fn authenticator() -> Authenticator {
        let service = tower::service_fn(|_request: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no API here"))
        });
        Authenticator::new(kube::Client::new(service, "holdfast"), "holdfast")
    }

    fn good() -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![AUDIENCE.into()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:holdfast:holdfast-agent".into()),
                extra: Some(BTreeMap::from([
                    (NODE_CLAIM.to_owned(), vec!["node-a".to_owned()]),
                    (POD_CLAIM.to_owned(), vec!["agent-x".to_owned()]),
                ])),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    fn judged(status: TokenReviewStatus) -> Result<Identity, Refusal> {
        authenticator().judge(status)
    }

    #[tokio::test]
    async fn the_agents_token_names_its_node() {
        assert_eq!(judged(good()).unwrap(), Identity { node: "node-a".into(), pod: "agent-x".into() });
    }

    #[tokio::test]
    async fn every_other_token_is_refused() {
        let spoil: [(&str, Spoil); 6] = [
            ("not authenticated", |status| status.authenticated = Some(false)),
            ("no audience", |status| status.audiences = None),
            ("another audience", |status| status.audiences = Some(vec!["api".into()])),
            ("another account", |status| {
                status.user.as_mut().unwrap().username = Some("system:serviceaccount:demo:holdfast-agent".into());
            }),
            ("no node", |status| {
                status.user.as_mut().unwrap().extra.as_mut().unwrap().remove(NODE_CLAIM);
            }),
            ("no pod", |status| {
                status.user.as_mut().unwrap().extra.as_mut().unwrap().remove(POD_CLAIM);
            }),
        ];
        for (what, spoil) in spoil {
            let mut status = good();
            spoil(&mut status);
            assert!(judged(status).is_err(), "{what} was accepted");
        }
        assert!(matches!(authenticator().identify(None).await, Err(Refusal::Unauthenticated(_))));
        assert!(matches!(authenticator().identify(Some("Basic x")).await, Err(Refusal::Unauthenticated(_))));
    }
}
