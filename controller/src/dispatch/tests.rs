use tokio::sync::watch;

use super::*;
use crate::clock::manual::ManualClock;
use crate::leadership::Candidate;
use crate::neighbour::Neighbour;

fn dispatcher() -> (Dispatcher, Candidate) {
    let service = tower::service_fn(|_request: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no API here"))
    });
    let clock: SharedClock = Arc::new(ManualClock::default());
    let (_, alone) = watch::channel(Neighbour::Away);
    let (candidate, leadership) = Candidate::new(kube::Client::new(service, "holdfast"), "holdfast", "me".into(), Arc::clone(&clock), alone);
    (Dispatcher::new(clock, leadership, Limits::default(), WorkQueue::default(), CancellationToken::new()), candidate)
}

/// The epochs that an agent hears of, in order.
fn heard(messages: &mut mpsc::Receiver<Result<v1::ControllerMessage, Status>>) -> Vec<u64> {
    use v1::controller_message::Kind;
    let kinds = std::iter::from_fn(|| messages.try_recv().ok()).filter_map(|message| message.unwrap().kind);
    let epochs = kinds.map(|kind| match kind {
        Kind::Welcome(welcome) => welcome.epoch,
        Kind::Leadership(leadership) => leadership.epoch,
        other => panic!("{other:?}"),
    });
    epochs.collect()
}

#[tokio::test]
async fn a_stream_that_opens_during_a_takeover_hears_who_leads() {
    let (dispatcher, candidate) = dispatcher();
    let (outgoing, mut messages) = mpsc::channel(8);
    let opening = {
        // The leadership begins, and is announced, while the stream is about to be added.
        let _streams = dispatcher.0.streams.lock().unwrap();
        let dispatcher = dispatcher.clone();
        let opening = std::thread::spawn(move || dispatcher.open("n".into(), outgoing));
        std::thread::sleep(Duration::from_millis(100));
        candidate.begin(3);
        opening
    };
    opening.join().unwrap();
    assert_eq!(heard(&mut messages), [3]);
    dispatcher.lead(4);
    dispatcher.follow();
    assert_eq!(heard(&mut messages), [4, 0], "and of every change after it");
}

#[tokio::test]
async fn what_an_agent_has_seen_of_leaderships_is_heard() {
    let (dispatcher, candidate) = dispatcher();
    dispatcher.joined(AgentId(1), "n".into(), v1::Hello { highest_epoch: 7, ..v1::Hello::default() });
    assert_eq!(candidate.next_epoch(), 8);
}
