//! What agents bring with them that another leader has begun: whose word counts, which of two goes on, and what is no result.

use super::*;

/// A backup that every agent can take.
pub(super) fn anywhere() -> TaskRequest {
    TaskRequest { node: None, ..request(Class::Backup, "dump", "", None) }
}

fn dump() -> TaskRequest {
    request(Class::Backup, "dump", "a", None)
}

fn ended(name: &str, attempt: u32) -> v1::RunningTask {
    v1::RunningTask { finished: true, ..still_runs(name, attempt) }
}

fn result(name: &str, attempt: u32, outcome: v1::task_finished::Outcome) -> v1::TaskFinished {
    v1::TaskFinished { task: Some(task(name, attempt)), elapsed_ms: 1, outcome: Some(outcome) }
}

fn runs(table: &Table, attempt: u32) -> bool {
    matches!(&table.views("s-uid", 0)["dump"], TaskView::Running { attempt: running, .. } if *running == attempt)
}

fn waits(table: &Table) -> bool {
    matches!(&table.views("s-uid", 0)["dump"], TaskView::Waiting(_))
}

#[test]
fn of_two_attempts_the_newer_goes_on_whichever_is_heard_of_first() {
    let (older, newer) = (unwritten(1, 7), unwritten(1, 8));
    for (first, second) in [(older, newer), (newer, older)] {
        let mut table = Table::new(Limits::default(), 2, 0);
        table.want(&owner("s"), wanted(anywhere()), 0);
        join(&mut table, 1, "a", 1, vec![still_runs("s", first)], 0);
        assert!(runs(&table, first));
        join(&mut table, 2, "b", 1, vec![still_runs("s", second)], 0);
        assert!(runs(&table, newer));
        let [(told, Sent::Cancel(cancel))] = &sent(&mut table)[..] else { panic!() };
        assert_eq!((*told, cancel.task.as_ref().unwrap().attempt), (AgentId(if first == older { 1 } else { 2 }), older));
    }
    // Also if the older one has ended; its agent may forget it then.
    let mut table = Table::new(Limits::default(), 2, 0);
    table.want(&owner("s"), wanted(anywhere()), 0);
    join(&mut table, 1, "a", 1, vec![still_runs("s", older)], 0);
    table.finished(AgentId(1), result("s", older, backed_up()));
    join(&mut table, 2, "b", 1, vec![still_runs("s", newer)], 0);
    assert!(runs(&table, newer));
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::FinishedAck(_))]));
}

#[test]
fn what_this_leadership_has_begun_gives_way_to_nobody() {
    let mut table = Table::new(Limits::default(), 2, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(anywhere()), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.drain();
    join(&mut table, 2, "b", 1, vec![still_runs("s", u32::MAX)], 0);
    assert!(runs(&table, start.attempt));
    assert!(matches!(&sent(&mut table)[..], [(AgentId(2), Sent::Cancel(_))]));
}

#[test]
fn what_an_agent_says_of_another_nodes_task_is_not_believed() {
    // Whether its owner is looked at before or after that.
    for is_looked_at_first in [true, false] {
        let mut table = Table::new(Limits::default(), 2, 0);
        if is_looked_at_first {
            table.want(&owner("s"), wanted(dump()), 0);
        }
        join(&mut table, 1, "b", 1, vec![ended("s", u32::MAX)], 0);
        table.finished(AgentId(1), result("s", u32::MAX, backed_up()));
        table.want(&owner("s"), wanted(dump()), 0);
        assert!(waits(&table), "{:?}", table.views("s-uid", 0));
        assert!(sent(&mut table).iter().all(|told| matches!(told, (AgentId(1), Sent::FinishedAck(_)))));
        join(&mut table, 2, "a", 1, vec![still_runs("s", unwritten(1, 7))], 0);
        assert!(runs(&table, unwritten(1, 7)) && sent(&mut table).is_empty());
    }
    // Nor under another name of its object.
    let mut table = Table::new(Limits::default(), 2, 0);
    let misnamed = v1::TaskRef { name: "other".into(), ..task("s", u32::MAX) };
    join(&mut table, 1, "b", 1, vec![v1::RunningTask { task: Some(misnamed), ..still_runs("s", u32::MAX) }], 0);
    table.want(&owner("s"), wanted(dump()), 0);
    assert!(waits(&table));
}

#[test]
fn a_restore_is_where_it_was_written_down_to_be() {
    for is_looked_at_first in [true, false] {
        let mut table = Table::new(Limits::default(), 2, 0);
        let restore = || wanted(request(Class::Restore, "dump", "a", Some(3)));
        if is_looked_at_first {
            table.want(&owner("s"), restore(), 0);
        }
        join(&mut table, 1, "b", 1, vec![still_runs("s", 3)], 0);
        table.want(&owner("s"), restore(), 0);
        assert!(waits(&table));
        assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Cancel(_))]));
        join(&mut table, 2, "a", 1, vec![still_runs("s", 3)], 0);
        assert!(runs(&table, 3));
    }
}

