//! Checks part by part, in sandboxed workers on a real repository.

use std::fs;
use std::path::PathBuf;

use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{Assign, CheckResult, CheckTask, assign};

use crate::backup::{backed_up, backup_of, files_below, noise, ready};
use crate::controller::Attended;
use crate::node::{Node, assignment, runtime};
use crate::tasks::reason;

const PARTS: u32 = 4;

fn check(node: &Node, after: &str) -> Assign {
    assignment(assign::Spec::Check(CheckTask { repository: node.repository(), parts: PARTS, after: after.into(), ..CheckTask::default() }))
}

/// The parts of a round, until its end or a finding.
async fn round(node: &Node, stream: &mut Attended) -> Vec<CheckResult> {
    let (mut parts, mut after) = (Vec::new(), String::new());
    loop {
        stream.say(Say::Assign(check(node, &after))).await;
        let Some(Outcome::Check(result)) = stream.finished().await.outcome else { panic!("no check") };
        after.clone_from(&result.next);
        let is_over = after.is_empty() || !result.intact;
        parts.push(result);
        if is_over {
            return parts;
        }
    }
}

fn packs(node: &Node) -> Vec<PathBuf> {
    files_below(&node.storage().join("bucket/demo/repo/holdfast/v1/packs"))
}

#[test]
fn what_is_rotten_is_found_by_the_part_that_holds_it() {
    let Some(node) = Node::with_mounts() else { return };
    let source = node.volume("pv-source");
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        for number in 0..4 {
            // Other noise each time: nothing of it is stored already.
            let mut content = noise(2 << 20);
            content.iter_mut().for_each(|byte| *byte = byte.wrapping_add(number));
            fs::write(source.join(number.to_string()), content).unwrap();
            stream.say(Say::Assign(backup_of(node.repository(), "pv-source", ""))).await;
            backed_up(stream.finished().await);
        }
        let total: u64 = packs(&node).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        let parts = round(&node, &mut stream).await;
        assert!(parts.iter().all(|part| part.intact && part.repository_bytes == total), "{parts:?}");
        assert!((2..=PARTS as usize).contains(&parts.len()), "{parts:?}");
        assert_eq!(parts.iter().map(|part| part.bytes_read).sum::<u64>(), total, "each byte once");

        stream.say(Say::Assign(check(&node, "nonsense"))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::InvalidTask));

        // Of the largest pack a byte in the middle, which no length and no list tells of.
        let largest = packs(&node).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut content = fs::read(&largest).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::remove_file(&largest).unwrap();
        fs::write(&largest, content).unwrap();
        let parts = round(&node, &mut stream).await;
        let (last, before) = parts.split_last().unwrap();
        assert!(!last.intact && before.iter().all(|part| part.intact), "{parts:?}");
        let name = largest.file_name().unwrap().to_str().unwrap();
        assert!(last.findings_count == 1 && last.findings_first[0].contains(name), "{last:?}");
        // It is known from then on, whichever part is read.
        let next = round(&node, &mut stream).await;
        assert!(next.len() == 1 && !next[0].intact, "{next:?}");
        agent.stop().await;
    });
}
