//! Who may read metrics: whom the API server knows by their token, and allows to `get` the path `/metrics`.

use axum::http::StatusCode;
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReviewSpec};

use crate::token;

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
    let presented = token::bearer(authorization).ok_or(Refusal::Unauthenticated)?;
    let status = token::review(client, presented, None).await?;
    let user = status.user.filter(|_| status.authenticated == Some(true)).ok_or(Refusal::Unauthenticated)?;
    let path = NonResourceAttributes { path: Some("/metrics".into()), verb: Some("get".into()) };
    let asked = SubjectAccessReviewSpec { non_resource_attributes: Some(path), ..SubjectAccessReviewSpec::default() };
    if token::may(client, &user, asked).await? { Ok(()) } else { Err(Refusal::Forbidden(user.username.unwrap_or_default())) }
}
