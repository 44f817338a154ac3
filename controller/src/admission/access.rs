//! Asks the API server whether a user may do what an object would make us do.

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::rights::Right;

/// Questions under way for one object.
const AT_ONCE: usize = 8;

/// The first of `rights` that the user does not have.
pub async fn first_missing(client: &kube::Client, user: &UserInfo, rights: &[Right]) -> Result<Option<Right>, kube::Error> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let questions: Vec<(Right, SubjectAccessReview)> =
        rights.iter().map(|right| (right.clone(), review(user, right))).collect();
    let answers = stream::iter(questions).map(|(right, question)| {
        let reviews = reviews.clone();
        async move {
            let answer = reviews.create(&PostParams::default(), &question).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
            Ok::<_, kube::Error>((!allowed).then_some(right))
        }
    });
    let missing: Vec<Option<Right>> = answers.buffered(AT_ONCE).try_collect().await?;
    Ok(missing.into_iter().flatten().next())
}

fn review(user: &UserInfo, right: &Right) -> SubjectAccessReview {
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
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
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
