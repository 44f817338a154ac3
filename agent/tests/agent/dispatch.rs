//! The stream: who may attend, what is said again, who is obeyed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_agent::Source;
use holdfast_proto::v1::agent_message::Kind as Said;
use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_refused::Reason;
use holdfast_proto::v1::{Assign, FinishedAck, Leadership, ProbeStorage, assign};

use crate::controller::{Attended, Controller, TOKEN};
use crate::node::{Agent, Node, assignment, runtime};

fn probe(node: &Node) -> Assign {
    assignment(assign::Spec::ProbeStorage(ProbeStorage { backend: node.backend() }))
}

async fn refusal(stream: &mut Attended) -> Reason {
    stream
        .until(|said| match said {
            Said::Refused(refused) => Some(refused.reason()),
            _ => None,
        })
        .await
}

#[test]
fn it_says_hello_and_what_it_can() {
    let node = Node::plain();
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
        let (_stream, hello) = controller.welcome(1).await;
        assert_eq!((hello.protocol_version, hello.slots), (1, 2));
        assert!(hello.capabilities.iter().any(|capability| capability == "backup"));
        assert!(hello.running.is_empty() && hello.instance.len() == 32);
        agent.stop().await;
    });
}

#[test]
fn a_result_is_repeated_after_a_reconnect_until_it_is_acknowledged() {
    let node = Node::plain();
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let address = controller.address;
        let agent = Agent::start(node.config(&format!("localhost:{}", address.port())));
        let (mut stream, first_hello) = controller.welcome(1).await;
        let assign = probe(&node);
        stream.say(Say::Assign(assign.clone())).await;
        let result = stream.finished().await;

        // The controller dies before it acknowledges; another takes its place at the same address.
        drop(stream);
        drop(controller);
        let mut controller = Controller::start_at(&node.authority, address).await;
        let (mut stream, hello) = controller.welcome(2).await;
        assert_eq!(hello.instance, first_hello.instance);
        assert!(hello.running.iter().any(|running| running.task == assign.task && running.finished));
        assert_eq!(stream.finished().await, result);
        stream.say(Say::FinishedAck(FinishedAck { task: assign.task.clone() })).await;

        // A new leadership on the same stream: greeted with what runs, and nothing is repeated any more.
        stream.say(Say::Leadership(Leadership { epoch: 3 })).await;
        let Said::Hello(hello) = stream.next().await else { panic!("a new leader is not greeted") };
        assert!(hello.running.is_empty());
        assert_eq!((first_hello.highest_epoch, hello.highest_epoch), (0, 3));
        agent.stop().await;
    });
}

#[test]
fn a_deposed_leader_and_an_unknown_task_are_refused() {
    let node = Node::plain();
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
        let (mut stream, _) = controller.welcome(5).await;
        stream.say(Say::Assign(Assign { epoch: 4, ..probe(&node) })).await;
        assert_eq!(refusal(&mut stream).await, Reason::StaleEpoch);
        stream.say(Say::Assign(Assign { epoch: 5, spec: None, ..probe(&node) })).await;
        assert_eq!(refusal(&mut stream).await, Reason::UnknownTask);
        stream.say(Say::Assign(Assign { epoch: 5, ..probe(&node) })).await;
        stream.finished().await;
        agent.stop().await;
    });
}

#[test]
fn a_server_of_another_authority_never_hears_the_token() {
    let node = Node::plain();
    runtime().block_on(async {
        let impostor = crate::controller::Authority::new();
        let fake = Controller::start(&impostor).await;
        let address = fake.address;
        let agent = Agent::start(node.config(&format!("localhost:{}", address.port())));
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(*fake.refused.lock().unwrap(), 0);
        drop(fake);
        let mut controller = Controller::start_at(&node.authority, address).await;
        controller.welcome(1).await;
        agent.stop().await;
    });
}

#[test]
fn token_and_authority_are_read_again_at_each_dial() {
    let node = Node::plain();
    runtime().block_on(async {
        let mut controller = Controller::start(&node.authority).await;
        let projected = Arc::new(AtomicBool::new(false));
        let mut config = node.config(&format!("localhost:{}", controller.address.port()));
        let is_projected = Arc::clone(&projected);
        config.token = Source::Function(Arc::new(move || {
            Ok(if is_projected.load(Ordering::Relaxed) { TOKEN.into() } else { b"an-old-one".to_vec() })
        }));
        let agent = Agent::start(config);
        let refused = async {
            while *controller.refused.lock().unwrap() < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::controller::PATIENCE, refused).await.expect("the old token was not tried");
        projected.store(true, Ordering::Relaxed);
        controller.welcome(1).await;
        agent.stop().await;
    });
}
