use holdfast_proto::v1;
use proptest::prelude::*;
use v1::controller_message::Kind as Sent;

use super::{Limits, Start, State, Table};
use crate::dispatch::agents::{Agent, AgentId};
use crate::dispatch::task::{Attempt, Class, NotStarted, Owner, TaskRequest, TaskView, Wanted, Work};
use crate::object::{Key, Kind, Named};

mod adoption;
mod volumes;

const GRANT_MS: u64 = 25_000;

fn owner(name: &str) -> Owner {
    Owner { key: Key::new(Kind::Snapshot, "demo", name), uid: format!("{name}-uid") }
}

fn request(class: Class, component: &str, node: &str, persisted: Option<u32>) -> TaskRequest {
    let repository = Named::new("demo", "repo");
    let work = match class {
        Class::Restore => Work::Restore { repository, encryption_secret: None, task: Box::default() },
        Class::Backup => Work::Backup { repository, task: Box::default() },
        Class::Service => Work::Probe { storage: Named::new("demo", "storage") },
        Class::Reading => Work::ReadSnapshots { repository, after: String::new() },
        Class::Maintenance => Work::Prune { repository, wait_ms: 0 },
    };
    TaskRequest {
        component: component.into(),
        class,
        node: (!class.is_repeatable()).then(|| node.to_owned()),
        storage: Named::new("demo", "storage"),
        group: "demo".into(),
        persisted: persisted.map(|number| Attempt { number, node: node.into() }),
        again_after: None,
        pod_uids: vec!["pod-uid".into()],
        work,
    }
}

fn wanted(request: TaskRequest) -> Vec<Wanted> {
    vec![Wanted::Task(Box::new(request))]
}

fn hello(slots: u32, running: Vec<v1::RunningTask>) -> v1::Hello {
    v1::Hello { slots, running, ..v1::Hello::default() }
}

fn join(table: &mut Table, id: u64, node: &str, slots: u32, running: Vec<v1::RunningTask>, now_ms: u64) {
    table.agent_joined(AgentId(id), Agent::from_hello(node.into(), hello(slots, running)), now_ms);
}

fn running(start: &Start) -> v1::RunningTask {
    v1::RunningTask { task: Some(start.reference()), epoch: 1, finished: false }
}

fn finish(start: &Start, outcome: v1::task_finished::Outcome) -> v1::TaskFinished {
    v1::TaskFinished { task: Some(start.reference()), elapsed_ms: 5, outcome: Some(outcome) }
}

fn backed_up() -> v1::task_finished::Outcome {
    v1::task_finished::Outcome::Backup(v1::BackupResult::default())
}

fn failed(reason: v1::task_failure::Reason) -> v1::task_finished::Outcome {
    let failure = v1::TaskFailure { reason: reason.into(), message: "why".into(), retry_may_help: true };
    v1::task_finished::Outcome::Failure(failure)
}

/// The nth attempt whose number is not written down, of this epoch.
fn unwritten(epoch: u32, nth: u32) -> u32 {
    (epoch << 20) | nth
}

/// Starts all that can run and hands it to its agents.
fn run_all(table: &mut Table, now_ms: u64) -> Vec<Start> {
    let starts = table.starts(now_ms);
    for start in &starts {
        table.started(start, Ok(v1::Assign { task: Some(start.reference()), ..v1::Assign::default() }), now_ms);
    }
    starts
}

fn sent(table: &mut Table) -> Vec<(AgentId, Sent)> {
    table.drain().messages.into_iter().filter_map(|(agent, message)| Some((agent, message.kind?))).collect()
}

