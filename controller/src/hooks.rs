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

/// Runs hooks. What it knows is lost with the process: what has ended is in the objects.
#[derive(Clone)]
pub struct Runner {
    functions: Functions,
    client: kube::Client,
    runs: Runs<HookId>,
    /// Invokers of sessions that run, as they were last seen.
    invokers: Arc<Mutex<HashMap<Key, Invoker>>>,
}

impl Runner {
    /// A runner that wakes a hook's object when it has ended. Its hooks end with the Functions' time.
    pub fn new(functions: Functions, client: kube::Client, queue: WorkQueue) -> Self {
        Self { functions, client, runs: Runs::new(queue, RUNNING_MAX), invokers: Arc::default() }
    }

    /// How the hooks of a session stand.
    pub fn standings(&self, owner: &str) -> HashMap<HookId, Standing> {
        self.runs.standings(|id| id.owner == owner)
    }

    /// Starts a hook that was not started; false if too many run.
    pub fn start(&self, key: Key, id: HookId, hook: Result<Concrete, String>) -> bool {
        let (functions, client) = (self.functions.clone(), self.client.clone());
        self.runs.start(key, id, async move {
            match hook {
                Ok(hook) => functions.until_shutdown(tries(&functions, &client, &hook)).await,
                Err(error) => Some(Err(error)),
            }
        })
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
