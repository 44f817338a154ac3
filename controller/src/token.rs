//! Bearer tokens, and what their holders may do: the API server judges both.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

/// Longer than any token of Kubernetes; what is longer is not sent on.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The token in an `authorization` value.
pub fn bearer(authorization: Option<&str>) -> Option<&str> {
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    token.filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX)
}

/// What the API server says of a token, made for this audience or for its own.
pub async fn review(client: &kube::Client, token: &str, audience: Option<&str>) -> Result<TokenReviewStatus, kube::Error> {
    let audiences = audience.map(|audience| vec![audience.to_owned()]);
    let review = TokenReview { spec: TokenReviewSpec { token: Some(token.to_owned()), audiences }, ..TokenReview::default() };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(reviewed.status.unwrap_or_default())
}

/// Whether a user may do what `asked` says, whose attributes alone are filled in.
pub async fn may(client: &kube::Client, user: &UserInfo, asked: SubjectAccessReviewSpec) -> Result<bool, kube::Error> {
    let spec = SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        ..asked
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}