#[test]
fn a_task_runs_its_result_waits_for_its_owner_and_is_acknowledged_then() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 2, vec![], 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let starts = run_all(&mut table, 0);
    assert_eq!((starts.len(), starts[0].attempt), (1, unwritten(1, 1)));
    table.finished(AgentId(1), finish(&starts[0], backed_up()));
    assert!(matches!(table.views("s-uid", 0)["dump"], TaskView::Finished { attempt, .. } if attempt == starts[0].attempt));
    assert!(!sent(&mut table).iter().any(|(_, message)| matches!(message, Sent::FinishedAck(_))));
    // The owner has written it down and wants nothing more.
    table.want(&owner("s"), vec![], 0);
    assert!(matches!(sent(&mut table).as_slice(), [(AgentId(1), Sent::FinishedAck(_))]));
    assert!(table.views("s-uid", 0).is_empty());
}

#[test]
fn slots_are_kept_restores_go_first_and_groups_take_turns() {
    let mut table = Table::new(Limits::default(), 1, 0);
    for name in ["a1", "a2", "a3"] {
        table.want(&owner(name), wanted(request(Class::Backup, "dump", "n", None)), 0);
    }
    let mut other = request(Class::Backup, "dump", "n", None);
    other.group = "other".into();
    table.want(&owner("b1"), wanted(other), 0);
    table.want(&owner("r"), wanted(request(Class::Restore, "dump", "n", None)), 0);
    join(&mut table, 1, "n", 3, vec![], 0);
    let names: Vec<String> = run_all(&mut table, 0).into_iter().map(|start| start.owner.key.name).collect();
    assert_eq!(names, ["r", "b1", "a1"]);
    assert!(run_all(&mut table, 0).is_empty());
}

#[test]
fn few_pages_are_under_way_or_held_at_once() {
    let limits = Limits { reading: 2, ..Limits::default() };
    let mut table = Table::new(limits, 1, 0);
    join(&mut table, 1, "a", 9, vec![], 0);
    for name in ["r1", "r2", "r3", "r4"] {
        table.want(&owner(name), wanted(request(Class::Reading, "read-back:", "a", None)), 0);
    }
    let starts = run_all(&mut table, 0);
    assert_eq!(starts.len(), 2);
    let page = || v1::task_finished::Outcome::ReadBack(v1::ReadBackResult::default());
    table.finished(AgentId(1), finish(&starts[0], page()));
    assert!(run_all(&mut table, 0).is_empty(), "its page is still in memory");
    table.want(&starts[0].owner, vec![], 0);
    assert_eq!(run_all(&mut table, 0).len(), 1);
}

