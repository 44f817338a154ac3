use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use kube::client::Body;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Candidate, DURATION_MS, HEARD_MAX, Leadership, MARGIN_MS, RAISE_PAUSE_MS, RETRY_MS, Step};
use crate::clock::Clock;
use crate::clock::manual::ManualClock;
use crate::neighbour::Neighbour;

fn candidate() -> Candidate {
    heard_of().0
}

fn heard_of() -> (Candidate, Leadership) {
    let service = tower::service_fn(|_request: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no API here"))
    });
    let client = kube::Client::new(service, "holdfast");
    let (_, alone) = watch::channel(Neighbour::Away);
    Candidate::new(client, "holdfast", "me".into(), Arc::new(ManualClock::default()), alone)
}

fn lease(holder: &str, transitions: i32, version: &str) -> Lease {
    Lease {
        metadata: ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_transitions: Some(transitions),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }),
    }
}

#[tokio::test]
async fn a_lease_of_another_is_taken_only_after_it_stood_still_for_its_whole_duration() {
    let mut candidate = candidate();
    assert_eq!(candidate.step(None, 0), Step::Create { epoch: 1 });
    assert_eq!(candidate.step(Some(&lease("other", 3, "a")), 1_000), Step::Wait);
    assert_eq!(candidate.step(Some(&lease("other", 3, "a")), 1_000 + DURATION_MS - 1), Step::Wait);
    // A renewal seen at the last moment begins the wait anew.
    assert_eq!(candidate.step(Some(&lease("other", 3, "b")), 1_000 + DURATION_MS), Step::Wait);
    assert_eq!(candidate.step(Some(&lease("other", 3, "b")), 2 * DURATION_MS), Step::Wait);
    assert_eq!(candidate.step(Some(&lease("other", 3, "b")), 1_000 + 2 * DURATION_MS), Step::Take { epoch: 4 });
}

#[tokio::test]
async fn every_acquisition_raises_the_epoch_also_of_a_restarted_replica() {
    let mut candidate = candidate();
    assert_eq!(candidate.step(Some(&lease("me", 7, "a")), 0), Step::Take { epoch: 8 });
    assert_eq!(candidate.step(Some(&lease("", 7, "a")), 0), Step::Take { epoch: 8 });
    // Not leading any more and no longer fresh: the Lease under its own name is somebody's with the same name.
    candidate.fresh = false;
    assert_eq!(candidate.step(Some(&lease("me", 7, "a")), 0), Step::Wait);
    candidate.epoch.send_replace(7);
    assert_eq!(candidate.step(Some(&lease("me", 7, "a")), 0), Step::Renew { epoch: 7 });
    assert_eq!(candidate.step(Some(&lease("me", 8, "b")), 0), Step::Wait);
}

#[tokio::test]
async fn a_lease_that_was_deleted_is_made_again_by_who_leads_and_by_others_only_when_that_one_must_have_ended() {
    let mut candidate = candidate();
    assert_eq!(candidate.step(Some(&lease("other", 7, "a")), 0), Step::Wait);
    assert_eq!(candidate.step(None, 1_000), Step::Wait);
    assert_eq!(candidate.step(None, 1_000 + DURATION_MS - 1), Step::Wait);
    assert_eq!(candidate.step(None, 1_000 + DURATION_MS), Step::Create { epoch: 8 });
    // The one that leads has made it again meanwhile, and it is deleted again.
    assert_eq!(candidate.step(Some(&lease("other", 8, "b")), 20_000), Step::Wait);
    assert_eq!(candidate.step(None, 21_000), Step::Wait);
    candidate.epoch.send_replace(8);
    assert_eq!(candidate.step(None, 22_000), Step::Create { epoch: 9 });
}

#[tokio::test]
async fn the_epoch_rises_above_all_that_is_known_of_whatever_the_lease_says() {
    let (mut candidate, leadership) = heard_of();
    assert_eq!(candidate.step(Some(&lease("other", 7, "a")), 0), Step::Wait);
    // etcd is as it was before.
    assert_eq!(candidate.step(Some(&lease("", 3, "b")), 0), Step::Take { epoch: 8 });
    leadership.heard(20);
    leadership.heard(12);
    assert_eq!(candidate.step(Some(&lease("", 3, "b")), 0), Step::Take { epoch: 21 });
    leadership.heard(HEARD_MAX + 1);
    assert_eq!(candidate.step(Some(&lease("", 3, "b")), 0), Step::Take { epoch: 21 }, "no Lease has room for that");
    // A process that knows of nobody, but whose agents do, waits for whoever that was.
    let (mut candidate, leadership) = heard_of();
    leadership.heard(4);
    assert_eq!(candidate.step(None, 0), Step::Wait);
    assert_eq!(candidate.step(None, DURATION_MS), Step::Create { epoch: 5 });
}

#[tokio::test]
async fn a_leadership_rises_above_what_agents_know_but_not_all_the_time() {
    let (mut candidate, leadership) = heard_of();
    candidate.epoch.send_replace(1);
    leadership.heard(1);
    assert_eq!(candidate.step(Some(&lease("me", 1, "a")), 0), Step::Renew { epoch: 1 });
    leadership.heard(7);
    assert_eq!(candidate.step(Some(&lease("me", 1, "a")), 0), Step::Take { epoch: 8 });
    candidate.raised_ms = Some(1_000);
    candidate.epoch.send_replace(8);
    leadership.heard(30);
    assert_eq!(candidate.step(Some(&lease("me", 8, "b")), 1_000 + RAISE_PAUSE_MS - 1), Step::Renew { epoch: 8 });
    assert_eq!(candidate.step(Some(&lease("me", 8, "b")), 1_000 + RAISE_PAUSE_MS), Step::Take { epoch: 31 });
}

/// A clock that goes with the test's time.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn boottime_ms(&self) -> u64 {
        1_000_000 + self.0.elapsed().as_millis() as u64
    }
}

#[tokio::test(start_paused = true)]
async fn a_leadership_ends_in_time_when_the_api_server_answers_no_more() {
    let requests = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn(move |_request: http::Request<Body>| {
        let (code, answer) = match requests.fetch_add(1, Ordering::SeqCst) {
            0 => (404, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404})),
            _ => (201, json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "holdfast"}})),
        };
        let answers = requests.load(Ordering::SeqCst) <= 2;
        async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::io::Error>(http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
        }
    });
    let (_told, alone) = watch::channel(Neighbour::Away);
    let clock = Arc::new(TestClock(Instant::now()));
    let (candidate, leadership) = Candidate::new(kube::Client::new(service, "holdfast"), "holdfast", "me".into(), clock, alone);
    let mut changes = leadership.changes();
    let running = tokio::spawn(candidate.run(CancellationToken::new()));
    changes.wait_for(|epoch| *epoch == 1).await.unwrap();
    let began = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(600), changes.wait_for(|epoch| *epoch == 0)).await;
    assert!(ended.is_ok_and(|ended| ended.is_ok()), "it leads on for ever");
    assert!(began.elapsed() <= Duration::from_millis(DURATION_MS - MARGIN_MS + RETRY_MS), "{:?}", began.elapsed());
    running.abort();
}
