use std::sync::Arc;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use tokio::sync::watch;

use super::{Candidate, DURATION_MS, Step};
use crate::clock::manual::ManualClock;
use crate::neighbour::Neighbour;

fn candidate() -> Candidate {
    let service = tower::service_fn(|_request: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no API here"))
    });
    let client = kube::Client::new(service, "holdfast");
    let (_, alone) = watch::channel(Neighbour::Away);
    Candidate::new(client, "holdfast", "me".into(), Arc::new(ManualClock::default()), alone).0
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
    assert_eq!(candidate.step(None, 0), Step::Create);
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