#[test]
fn few_manifests_go_through_this_controller_at_once() {
    let limits = Limits { manifests_read: 2, manifests_made: 1, ..Limits::default() };
    let mut table = Table::new(limits, 1, 0);
    join(&mut table, 1, "a", 99, vec![], 0);
    let identity = crate::manifests::Identity::new("demo", "account").unwrap();
    let store = Work::StoreManifests {
        repository: Named::new("demo", "repo"),
        task: Box::default(),
        order: Box::new(crate::manifests::BackupOrder { identity: identity.clone(), scope: crate::manifests::Scope::Cluster(Box::default()) }),
    };
    let give_back = Work::ReturnManifests {
        repository: Named::new("demo", "repo"),
        encryption_secret: None,
        task: Box::default(),
        order: Box::new(crate::manifests::RestoreOrder {
            identity,
            choice: Default::default(),
            namespace: None,
            dry_run: false,
        }),
    };
    for (prefix, class, work) in [("s", Class::Backup, store), ("r", Class::Restore, give_back)] {
        for number in 0..4 {
            let request = TaskRequest { node: None, work: work.clone(), ..request(class, "manifest", "a", None) };
            table.want(&owner(&format!("{prefix}{number}")), wanted(request), 0);
        }
    }
    table.want(&owner("data"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let starts = run_all(&mut table, 0);
    let begun = |prefix: &str| starts.iter().filter(|start| start.owner.key.name.starts_with(prefix)).count();
    assert_eq!((begun("s"), begun("r"), begun("data")), (2, 1, 1), "they hold up nobody else");
    let stored = starts.iter().find(|start| start.owner.key.name.starts_with('s')).unwrap();
    assert!(table.goes_on(&stored.key, stored.attempt) && !table.goes_on(&stored.key, stored.attempt + 1));
    table.want(&stored.owner, vec![], 0);
    assert!(!table.goes_on(&stored.key, stored.attempt), "its data are let go before its agent has ended");
    table.finished(AgentId(1), finish(stored, failed(v1::task_failure::Reason::Cancelled)));
    assert_eq!(run_all(&mut table, 0).len(), 1);
}

#[test]
fn a_report_of_an_old_attempt_or_from_a_replaced_stream_is_no_result() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let first = run_all(&mut table, 0).remove(0);
    // The agent dies and comes back without it.
    join(&mut table, 2, "a", 1, vec![], 10);
    let second = run_all(&mut table, 10).remove(0);
    assert_eq!(second.attempt, unwritten(1, 2));
    table.finished(AgentId(2), finish(&first, backed_up()));
    table.finished(AgentId(1), finish(&second, backed_up()));
    assert!(matches!(table.views("s-uid", 10)["dump"], TaskView::Running { attempt, .. } if attempt == second.attempt));
    table.finished(AgentId(2), finish(&second, backed_up()));
    assert!(matches!(table.views("s-uid", 10)["dump"], TaskView::Finished { attempt, .. } if attempt == second.attempt));
}

#[test]
fn progress_is_told_every_few_seconds_and_only_when_it_moved() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.drain();
    let mut told = |now_ms: u64, bytes_done: u64, bytes_per_second: u64| {
        let task = Some(start.reference());
        table.progress(AgentId(1), v1::TaskProgress { task, bytes_done, bytes_per_second, elapsed_ms: now_ms, ..v1::TaskProgress::default() }, now_ms);
        !table.drain().touched.is_empty()
    };
    assert!(told(5_000, 10, 10));
    assert!(!told(9_000, 20, 10), "it was told a moment ago");
    assert!(told(10_000, 30, 10));
    assert!(told(15_000, 30, 0), "that it stands is news");
    assert!(!told(20_000, 30, 0) && !told(600_000, 30, 0), "that it still stands is not");
    assert!(told(601_000, 31, 1));
}

#[test]
fn an_agent_that_comes_back_in_time_keeps_its_task_and_one_that_does_not_loses_it() {
    let limits = Limits::default();
    let mut table = Table::new(limits.clone(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.agent_left(AgentId(1), 100);
    join(&mut table, 2, "a", 1, vec![running(&start)], 200);
    assert!(matches!(table.views("s-uid", 200)["dump"], TaskView::Running { attempt, .. } if attempt == start.attempt));
    table.agent_left(AgentId(2), 300);
    table.expire(300 + limits.agent_return_ms);
    // Its slot is elsewhere now: the pod moved.
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "b", None)), 40_000);
    join(&mut table, 3, "b", 1, vec![], 40_000);
    assert_eq!(run_all(&mut table, 40_000)[0].attempt, unwritten(1, 2));
    // The first agent still runs the first attempt: it is told to stop.
    table.drain();
    join(&mut table, 4, "a", 1, vec![running(&start)], 50_000);
    assert!(sent(&mut table).iter().any(|(agent, message)| *agent == AgentId(4) && matches!(message, Sent::Cancel(_))));
}

