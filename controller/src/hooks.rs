//! Hooks: what is run before and after a backup or a restore. They run beside the reconcilers, each object's one after the other.
//!
//! A hook runs at least once: when the controller ends while one runs, the next controller runs it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::function::{ENDING_MAX, Functions};
use crate::invoker::Invoker;
use crate::object::Key;
use crate::runs::Runs;
use crate::workqueue::WorkQueue;

pub use crate::runs::Standing;

pub mod call;
pub mod perform;
pub mod resolve;
pub mod round;
pub mod stage;
pub mod summary;
pub mod templates;

use resolve::Concrete;

/// Hooks that run at once; more wait for their object's next look.
const RUNNING_MAX: usize = 64;
/// Pause before another try.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Which hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HookId {
    /// UID of the session.
    pub owner: String,
    /// Whether it comes before the work.
    pub before: bool,
    /// Its place in the list.
    pub index: usize,
}

impl HookId {
    /// Which of the session's hooks it is, in the name of its pod.
    pub fn run_id(&self) -> String {
        format!("{}-{}", if self.before { "prehook" } else { "posthook" }, self.index)
    }
}

/// Runs hooks. What it knows is lost with the process, and with its leadership: what has ended is in the objects.
#[derive(Clone)]
pub struct Runner {
    functions: Functions,
    client: kube::Client,
    commands_are_allowed: bool,
    runs: Runs<HookId>,
    /// Invokers of sessions that run, as they were last seen.
    invokers: Arc<Mutex<HashMap<Key, Invoker>>>,
}

impl Runner {
    /// A runner that wakes a hook's object when it has ended. Its hooks end with the Functions' time, and run commands in pods where that
    /// is allowed at all.
    pub fn new(functions: Functions, client: kube::Client, queue: WorkQueue, commands_are_allowed: bool) -> Self {
        Self { functions, client, commands_are_allowed, runs: Runs::new(queue, RUNNING_MAX), invokers: Arc::default() }
    }

    /// How the hooks of a session stand.
    pub fn standings(&self, owner: &str) -> HashMap<HookId, Standing> {
        self.runs.standings(|id| id.owner == owner)
    }

    /// Starts a hook that was not started; false if too many run.
    pub fn start(&self, key: Key, id: HookId, hook: Result<Concrete, String>) -> bool {
        let (functions, client) = (self.functions.clone(), self.client.clone());
        let hook = hook.and_then(|hook| self.allowed(hook));
        self.runs.start(key, id, async move {
            match hook {
                Ok(hook) => functions.until_shutdown(tries(&functions, &client, &hook)).await,
                Err(error) => Some(Err(error)),
            }
        })
    }

    fn allowed(&self, hook: Concrete) -> Result<Concrete, String> {
        let has_command = hook.steps.iter().any(|step| matches!(step, resolve::Step::Exec { .. }));
        if has_command && !self.commands_are_allowed {
            return Err("commands of hooks do not run in pods here (hooks.exec and webhooks.enabled of the chart)".to_owned());
        }
        Ok(hook)
    }

    /// Keeps the invoker of a session that runs, in case it is deleted: the session's hooks are its.
    pub fn remember(&self, session: &Key, invoker: &Invoker) {
        self.invokers.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), invoker.clone());
    }

    /// The invoker of a session that runs, as it was last seen.
    pub fn remembered(&self, session: &Key) -> Option<Invoker> {
        self.invokers.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }

    /// The object is gone, or its session is over: what still runs of it is stopped.
    pub fn forget(&self, object: &Key) {
        self.invokers.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
        self.runs.forget(object);
    }

    /// Another may lead now, which runs the hooks that have not ended.
    pub async fn let_go(&self) {
        self.runs.let_go().await;
        self.invokers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn tries(functions: &Functions, client: &kube::Client, hook: &Concrete) -> Result<(), String> {
    let mut tried = 0;
    // A Function's pod keeps the time itself, and is given some to go.
    let has_pod = hook.steps.iter().any(|step| matches!(step, resolve::Step::Function(_)));
    let limit = hook.timeout + if has_pod { ENDING_MAX } else { Duration::ZERO };
    loop {
        let all = async {
            for step in &hook.steps {
                perform::perform(functions, client, step).await?;
            }
            Ok(())
        };
        let result = tokio::time::timeout(limit, all)
            .await
            .unwrap_or_else(|_| Err(format!("it did not end within {} s", hook.timeout.as_secs())));
        match result {
            Err(error) if tried < hook.retries => {
                tracing::info!(hook = hook.name, %error, tried, "a hook failed and is tried again");
                tried += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::object::Kind;

    /// How a command ends, and how often the API server was asked for that.
    async fn ended(commands_are_allowed: bool) -> (Result<(), String>, usize) {
        let requests = Arc::new(AtomicUsize::new(0));
        let server = {
            let requests = Arc::clone(&requests);
            tower::service_fn(move |_request: http::Request<kube::client::Body>| {
                requests.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, std::io::Error>(http::Response::builder().status(403).body(kube::client::Body::empty()).unwrap()) }
            })
        };
        let (client, queue) = (kube::Client::new(server, "demo"), WorkQueue::default());
        let functions = Functions::new(client.clone(), queue.clone(), true, CancellationToken::new());
        let runner = Runner::new(functions, client, queue, commands_are_allowed);
        let (key, id) = (Key::new(Kind::BackupSession, "demo", "s"), HookId { owner: "u".into(), before: true, index: 0 });
        let step = resolve::Step::Exec { namespace: "demo".into(), pod: "web-0".into(), container: "web".into(), command: vec!["id".into()] };
        let hook = Concrete { name: "h".into(), steps: vec![step], retries: 0, timeout: Duration::from_secs(60) };
        assert!(runner.start(key, id.clone(), Ok(hook)));
        loop {
            match runner.standings("u").remove(&id) {
                Some(Standing::Ended(result)) => return (result, requests.load(Ordering::Relaxed)),
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    #[tokio::test]
    async fn a_command_is_not_run_where_nobody_could_ask_who_may_have_it_run() {
        let refused = "commands of hooks do not run in pods here (hooks.exec and webhooks.enabled of the chart)";
        assert_eq!(ended(false).await, (Err(refused.to_owned()), 0));
        let (result, requests) = ended(true).await;
        assert!(result.unwrap_err().starts_with("in pod web-0, container web: "));
        assert_eq!(requests, 1, "where it is allowed it is tried");
    }
}