#[test]
fn what_comes_back_in_time_to_the_node_where_it_was_goes_on_though_it_is_wanted_elsewhere_by_now() {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 1, vec![], 0);
    table.want(&owner("s"), wanted(dump()), 0);
    let start = run_all(&mut table, 0).remove(0);
    table.agent_left(AgentId(1), 10);
    table.want(&owner("s"), wanted(request(Class::Backup, "dump", "b", None)), 10);
    join(&mut table, 2, "a", 1, vec![running(&start)], 20);
    assert!(runs(&table, start.attempt));
}

#[test]
fn what_was_stopped_while_nobody_led_is_no_result_and_runs_again() {
    use v1::task_failure::Reason;
    let before = unwritten(1, 7);
    for (reason, request, attempt) in [
        (Reason::Cancelled, dump(), before),
        (Reason::Released, dump(), before),
        (Reason::Released, request(Class::Restore, "dump", "a", Some(3)), 3),
    ] {
        let mut table = Table::new(Limits::default(), 2, 0);
        join(&mut table, 1, "a", 1, vec![ended("s", attempt)], 0);
        table.finished(AgentId(1), result("s", attempt, failed(reason)));
        table.want(&owner("s"), wanted(request), 0);
        assert!(waits(&table), "{:?}", table.views("s-uid", 0));
        assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::FinishedAck(_))]));
        // Its agent has said that it writes no more: nothing has to lapse.
        assert!(run_all(&mut table, 0)[0].attempt > attempt);
    }
}

#[test]
fn what_agents_bring_is_told_of_until_it_is_asked_for() {
    let limits = Limits::default();
    let before = unwritten(1, 7);
    let brought = |table: &Table, now_ms: u64| {
        let brought = table.brought("s-uid", now_ms);
        (brought.running.len(), brought.ended.len(), brought.more_within.is_some())
    };
    let mut table = Table::new(limits.clone(), 2, 1_000);
    assert_eq!(brought(&table, 1_000), (0, 0, true), "an agent may still come");
    join(&mut table, 1, "a", 1, vec![still_runs("s", before), still_runs("another", before)], 1_000);
    assert_eq!(brought(&table, 1_000 + limits.agent_return_ms), (1, 0, false), "the others have had their time");
    table.want(&owner("s"), wanted(dump()), 2_000);
    assert_eq!(brought(&table, 2_000), (0, 0, true));
    assert!(table.brought("s-uid", 2_000).asked.contains("dump") && table.brought("another-uid", 2_000).asked.is_empty());
    table.want(&owner("s"), vec![], 2_000);
    assert!(table.brought("s-uid", 2_000).asked.contains("dump"), "it was stopped here");
    table.expire(1_000 + limits.agent_return_ms);
    assert!(table.brought("s-uid", 2_000).asked.is_empty(), "nobody asks that any more");
    let mut table = Table::new(limits, 2, 1_000);
    join(&mut table, 1, "a", 1, vec![ended("s", before)], 1_000);
    assert_eq!(brought(&table, 1_000), (0, 0, true), "its result is on the way");
    table.finished(AgentId(1), result("s", before, backed_up()));
    assert_eq!(brought(&table, 1_000), (0, 1, true));
    table.want(&owner("s"), vec![Wanted::Keep("dump".into())], 2_000);
    assert_eq!(brought(&table, 2_000), (0, 1, true), "what is kept is here");
    table.want(&owner("s"), vec![], 2_000);
    assert_eq!(brought(&table, 2_000), (0, 0, true));
}

#[test]
fn what_an_agent_has_brought_lets_go_of_a_pod_that_goes_before_it_is_asked_for() {
    let mut table = Table::new(Limits::default(), 2, 0);
    join(&mut table, 1, "a", 1, vec![still_runs("s", unwritten(1, 7))], 0);
    table.pod_terminating("pod-uid", "a");
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Release(release))] if release.pod_uid == "pod-uid"));
}