#[test]
fn a_restore_is_assigned_again_only_after_its_grant_and_a_margin() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("r"), wanted(request(Class::Restore, "dump", "a", None)), 0);
    let start = run_all(&mut table, 0).remove(0);
    let ask = v1::GrantRequest { task: Some(start.reference()), sequence: 1 };
    table.drain();
    table.grant(AgentId(1), &ask, true, 60_000);
    assert!(matches!(&sent(&mut table)[..], [(_, Sent::Grant(answer))] if answer.granted && answer.ttl_ms > 0));
    // The agent restarts at once, and swears that it runs nothing.
    join(&mut table, 2, "a", 1, vec![], 60_001);
    assert!(run_all(&mut table, 60_000 + GRANT_MS - 1).is_empty());
    assert_eq!(run_all(&mut table, 60_000 + GRANT_MS).len(), 1);
    // The old attempt gets no grant, whoever asks; nor does the new one without leadership.
    table.drain();
    table.grant(AgentId(2), &ask, true, 90_000);
    let new = v1::GrantRequest { task: Some(v1::TaskRef { attempt: 2, ..start.reference() }), sequence: 2 };
    table.grant(AgentId(2), &new, false, 90_000);
    assert!(sent(&mut table).iter().all(|(_, message)| matches!(message, Sent::Grant(answer) if !answer.granted)));
}

#[test]
fn a_new_leader_waits_a_whole_grant_before_it_reassigns_a_restore_but_not_a_backup() {
    let mut table = Table::new(Limits::default(), 2, 1_000);
    join(&mut table, 1, "a", 2, vec![], 1_000);
    table.want(&owner("r"), wanted(request(Class::Restore, "dump", "a", Some(3))), 1_000);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 1_000);
    let first = run_all(&mut table, 1_000);
    assert_eq!(
        first.iter().map(|start| (start.owner.key.name.as_str(), start.attempt)).collect::<Vec<_>>(),
        [("s", unwritten(2, 1))]
    );
    assert!(run_all(&mut table, 1_000 + GRANT_MS - 1).is_empty());
    assert_eq!(run_all(&mut table, 1_000 + GRANT_MS)[0].attempt, 4);
}

/// An attempt of the leader before this one.
fn task(name: &str, attempt: u32) -> v1::TaskRef {
    v1::TaskRef {
        session_uid: format!("{name}-uid"),
        component: "dump".into(),
        attempt,
        namespace: "demo".into(),
        kind: "Snapshot".into(),
        name: name.into(),
    }
}

fn still_runs(name: &str, attempt: u32) -> v1::RunningTask {
    v1::RunningTask { task: Some(task(name, attempt)), epoch: 1, finished: false }
}

#[test]
fn a_new_leader_adopts_what_runs_and_takes_results_that_came_before_it_looked() {
    let mut table = Table::new(Limits::default(), 2, 0);
    let before = unwritten(1, 7);
    let said = |name: &str| still_runs(name, before);
    join(&mut table, 1, "a", 4, vec![said("goes-on"), said("ended"), said("gone")], 0);
    let message = v1::TaskFinished { task: Some(task("ended", before)), elapsed_ms: 1, outcome: Some(backed_up()) };
    table.finished(AgentId(1), message);
    for (name, is_looked_at_again) in [("goes-on", false), ("ended", true)] {
        table.drain();
        table.want(&owner(name), wanted(request(Class::Backup, "dump", "a", None)), 5);
        assert_eq!(table.drain().touched.contains(&owner(name).key), is_looked_at_again, "{name}");
    }
    assert!(matches!(table.views("goes-on-uid", 5)["dump"], TaskView::Running { attempt, .. } if attempt == before));
    assert!(matches!(table.views("ended-uid", 5)["dump"], TaskView::Finished { attempt, .. } if attempt == before));
    assert!(run_all(&mut table, 5).is_empty());
    // The object is gone: its task is told to stop.
    table.drain();
    table.want(&owner("gone"), vec![], 6);
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Cancel(_))]));
}

