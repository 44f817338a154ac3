//! Creates a session, unless it exists. Its name is KubeStash's, invoker, session and second, which another invoker's may have too: a
//! batch and a configuration of one name, or `web` with `daily-x` and `web-daily` with `x`. Taken for its own, it would lose a backup.

use holdfast_api::{BackupSession, names};
use kube::ResourceExt;
use kube::api::{Api, PostParams};

/// Creates `session`; that it exists already is as good.
pub async fn create(client: &kube::Client, session: &BackupSession) -> Result<(), kube::Error> {
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
    let parameters = PostParams::default();
    if !is_taken(sessions.create(&parameters, session).await)? || !is_foreign(sessions.get_opt(&session.name_any()).await?, session) {
        return Ok(());
    }
    let mut renamed = session.clone();
    renamed.metadata.name = Some(other_name(session));
    is_taken(sessions.create(&parameters, &renamed).await).map(|_| ())
}

fn is_taken(created: Result<BackupSession, kube::Error>) -> Result<bool, kube::Error> {
    match created {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_foreign(existing: Option<BackupSession>, session: &BackupSession) -> bool {
    let what = |session: &BackupSession| (session.spec.invoker.clone(), session.spec.session.clone());
    existing.is_some_and(|existing| what(&existing) != what(session))
}

/// The same for the same session, whoever makes it again.
fn other_name(session: &BackupSession) -> String {
    let invoker = session.spec.invoker.as_ref().map(|invoker| (&invoker.kind, &invoker.name));
    names::distinct(&session.name_any(), &(invoker, &session.spec.session))
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
