//! Asks the API server whether a user may do what an object would make us do.

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};

use super::rights::Right;
use crate::token;

/// Questions under way for one object.
const AT_ONCE: usize = 8;

/// The first of `rights` that the user does not have.
pub async fn first_missing(client: &kube::Client, user: &UserInfo, rights: &[Right]) -> Result<Option<Right>, kube::Error> {
    let questions: Vec<(Right, SubjectAccessReviewSpec)> = rights.iter().map(|right| (right.clone(), question(right))).collect();
    let answers = stream::iter(questions)
        .map(|(right, question)| async move { token::may(client, user, question).await.map(|allowed| (!allowed).then_some(right)) });
    let missing: Vec<Option<Right>> = answers.buffered(AT_ONCE).try_collect().await?;
    Ok(missing.into_iter().flatten().next())
}

fn question(right: &Right) -> SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        group: Some(right.group.clone()),
        resource: some(&right.resource),
        subresource: some(right.subresource),
        verb: some(right.verb),
        namespace: some(&right.namespace),
        name: some(&right.name),
        ..ResourceAttributes::default()
    };
    SubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SubjectAccessReviewSpec::default() }
}

/// What the user is told.
pub fn refusal(user: &UserInfo, right: &Right) -> String {
    let who = user.username.as_deref().unwrap_or("an unknown user");
    let resource = match right.subresource {
        "" => right.resource.clone(),
        subresource => format!("{}/{subresource}", right.resource),
    };
    let object = if right.name.is_empty() { String::new() } else { format!(" {:?}", right.name) };
    let group = if right.group.is_empty() { String::new() } else { format!(" in API group {:?}", right.group) };
    format!(
        "{}: user {who:?} may not {} {resource}{object}{group} in namespace {:?}, and this object would have it done for them",
        right.path, right.verb, right.namespace
    )
}