#[test]
fn a_backup_that_an_agent_brings_after_it_was_looked_at_goes_on() {
    let mut table = Table::new(Limits::default(), 2, 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    assert!(run_all(&mut table, 0).is_empty(), "its node has no agent yet");
    let before = unwritten(1, 7);
    join(&mut table, 1, "a", 1, vec![still_runs("s", before)], 10);
    assert!(matches!(table.views("s-uid", 10)["dump"], TaskView::Running { attempt, .. } if attempt == before));
    assert!(run_all(&mut table, 10).is_empty() && sent(&mut table).is_empty(), "nothing is begun again, nothing stopped");
}

#[test]
fn of_two_attempts_that_agents_bring_the_newer_goes_on_and_the_older_is_stopped() {
    for (first, second) in [(7, 8), (8, 7)] {
        let mut table = Table::new(Limits::default(), 2, 0);
        join(&mut table, 1, "a", 1, vec![still_runs("s", unwritten(1, first))], 0);
        join(&mut table, 2, "b", 1, vec![still_runs("s", unwritten(1, second))], 0);
        let newer = AgentId(if first > second { 1 } else { 2 });
        for _ in 0..2 {
            table.want(&owner("s"), wanted(adoption::anywhere()), 5);
        }
        assert!(matches!(table.views("s-uid", 5)["dump"], TaskView::Running { attempt, .. } if attempt == unwritten(1, 8)));
        assert!(matches!(&sent(&mut table)[..], [(agent, Sent::Cancel(_))] if *agent != newer));
    }
}

#[test]
fn what_is_no_longer_wanted_is_cancelled_and_what_is_wanted_meanwhile_waits_for_that() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.drain();
    table.want(&owner("s"), vec![], 1);
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Cancel(_))]));
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 2);
    assert!(run_all(&mut table, 2).is_empty(), "two attempts at once");
    table.finished(AgentId(1), finish(&start, failed(v1::task_failure::Reason::Cancelled)));
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "a", None)), 3);
    assert_eq!(run_all(&mut table, 3)[0].attempt, unwritten(1, 2));
}

#[test]
fn a_pod_that_goes_has_its_volumes_let_go_and_the_task_runs_elsewhere() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    join(&mut table, 2, "b", 1, vec![], 0);
    table.want(&owner("r"), wanted(request(Class::Restore, "dump", "a", None)), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.drain();
    table.pod_terminating("pod-uid", "a");
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Release(release))] if release.pod_uid == "pod-uid"));
    table.finished(AgentId(1), finish(&start, failed(v1::task_failure::Reason::Released)));
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::FinishedAck(_))]));
    // It has said itself that it no longer writes: no grant has to lapse.
    let mut moved = request(Class::Restore, "dump", "a", Some(1));
    moved.node = Some("b".into());
    table.want(&owner("r"), wanted(moved), 50);
    let again = run_all(&mut table, 50);
    assert_eq!((again[0].node.as_str(), again[0].attempt), ("b", 2));
}

