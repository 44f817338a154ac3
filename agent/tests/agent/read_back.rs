//! Views read back from a real store, by sandboxed workers: in pages, with what is damaged named, beside what the repository vouches for.

use std::collections::BTreeMap;
use std::fs;

use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::task_finished::Outcome;
use holdfast_proto::v1::{InitRepository, ReadBackResult, ReadRepositories, ReadSnapshots, RepositoryAccess, assign};
use serde_json::Value;

use crate::backup::{backed_up, backup_of, ready};
use crate::controller::{Attended, Controller};
use crate::node::{Agent, Node, assignment, runtime};
use crate::tasks::reason;

const KUBESTASH_REPOSITORY: &str = include_str!("../views/kubestash-repository.yaml");
const KUBESTASH_SNAPSHOT: &str = include_str!("../views/kubestash-snapshot.yaml");
const KUBESTASH_NAME: &str = "gcs-demo-repo-sample-backup-sts-demo-session-1702543201";

fn write(node: &Node, path: &str, text: &str) {
    let path = node.storage().join("bucket").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn attended(node: &Node) -> (Controller, Agent, Attended) {
    let mut controller = Controller::start(&node.authority).await;
    let agent = Agent::start(node.config(&format!("localhost:{}", controller.address.port())));
    let (stream, _) = controller.welcome(1).await;
    (controller, agent, stream)
}

/// All pages of a task, each asked for behind the last.
async fn pages(stream: &mut Attended, spec: impl Fn(String) -> assign::Spec) -> Vec<ReadBackResult> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        stream.say(Say::Assign(assignment(spec(after)))).await;
        let Some(Outcome::ReadBack(page)) = stream.finished().await.outcome else { panic!("nothing was read back") };
        after = page.next.clone();
        pages.push(page);
        if after.is_empty() {
            return pages;
        }
    }
}

fn paths(pages: &[ReadBackResult]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.views).map(|view| view.path.as_str()).collect()
}

#[test]
fn every_repository_below_the_prefix_is_found_once_and_in_order() {
    let node = Node::plain();
    let view = |name: &str| format!("kind: Repository\nmetadata: {{name: {name}}}\n");
    for number in 0..230 {
        write(&node, &format!("teams/team-{number:03}/db/repository.yaml"), &view("db"));
    }
    write(&node, "demo/sts/repository.yaml", KUBESTASH_REPOSITORY);
    // One directory in another; names that only look like a repository's own folders.
    write(&node, "demo/sts/inner/repository.yaml", &view("inner"));
    write(&node, "repository/x/repository.yaml", &view("x"));
    write(&node, "demo-2/repository.yaml", &view("demo-2"));
    // What a repository has for itself is not looked into.
    write(&node, "demo/sts/holdfast/v1/packs/repository.yaml", &view("no"));
    write(&node, "demo/sts/snapshots/repository.yaml", &view("no"));
    write(&node, "demo/sts/repository/v1/s/dump/repository.yaml", &view("no"));
    write(&node, "lost/holdfast/v1/packs/data/repository.yaml", &view("no"));
    write(&node, "repository.yaml", &view("no"));
    write(&node, "a/b/c/d/e/f/g/h/i/repository.yaml", &view("no"));
    write(&node, "metadata.yaml", "half: [");
    write(&node, "broken/repository.yaml", "kind: Repository\nmetadata: {name: [");
    write(&node, "huge/repository.yaml", &format!("a: {}", "x".repeat(300_000)));
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let pages = pages(&mut stream, |after| assign::Spec::ReadRepositories(ReadRepositories { backend: node.backend(), after })).await;
        let found = paths(&pages);
        let mut expected: Vec<String> = ["demo/sts", "demo/sts/inner", "demo-2", "repository/x"].iter().map(|path| format!("{path}/repository.yaml")).collect();
        expected.extend((0..230).map(|number| format!("teams/team-{number:03}/db/repository.yaml")));
        assert_eq!(found, expected);
        assert!(pages.len() > 2 && pages.iter().all(|page| page.views.len() <= 100), "{}", pages.len());
        assert_eq!(pages.iter().map(|page| page.damaged_count).sum::<u64>(), 2);
        let damaged: Vec<_> = pages.iter().flat_map(|page| &page.damaged_first).collect();
        assert!(damaged[0].starts_with("broken/repository.yaml: ") && damaged[1] == "huge/repository.yaml: too large for a view", "{damaged:?}");
        let json: Value = serde_json::from_slice(&pages[0].views[0].json).unwrap();
        assert_eq!(json["spec"]["encryptionSecret"]["name"], "encrypt-secret");
        agent.stop().await;
    });
}

#[test]
fn a_prefix_with_nothing_in_it_has_nothing_to_read_back() {
    let node = Node::plain();
    runtime().block_on(async {
        let (_controller, agent, mut stream) = attended(&node).await;
        let spec = |after| assign::Spec::ReadRepositories(ReadRepositories { backend: node.backend(), after });
        assert_eq!(pages(&mut stream, spec).await, [ReadBackResult::default()]);
        agent.stop().await;
    });
}

