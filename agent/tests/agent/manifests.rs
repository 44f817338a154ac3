//! Manifests on their way through a real agent and its sandboxed worker: what the controller gives is what it gets back.

use holdfast_proto::v1::agent_message::Kind as Said;
use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{Assign, Data, DataAnswer, DataPiece, ReadSnapshots, RestoreResult, ReturnManifests, StoreManifests, TaskFinished, TaskRef, assign};
use holdfast_proto::{PIECE_BYTES_MAX, v1};

use crate::backup::{backed_up, noise, ready};
use crate::controller::Attended;
use crate::node::{Node, assignment, runtime};
use crate::tasks::reason;

const PATH: &str = "/manifests.yaml";

fn store(node: &Node) -> Assign {
    assignment(assign::Spec::StoreManifests(StoreManifests {
        repository: node.repository(),
        host: "shop/Deployment/web".into(),
        session: "daily".into(),
        labels: [("snapshot".to_owned(), "s".to_owned())].into(),
        path: PATH.into(),
        ..StoreManifests::default()
    }))
}

fn give_back(node: &Node, snapshot: &str) -> Assign {
    let task = ReturnManifests { repository: node.repository(), snapshot_id: snapshot.into(), path: PATH.into() };
    assignment(assign::Spec::ReturnManifests(task))
}

/// What the repository holds under the name of the Snapshot.
async fn committed(node: &Node, stream: &mut Attended) -> usize {
    let read = ReadSnapshots { repository: node.repository(), after: String::new() };
    stream.say(Say::Assign(assignment(assign::Spec::ReadSnapshots(read)))).await;
    match stream.finished().await.outcome {
        Some(Outcome::ReadBack(page)) => page.views.iter().map(|view| view.stored.len()).sum(),
        other => panic!("nothing was read back: {other:?}"),
    }
}

/// Serves each question by `piece`, which says what is at an offset; none is no answer.
async fn served(stream: &mut Attended, assign: Assign, mut piece: impl FnMut(u64) -> Option<Data>) -> TaskFinished {
    stream.say(Say::Assign(assign)).await;
    loop {
        match stream.next().await {
            Said::DataRequest(request) => {
                if let Some(data) = piece(request.offset) {
                    stream.say(Say::Data(Data { task: request.task, offset: request.offset, ..data })).await;
                }
            }
            Said::Finished(finished) => return finished,
            _ => {}
        }
    }
}

fn slice(content: &[u8], offset: u64) -> Data {
    let start = usize::try_from(offset).unwrap();
    let end = content.len().min(start + PIECE_BYTES_MAX);
    Data { bytes: content[start..end].to_vec(), last: end == content.len(), ..Data::default() }
}

async fn stored(node: &Node, stream: &mut Attended, content: &[u8]) -> String {
    let finished = served(stream, store(node), |offset| Some(slice(content, offset))).await;
    backed_up(finished).snapshot_id
}

/// The next piece, and of which task.
async fn brought(stream: &mut Attended) -> (Option<TaskRef>, DataPiece) {
    stream
        .until(|said| match said {
            Said::DataPiece(piece) => Some((piece.task.clone(), piece)),
            Said::Finished(finished) => panic!("it ended before it had brought all: {finished:?}"),
            _ => None,
        })
        .await
}

#[test]
fn what_the_controller_gives_is_what_it_gets_back() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        // The first answer is lost: the worker asks again.
        let content = noise(PIECE_BYTES_MAX * 5 / 2);
        let mut lost = false;
        let finished = served(&mut stream, store(&node), |offset| {
            if !std::mem::replace(&mut lost, true) {
                return None;
            }
            let data = slice(&content, offset);
            let left_out = if data.last { vec!["secrets: forbidden".to_owned()] } else { Vec::new() };
            Some(Data { objects: 7, left_out_count: left_out.len() as u64, left_out_first: left_out, ..data })
        })
        .await;
        let result = backed_up(finished);
        assert_eq!((result.unreadable_count, result.unreadable_first.as_slice()), (1, &["secrets: forbidden".to_owned()][..]));
        assert_eq!((result.sources[0].container_path.as_str(), result.sources[0].bytes, result.sources[0].files), (PATH, content.len() as u64, 7));

        stream.say(Say::Assign(give_back(&node, &result.snapshot_id))).await;
        let mut got = Vec::new();
        let answer = RestoreResult { files: 7, summary: "7 made".into(), ..RestoreResult::default() };
        loop {
            let (task, piece) = brought(&mut stream).await;
            assert_eq!(piece.offset, got.len() as u64);
            assert!(piece.bytes.len() <= PIECE_BYTES_MAX);
            let is_poll = piece.last && piece.bytes.is_empty();
            got.extend(piece.bytes);
            // When all is there it takes a while; the worker asks how far it is.
            let result = is_poll.then(|| answer.clone());
            stream.say(Say::DataAnswer(DataAnswer { task, offset: got.len() as u64, done: 3, total: 7, result, ..DataAnswer::default() })).await;
            if is_poll {
                break;
            }
        }
        assert!(got == content, "another file came back");
        assert_eq!(stream.finished().await.outcome, Some(Outcome::Restore(answer)));
        agent.stop().await;
    });
}

#[test]
fn a_stream_that_the_controller_cannot_end_is_no_backup() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let content = noise(PIECE_BYTES_MAX * 2);
        for retry_may_help in [false, true] {
            let error = "nothing could be read: secrets is forbidden".to_owned();
            let finished = served(&mut stream, store(&node), |offset| match offset {
                0 => Some(slice(&content, 0)),
                _ => Some(Data { last: true, error: error.clone(), retry_may_help, ..Data::default() }),
            })
            .await;
            let Some(Outcome::Failure(failed)) = &finished.outcome else { panic!("{finished:?}") };
            assert_eq!((failed.message.as_str(), failed.retry_may_help), (error.as_str(), retry_may_help));
        }
        assert_eq!(committed(&node, &mut stream).await, 0);
        stored(&node, &mut stream, &content).await;
        assert_eq!(committed(&node, &mut stream).await, 1);
        agent.stop().await;
    });
}

#[test]
fn a_restore_that_the_controller_refuses_fails_with_its_words_and_one_that_is_cancelled_ends() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let snapshot = stored(&node, &mut stream, b"---\n{}\n").await;
        stream.say(Say::Assign(give_back(&node, &snapshot))).await;
        let (task, piece) = brought(&mut stream).await;
        assert!(piece.last);
        let error = "a new attempt begins".to_owned();
        stream.say(Say::DataAnswer(DataAnswer { task, error: error.clone(), retry_may_help: true, ..DataAnswer::default() })).await;
        let finished = stream.finished().await;
        let Some(Outcome::Failure(failed)) = &finished.outcome else { panic!("{finished:?}") };
        assert_eq!((failed.message.as_str(), failed.retry_may_help), (error.as_str(), true));

        stream.say(Say::Assign(give_back(&node, &snapshot))).await;
        let (task, _) = brought(&mut stream).await;
        stream.say(Say::Cancel(v1::Cancel { task, reason: "no longer wanted".into() })).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::Cancelled));

        stream.say(Say::Assign(give_back(&node, "0000000000000001-00000000000000000000000000000000"))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::SnapshotNotFound));
        agent.stop().await;
    });
}