#[test]
fn what_cannot_be_prepared_is_a_result_and_may_be_tried_again_later() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    let probe = request(Class::Service, "", "", None);
    table.want(&owner("s"), wanted(probe.clone()), 0);
    let start = table.starts(0).remove(0);
    table.started(&start, Err(NotStarted::Secret("Secret demo/x does not exist".into())), 0);
    let TaskView::Finished { attempt, .. } = table.views("s-uid", 0)[""].clone() else { panic!() };
    table.want(&owner("s"), wanted(TaskRequest { again_after: Some(attempt), ..probe }), 0);
    assert!(table.starts(1_999).is_empty());
    assert_eq!(table.starts(2_000).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Want { task: u8, restore: bool, node: u8 },
    Drop { task: u8 },
    Join { node: u8, keep: bool },
    Leave { node: u8 },
    Start,
    StartFails,
    Finish { nth: u8, good: bool },
    Grant { nth: u8 },
    Wait { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4, any::<bool>(), 0u8..2).prop_map(|(task, restore, node)| Step::Want { task, restore, node }),
        1 => (0u8..4).prop_map(|task| Step::Drop { task }),
        2 => (0u8..2, any::<bool>()).prop_map(|(node, keep)| Step::Join { node, keep }),
        1 => (0u8..2).prop_map(|node| Step::Leave { node }),
        3 => Just(Step::Start),
        1 => Just(Step::StartFails),
        2 => (0u8..8, any::<bool>()).prop_map(|(nth, good)| Step::Finish { nth, good }),
        2 => (0u8..8).prop_map(|nth| Step::Grant { nth }),
        2 => (0u16..30_000).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: attempts only grow, one of a task at a time, slots are kept, and no restore is
    /// started, or given a grant, while an earlier attempt or another restore of its volume may hold one.
    #[test]
    fn never_two_attempts(steps in prop::collection::vec(step(), 1..80)) {
        let mut table = Table::new(Limits::default(), 1, 0);
        // What the leader before had begun can write no more.
        let (mut now_ms, mut next_id) = (GRANT_MS, 1u64);
        let mut streams: [Option<u64>; 2] = [None, None];
        let mut persisted: std::collections::HashMap<u8, Attempt> = Default::default();
        let mut begun: Vec<Start> = Vec::new();
        // The end of the newest grant of each task, until its attempt has said that it ended.
        let mut granted: std::collections::HashMap<String, u64> = Default::default();
        for step in steps {
            match step {
                Step::Want { task, restore, node } => {
                    let class = if restore && task < 2 { Class::Restore } else if task < 2 { continue } else { Class::Backup };
                    let mut request = request(class, "dump", ["a", "b"][usize::from(node)], None);
                    if class.is_persisted() {
                        // All of them write to the same volume.
                        request = volumes::writing_to(request, "data");
                    }
                    request.persisted = persisted.get(&task).filter(|_| class.is_persisted()).cloned();
                    if let Some(TaskView::Finished { attempt, .. }) = table.views(&format!("{task}-uid"), now_ms).get("dump") {
                        request.again_after = Some(*attempt);
                    }
                    table.want(&owner(&task.to_string()), wanted(request), now_ms);
                }
                Step::Drop { task } => { table.want(&owner(&task.to_string()), vec![], now_ms); }
                Step::Join { node, keep } => {
                    let name = ["a", "b"][usize::from(node)];
                    let held = begun.iter().filter(|start| keep && start.node == name).map(running).collect();
                    join(&mut table, next_id, name, 2, held, now_ms);
                    streams[usize::from(node)] = Some(next_id);
                    next_id += 1;
                }
                Step::Leave { node } => if let Some(id) = streams[usize::from(node)].take() { table.agent_left(AgentId(id), now_ms); },
                Step::Start | Step::StartFails => {
                    for start in table.starts(now_ms) {
                        let task: u8 = start.owner.key.name.parse().unwrap();
                        let last = persisted.get(&task).map_or(0, |attempt| attempt.number);
                        prop_assert!(start.attempt > last, "attempt {} after {last}", start.attempt);
                        if start.request.class == Class::Restore {
                            let until = granted.values().copied().max().unwrap_or(0);
                            prop_assert!(now_ms >= until, "restore started at {now_ms} under a grant until {until}");
                        }
                        persisted.insert(task, Attempt { number: start.attempt, node: start.node.clone() });
                        if matches!(step, Step::StartFails) {
                            table.started(&start, Err(NotStarted::Api("down".into())), now_ms);
                        } else {
                            table.started(&start, Ok(v1::Assign::default()), now_ms);
                            begun.push(start);
                        }
                    }
                }
                Step::Finish { nth, good } => if let Some(start) = begun.get(usize::from(nth) % begun.len().max(1)).cloned() {
                    let id = streams[usize::from(start.node == "b")];
                    let newest = begun.iter().filter(|other| other.key == start.key).all(|other| other.attempt <= start.attempt);
                    begun.retain(|other| other.key != start.key || other.attempt != start.attempt);
                    if newest { granted.remove(&start.key.owner_uid); }
                    let outcome = if good { backed_up() } else { failed(v1::task_failure::Reason::Released) };
                    if let Some(id) = id { table.finished(AgentId(id), finish(&start, outcome)); }
                },
                Step::Grant { nth } => {
                    let Some(start) = begun.get(usize::from(nth) % begun.len().max(1)).cloned() else { continue };
                    let Some(id) = streams[usize::from(start.node == "b")] else { continue };
                    table.drain();
                    let ask = v1::GrantRequest { task: Some(start.reference()), sequence: 0 };
                    table.grant(AgentId(id), &ask, true, now_ms);
                    for (_, message) in sent(&mut table) {
                        if let Sent::Grant(answer) = message && answer.granted {
                            let others = granted.iter().filter(|(other, _)| **other != start.key.owner_uid).map(|(_, until)| *until);
                            let until = others.max().unwrap_or(0);
                            prop_assert!(now_ms >= until, "granted at {now_ms} beside a grant until {until}");
                            granted.insert(start.key.owner_uid.clone(), now_ms + answer.ttl_ms);
                        }
                    }
                }
                Step::Wait { ms } => { now_ms += u64::from(ms); table.expire(now_ms); }
            }
            for agent in table.agents.iter().map(|(id, _)| id).collect::<Vec<_>>() {
                let busy = table.tasks.values().filter(|task| super::occupied_by(&task.state) == Some(agent)).count();
                // What an agent brings with it may be more than it has slots for; what is given to it may not.
                prop_assert!(busy <= 4);
            }
            let unstarted = table.tasks.values().any(|task| matches!(task.state, State::Finished { .. }) && task.attempt == 0);
            prop_assert!(!unstarted);
        }
    }
}

