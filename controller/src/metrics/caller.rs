//! Who may read metrics: whom the API server knows by their token, and allows to `get` the path `/metrics`.

use axum::http::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

/// Longer than any token of Kubernetes; what is longer is not sent on.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a bearer token is needed that the API server accepts")]
    Unauthenticated,
    #[error("user {0:?} may not get the path /metrics: bind it to the ClusterRole holdfast-metrics-reader")]
    Forbidden(String),
    #[error("the API server could not be asked who this is")]
    Unavailable(#[from] kube::Error),
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn may_read(client: &kube::Client, authorization: Option<&str>) -> Result<(), Refusal> {
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX).ok_or(Refusal::Unauthenticated)?;
    let review = TokenReview { spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None }, ..TokenReview::default() };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = reviewed.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true)).ok_or(Refusal::Unauthenticated)?;
    let asked = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &question(&user)).await?;
    match asked.status {
        Some(status) if status.allowed && status.denied != Some(true) => Ok(()),
        _ => Err(Refusal::Forbidden(user.username.unwrap_or_default())),
    }
}

fn question(user: &UserInfo) -> SubjectAccessReview {
    let path = NonResourceAttributes { path: Some("/metrics".into()), verb: Some("get".into()) };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            non_resource_attributes: Some(path),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