#[test]
fn snapshots_come_with_what_the_repository_vouches_for() {
    let Some(node) = Node::with_mounts() else { return };
    let source = node.volume("pv-source");
    runtime().block_on(async {
        let (_controller, agent, mut stream) = ready(&node).await;
        let mut ids = Vec::new();
        for name in ["s-1", "s-2", "s-2"] {
            fs::write(source.join("file"), name).unwrap();
            let mut assign = backup_of(node.repository(), "pv-source", "");
            if let Some(assign::Spec::Backup(task)) = &mut assign.spec {
                task.labels = [("snapshot".to_owned(), name.to_owned())].into();
            }
            stream.say(Say::Assign(assign)).await;
            ids.push(backed_up(stream.finished().await).snapshot_id);
        }
        // By a person with the command line: no Snapshot's.
        stream.say(Say::Assign(backup_of(node.repository(), "pv-source", ""))).await;
        backed_up(stream.finished().await);

        write(&node, "demo/repo/snapshots/s-1.yaml", "kind: Snapshot\nmetadata: {name: s-1}\n");
        write(&node, &format!("demo/repo/snapshots/{KUBESTASH_NAME}.yaml"), KUBESTASH_SNAPSHOT);
        write(&node, "demo/repo/snapshots/half.yaml", "kind: Snapshot\nmetadata: {na");
        write(&node, "demo/repo/snapshots/deeper/s-9.yaml", "kind: Snapshot\n");
        for number in 0..150 {
            write(&node, &format!("demo/repo/snapshots/t-{number:03}.yaml"), if number % 2 == 0 { "kind: Snapshot\n" } else { "- no view\n" });
        }
        let spec = |after| assign::Spec::ReadSnapshots(ReadSnapshots { repository: node.repository(), after });
        let read = pages(&mut stream, spec).await;
        assert!(read.len() > 1);
        let found: BTreeMap<_, _> = read.iter().flat_map(|page| &page.views).map(|view| (view.path.as_str(), view)).collect();
        assert_eq!(found.len(), 3 + 75, "{:?}", paths(&read));
        assert_eq!(read.iter().map(|page| page.damaged_count).sum::<u64>(), 1 + 75);
        let stored = |name: &str| found[format!("demo/repo/snapshots/{name}.yaml").as_str()];
        let first = &stored("s-1").stored;
        assert_eq!(first.iter().map(|stored| &stored.id).collect::<Vec<_>>(), [&ids[0]]);
        assert_eq!((first[0].host.as_str(), first[0].session.as_str(), first[0].component.as_str()), ("default/deployment/app", "app-1", "c"));
        assert_eq!((first[0].sources[0].container_path.as_str(), first[0].sources[0].bytes), ("/data", 3));
        // The view is lost; the attempts of one component, newest last.
        let second = stored("s-2");
        assert!(second.json.is_empty());
        assert_eq!(second.stored.iter().map(|stored| &stored.id).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
        let kubestash = stored(KUBESTASH_NAME);
        assert!(kubestash.stored.is_empty());
        let json: Value = serde_json::from_slice(&kubestash.json).unwrap();
        assert_eq!(json["status"]["components"]["dump-pod-0"]["driver"], "Restic");

        // Where another tool keeps its data, and with the wrong password.
        write(&node, &format!("demo/sts/snapshots/{KUBESTASH_NAME}.yaml"), KUBESTASH_SNAPSHOT);
        let elsewhere = || Some(RepositoryAccess { directory: "demo/sts".into(), ..node.repository().unwrap() });
        let spec = |after| assign::Spec::ReadSnapshots(ReadSnapshots { repository: elsewhere(), after });
        assert_eq!(paths(&pages(&mut stream, spec).await), [format!("demo/sts/snapshots/{KUBESTASH_NAME}.yaml")]);
        let existing = InitRepository { repository: elsewhere(), only_existing: true };
        stream.say(Say::Assign(assignment(assign::Spec::InitRepository(existing)))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::NotARepository));
        assert!(!node.storage().join("bucket/demo/sts/holdfast").exists(), "opening makes nothing");
        let existing = InitRepository { repository: node.repository(), only_existing: true };
        stream.say(Say::Assign(assignment(assign::Spec::InitRepository(existing)))).await;
        assert!(matches!(stream.finished().await.outcome, Some(Outcome::Init(result)) if !result.created));
        let wrong = RepositoryAccess { password: b"wrong".to_vec(), ..node.repository().unwrap() };
        let wrong = ReadSnapshots { repository: Some(wrong), after: String::new() };
        stream.say(Say::Assign(assignment(assign::Spec::ReadSnapshots(wrong)))).await;
        assert_eq!(reason(&stream.finished().await), Some(Reason::WrongPassword));
        agent.stop().await;
    });
}
