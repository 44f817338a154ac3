//! Creates a session, unless it exists. Its name is KubeStash's, invoker, session and second, which another invoker's may have too: a
//! batch and a configuration of one name, or `web` with `daily-x` and `web-daily` with `x`. Taken for its own, it would lose a backup,
//! or the try of one.

use std::fmt::Debug;

use holdfast_api::reference::TypedLocalObjectReference;
use holdfast_api::{BackupSession, BackupVerificationSession, names};
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What tells sessions of one name apart.
type Meaning<'s> = (Option<&'s TypedLocalObjectReference>, Option<&'s str>, Option<&'s str>);

/// A kind of sessions.
pub trait Session:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug + Send + 'static
{
    /// What one is of.
    fn meaning(&self) -> Meaning<'_>;
}

impl Session for BackupSession {
    fn meaning(&self) -> Meaning<'_> {
        (self.spec.invoker.as_ref(), self.spec.session.as_deref(), None)
    }
}

impl Session for BackupVerificationSession {
    fn meaning(&self) -> Meaning<'_> {
        (self.spec.invoker.as_ref(), self.spec.session.as_deref(), self.spec.repository.as_deref())
    }
}

/// Creates `session`; that it exists already is as good.
pub async fn create<S: Session>(client: &kube::Client, session: &S) -> Result<(), kube::Error> {
    let sessions: Api<S> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
    let parameters = PostParams::default();
    if !is_taken(sessions.create(&parameters, session).await)? || !is_foreign(sessions.get_opt(&session.name_any()).await?, session) {
        return Ok(());
    }
    let mut renamed = session.clone();
    renamed.meta_mut().name = Some(other_name(session));
    is_taken(sessions.create(&parameters, &renamed).await).map(|_| ())
}

fn is_taken<S>(created: Result<S, kube::Error>) -> Result<bool, kube::Error> {
    match created {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_foreign<S: Session>(existing: Option<S>, session: &S) -> bool {
    existing.is_some_and(|existing| existing.meaning() != session.meaning())
}

/// The same for the same session, whoever makes it again.
fn other_name<S: Session>(session: &S) -> String {
    let (invoker, name, repository) = session.meaning();
    let of_invoker = (invoker.map(|invoker| (&invoker.kind, &invoker.name)), name.map(str::to_owned));
    match repository {
        None => names::distinct(&session.name_any(), &of_invoker),
        Some(repository) => names::distinct(&session.name_any(), &(of_invoker, repository)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(invoker: Value, name: &str) -> BackupSession {
        let value = json!({"metadata": {"name": "web-daily-x-1795384740"}, "spec": {"invoker": invoker, "session": name}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn sessions_of_one_name_are_told_apart() {
        let ours = session(json!({"kind": "BackupBatch", "name": "web"}), "daily-x");
        let others = [
            session(json!({"kind": "BackupConfiguration", "name": "web"}), "daily-x"),
            session(json!({"kind": "BackupBatch", "name": "web-daily"}), "x"),
        ];
        assert!(!is_foreign(Some(ours.clone()), &ours) && !is_foreign(None, &ours));
        for other in &others {
            assert!(is_foreign(Some(other.clone()), &ours));
            assert_ne!(other_name(other), other_name(&ours));
        }
        assert!(other_name(&ours).starts_with("web-daily-x-1795384740-"), "{}", other_name(&ours));
    }
}