#[test]
fn maintenance_is_one_on_an_agent_and_leaves_a_slot() {
    let mut table = Table::new(Limits { maintenance: 3, ..Limits::default() }, 7, 0);
    for name in ["r1", "r2", "r3", "r4"] {
        table.want(&owner(name), wanted(request(Class::Maintenance, "prune", "", None)), 0);
    }
    assert!(table.starts(0).is_empty());
    join(&mut table, 1, "a", 4, Vec::new(), 0);
    join(&mut table, 2, "b", 2, Vec::new(), 0);
    // A backup is served first, and then only the other agent has more than its last slot free.
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "b", None)), 0);
    let starts: Vec<_> = table.starts(0).into_iter().map(|start| (start.request.class, start.agent)).collect();
    assert_eq!(starts, [(Class::Backup, AgentId(2)), (Class::Maintenance, AgentId(1))]);
    for (id, node) in [(3, "c"), (4, "d"), (5, "e")] {
        join(&mut table, id, node, 1, Vec::new(), 0);
    }
    assert_eq!(table.starts(0).len(), 2, "three in all");
}

#[test]
fn an_agent_that_does_not_know_a_task_is_not_asked_and_its_owner_hears_of_it() {
    let mut table = Table::new(Limits::default(), 7, 0);
    let knows = |capabilities: &[&str]| v1::Hello { capabilities: capabilities.iter().map(ToString::to_string).collect(), ..hello(2, Vec::new()) };
    let mut restore = request(Class::Restore, "dump", "a", None);
    let restic = Some(v1::ResticRepository { directory: "repository/v1/daily/dump".into() });
    restore.work = Work::Restore { repository: Named::new("demo", "repo"), encryption_secret: None, task: Box::new(v1::RestoreTask { restic, ..v1::RestoreTask::default() }) };
    table.want(&owner("r"), wanted(restore), 0);
    table.agent_joined(AgentId(1), Agent::from_hello("a".into(), knows(&["restore", "backup"])), 0);
    assert!(table.starts(0).is_empty());
    let TaskView::Waiting(why) = &table.views("r-uid", 0)["dump"] else { panic!() };
    assert!(why.contains("from node a knows \"restore-restic\""), "{why}");
    table.agent_joined(AgentId(2), Agent::from_hello("a".into(), knows(&["restore", "restore-restic"])), 0);
    assert_eq!(table.starts(0).len(), 1);
}
