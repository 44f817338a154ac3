//! Tasks without a volume, and how they end.

use std::fs;
use std::time::{Duration, Instant};

use holdfast_agent::SandboxMode;
use holdfast_proto::v1::agent_message::Kind as Said;
use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::task_refused::Reason as Refused;
use holdfast_proto::v1::{
    Assign, Backend, Cancel, InitRepository, LocalDirectory, ProbeStorage, RepositoryAccess, S3, TaskFinished, View, WriteViews, assign, backend,
};
use tokio::net::TcpListener;

use crate::controller::{Attended, Controller};
use crate::node::{Agent, Node, assignment, runtime};

async fn attended(node: &Node) -> (Controller, Agent, Attended) {
    let mut controller = Controller::start(&node.authority).await;
    let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
    let (stream, _) = controller.welcome(1).await;
    (controller, agent, stream)
}

pub(crate) fn reason(finished: &TaskFinished) -> Option<Reason> {
    match &finished.outcome {
        Some(Outcome::Failure(failure)) => Some(failure.reason()),
        _ => None,
    }
}

/// A store that accepts connections and never answers.
pub(crate) async fn silent_store() -> (TcpListener, Backend) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let s3 = S3 { endpoint, bucket: "b".into(), access_key_id: "a".into(), secret_access_key: "s".into(), ..S3::default() };
    (listener, Backend { kind: Some(backend::Kind::S3(s3)) })
}

fn silent_probe(backend: Backend) -> Assign {
    assignment(assign::Spec::ProbeStorage(ProbeStorage { backend: Some(backend) }))
}

#[test]
fn a_storage_is_probed_and_a_repository_made_once() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        stream.say(Say::Assign(assignment(assign::Spec::ProbeStorage(ProbeStorage { backend: node.backend() })))).await;
        let Some(Outcome::Init(probed)) = stream.finished().await.outcome else { panic!("no answer to the probe") };
        assert!(probed.conditional_create);
        let init = || assignment(assign::Spec::InitRepository(InitRepository { repository: node.repository(), only_existing: false }));
        stream.say(Say::Assign(init())).await;
        let Some(Outcome::Init(made)) = stream.finished().await.outcome else { panic!("no repository") };
        stream.say(Say::Assign(init())).await;
        let Some(Outcome::Init(again)) = stream.finished().await.outcome else { panic!("no repository") };
        assert!(made.created && !again.created);
        assert_eq!(made.repository_id, again.repository_id);
        assert!(node.storage().join("bucket/demo/repo/holdfast/v1/config").exists());
        let wrong = RepositoryAccess { password: b"wrong".to_vec(), ..node.repository().unwrap() };
        stream.say(Say::Assign(assignment(assign::Spec::InitRepository(InitRepository { repository: Some(wrong), only_existing: false })))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::WrongPassword));
        agent.stop().await;
    });
}

#[test]
fn views_are_written_over_and_removed_and_nothing_else_is() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let views = |put: Vec<(&str, &str)>, remove: Vec<&str>| {
            let put = put.into_iter().map(|(path, yaml)| View { path: path.into(), yaml: yaml.into() }).collect();
            let remove = remove.into_iter().map(str::to_owned).collect();
            assignment(assign::Spec::WriteViews(WriteViews { backend: node.backend(), put, remove }))
        };
        let file = node.storage().join("bucket/demo/repository.yaml");
        for text in ["a: 1\n", "a: 2\n"] {
            stream.say(Say::Assign(views(vec![("demo/repository.yaml", text)], Vec::new()))).await;
            assert!(matches!(stream.finished().await.outcome, Some(Outcome::Views(result)) if result.written == 1));
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        for hostile in ["demo/repo/holdfast/v1/x.yaml", "../outside.yaml", "demo/config", "/../x.yaml"] {
            stream.say(Say::Assign(views(vec![("demo/other.yaml", "x"), (hostile, "x")], Vec::new()))).await;
            assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask), "{hostile}");
        }
        assert!(!node.storage().join("bucket/demo/other.yaml").exists(), "nothing is written when one name is wrong");
        stream.say(Say::Assign(views(Vec::new(), vec!["demo/repository.yaml", "demo/never.yaml"]))).await;
        assert!(matches!(stream.finished().await.outcome, Some(Outcome::Views(_))));
        assert!(!file.exists());
        agent.stop().await;
    });
}

#[test]
fn a_local_directory_outside_the_allow_list_is_refused() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let path = node.path().join("elsewhere").to_str().unwrap().to_owned();
        let backend = Backend { kind: Some(backend::Kind::Local(LocalDirectory { path })) };
        stream.say(Say::Assign(silent_probe(backend))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask));
        assert!(!node.path().join("elsewhere").exists());
        agent.stop().await;
    });
}

#[test]
fn a_store_that_hangs_is_cancelled_and_a_stalled_task_ends_itself() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let (_listener, backend) = silent_store().await;
        let assign = silent_probe(backend.clone());
        stream.say(Say::Assign(assign.clone())).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.say(Say::Cancel(Cancel { task: assign.task, reason: "the session was deleted".into() })).await;
        let began = Instant::now();
        assert_eq!(reason(&stream.finished().await), Some(Reason::Cancelled));
        assert!(began.elapsed() < Duration::from_secs(3));
        stream.say(Say::Assign(Assign { stall_timeout_ms: 1_500, ..silent_probe(backend) })).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::Stalled));
        agent.stop().await;
    });
}

#[test]
fn slots_are_a_limit_and_a_newer_attempt_takes_the_place_of_the_older() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let (_listener, backend) = silent_store().await;
        let first = silent_probe(backend.clone());
        stream.say(Say::Assign(first.clone())).await;
        stream.say(Say::Assign(silent_probe(backend.clone()))).await;
        stream.say(Say::Assign(silent_probe(backend))).await;
        let refused = stream.until(|said| match said {
            Said::Refused(refused) => Some(refused.reason()),
            _ => None,
        });
        assert_eq!(refused.await, Refused::NoSlot);

        let mut second = assignment(assign::Spec::ProbeStorage(ProbeStorage { backend: node.backend() }));
        second.task = first.task.clone();
        second.task.as_mut().unwrap().attempt = 2;
        stream.say(Say::Assign(second.clone())).await;
        let older = stream.finished().await;
        assert_eq!((older.task.as_ref(), reason(&older)), (first.task.as_ref(), Some(Reason::Cancelled)));
        let newer = stream.finished().await;
        assert_eq!(newer.task, second.task);
        assert!(matches!(newer.outcome, Some(Outcome::Init(_))));
        agent.stop().await;
    });
}

#[test]
fn a_worker_that_dies_fails_its_own_task_only() {
    let node = Node::plain();
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let mut config = node.config(&format!("localhost:{}", controller.address.port()));
        // Without the start's own look at the sandbox, which needs a worker that lives.
        config.sandbox = SandboxMode::Off;
        config.worker_command = vec!["/bin/sh".into(), "-c".into(), "kill -SEGV $$".into()];
        let agent = Agent::start(config);
        let (mut stream, _) = controller.welcome(1).await;
        let probe = || assignment(assign::Spec::ProbeStorage(ProbeStorage { backend: node.backend() }));
        for _ in 0..2 {
            stream.say(Say::Assign(probe())).await;
            assert_eq!(reason(&stream.finished().await), Some(Reason::WorkerCrashed));
        }
        agent.stop().await;
    });
}
