//! An API server on a bad day: by a seed it refuses, conflicts, is busy, acts and loses its answer, is late, and drops watches.
//!
//! What goes wrong is decided by the request and how often the like of it was made, so one seed is one bad day whatever the timing.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use holdfast_standalone::{ApiService, ResponseBody};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use kube::client::Body;
use serde_json::json;
use tower::Service;

use crate::agent::Agent;
use crate::house::{self, House};
use crate::session_of;

/// Of a thousand requests, so many go wrong in each way.
const EACH_PER_THOUSAND: u64 = 25;
const LATE_MS_MAX: u64 = 120;
const WATCH_EVENTS_MAX: u64 = 12;
/// A way out of everything is found within this.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// 500, and nothing was done.
    Refused,
    /// 500, and it was done.
    AnswerLost,
    /// 409 to a write, which was not done.
    Conflict,
    /// 429, and nothing was done.
    Busy,
    /// Done, a while later.
    Late,
    /// 410 to a watch.
    Expired,
    /// A watch that ends after a few events.
    Dropped,
}

/// What an API server does to its clients; clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct BadDay {
    seed: u64,
    over: Arc<AtomicBool>,
    made: Arc<Mutex<HashMap<(Method, String), u64>>>,
    seen: Arc<Mutex<BTreeMap<Fault, usize>>>,
}

/// The API as it is on that day.
#[derive(Clone)]
pub(crate) struct FaultyApi {
    day: BadDay,
    api: ApiService,
}

impl BadDay {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(crate) fn client(&self, api: ApiService) -> kube::Client {
        kube::Client::new(FaultyApi { day: self.clone(), api }, "default")
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// What goes wrong with this request, and a number for how much.
    fn fault(&self, request: &Request<Body>) -> Option<(Fault, u64)> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let path = request.uri().path().to_owned();
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let occurrence = {
            let mut made = self.made.lock().unwrap();
            let count = made.entry((request.method().clone(), format!("{path}?{watches}"))).or_default();
            *count += 1;
            *count
        };
        let mut hasher = DefaultHasher::new();
        (self.seed, request.method().as_str(), &path, watches, occurrence).hash(&mut hasher);
        let drawn = hasher.finish();
        let fault = match (drawn % 1000) / EACH_PER_THOUSAND {
            0 => Fault::Refused,
            1 if !watches => Fault::AnswerLost,
            2 if request.method() != Method::GET => Fault::Conflict,
            3 => Fault::Busy,
            4..=7 if !watches => Fault::Late,
            4 if watches => Fault::Expired,
            // A watch is long: most of them end before their time.
            _ if watches => Fault::Dropped,
            _ => return None,
        };
        *self.seen.lock().unwrap().entry(fault).or_default() += 1;
        Some((fault, drawn >> 32))
    }
}

fn refused(code: u16, reason: &str) -> Response<ResponseBody> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("a bad day: {reason}")});
    let mut response = Response::new(Full::new(status.to_string().into()).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// The first events, and then the end.
fn cut(response: Response<ResponseBody>, events: u64) -> Response<ResponseBody> {
    response.map(|body| StreamBody::new(BodyStream::new(body).take(events as usize)).boxed_unsync())
}

impl Service<Request<Body>> for FaultyApi {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fault = self.day.fault(&request);
        let acted = match fault {
            Some((Fault::Refused, _)) => Err(refused(500, "InternalError")),
            Some((Fault::Conflict, _)) => Err(refused(409, "Conflict")),
            Some((Fault::Busy, _)) => Err(refused(429, "TooManyRequests")),
            Some((Fault::Expired, _)) => Err(refused(410, "Expired")),
            _ => Ok(self.api.call(request)),
        };
        Box::pin(async move {
            let answer = match acted {
                Ok(acted) => acted.await?,
                Err(refused) => return Ok(refused),
            };
            Ok(match fault {
                Some((Fault::AnswerLost, _)) => refused(500, "InternalError"),
                Some((Fault::Late, much)) => {
                    tokio::time::sleep(Duration::from_millis(much % LATE_MS_MAX)).await;
                    answer
                }
                Some((Fault::Dropped, much)) => cut(answer, 1 + much % WATCH_EVENTS_MAX),
                _ => answer,
            })
        })
    }
}

async fn phase(house: &House, kind: &str, name: &str) -> String {
    let object = house.get(kind, name).await;
    object.and_then(|object| object["status"]["phase"].as_str().map(str::to_owned)).unwrap_or_default()
}

async fn reached(house: &House, kind: &str, name: &str, wanted: &str) {
    house.until_within(PATIENCE, &format!("{kind} {name} to be {wanted}"), || async { phase(house, kind, name).await == wanted }).await;
}

/// From a storage to a restore, with a controller that is killed in the middle and a policy that keeps one Snapshot.
async fn live_through(seed: u64) {
    let day = BadDay::new(seed);
    let mut house = House::start_on(day.clone()).await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(1)).await;
    reached(&house, "BackupStorage", "store", "Ready").await;
    house.create(house::configuration("one")).await;
    let first = session_of(&house, "one").await;
    reached(&house, "BackupSession", &first, "Succeeded").await;

    agent.hold(true);
    house.create(by_hand("second")).await;
    house.until_within(PATIENCE, "the second backup to run", || async { agent.attempts().len() >= 2 }).await;
    house.kill_controller().await;
    agent.let_go();
    let house = house.start_controller().await;
    reached(&house, "BackupSession", "second", "Succeeded").await;
    house.create(house::restore("back")).await;
    reached(&house, "RestoreSession", "back", "Succeeded").await;
    house
        .until_within(PATIENCE, "backups to go on", || async { house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"] != true })
        .await;

    // One Snapshot is left, in one piece; what is gone was forgotten.
    house.until_within(PATIENCE, "one Snapshot to be left", || async { house.names("Snapshot").await == ["one-repo-second"] }).await;
    assert_eq!(phase(&house, "Snapshot", "one-repo-second").await, "Succeeded");
    house
        .until_within(PATIENCE, "the first one to be forgotten", || async { agent.memory.lock().unwrap().forgotten.iter().any(|id| id == "e-1") })
        .await;
    let kept = house.get("Snapshot", "one-repo-second").await.unwrap()["status"]["components"]["dump"]["resticStats"][0]["summary"]["id"].clone();
    assert!(kept.is_string(), "the Snapshot says which one it is");
    let forgotten = agent.memory.lock().unwrap().forgotten.clone();
    assert!(!forgotten.iter().any(|id| *id == kept), "what is kept was forgotten: {forgotten:?}");

    house.delete("BackupConfiguration", "one").await;
    house.until_within(PATIENCE, "the configuration to go", || async { house.get("BackupConfiguration", "one").await.is_none() }).await;
    let seen = day.seen.lock().unwrap().clone();
    println!("seed {seed}: {seen:?}");
    day.end();
}

fn by_hand(name: &str) -> serde_json::Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "one"}, "session": "daily"}})
}

/// Days by their seeds: a number of them from the first on, or one (`HOLDFAST_FAULT_SEED`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_of_the_api_server_leaves_nothing_undone() {
    // With `--nocapture` and RUST_LOG: what the controller says on a day that is replayed.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("HOLDFAST_FAULT_SEED") {
        return live_through(seed).await;
    }
    let days = number("HOLDFAST_FAULT_DAYS").unwrap_or(6);
    for seed in 1..=days {
        live_through(seed).await;
    }
}
