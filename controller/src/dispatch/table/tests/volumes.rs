//! One restore at a time in a volume, whoever asked for the others; and whose volumes are let go of.

use super::*;
use crate::dispatch::task::TaskKey;

/// The same, of work that writes to this claim.
pub(super) fn writing_to(request: TaskRequest, claim: &str) -> TaskRequest {
    let volume = v1::VolumeAccess { pvc_namespace: "demo".into(), pvc_name: claim.into(), pvc_uid: format!("{claim}-uid"), ..v1::VolumeAccess::default() };
    let targets = vec![v1::RestoreTarget { volume: Some(volume), ..v1::RestoreTarget::default() }];
    let task = Box::new(v1::RestoreTask { targets, ..v1::RestoreTask::default() });
    TaskRequest { work: Work::Restore { repository: Named::new("demo", "repo"), encryption_secret: None, task }, ..request }
}

/// A restore of a component into a claim.
fn restore(component: &str, claim: &str, persisted: Option<u32>) -> TaskRequest {
    writing_to(request(Class::Restore, component, "a", persisted), claim)
}

fn session(name: &str) -> Owner {
    Owner { key: Key::new(Kind::RestoreSession, "demo", name), uid: format!("{name}-uid") }
}

fn names(starts: &[Start]) -> Vec<String> {
    starts.iter().map(|start| format!("{} {}", start.owner.key.name, start.key.component)).collect()
}

fn waits_for(table: &Table, name: &str, component: &str, now_ms: u64) -> String {
    match &table.views(&session(name).uid, now_ms)[component] {
        TaskView::Waiting(why) => why.clone(),
        other => panic!("{other:?}"),
    }
}

/// A table whose leadership is old enough that nothing of the one before is left, and one agent.
fn aged() -> Table {
    let mut table = Table::new(Limits::default(), 1, 0);
    join(&mut table, 1, "a", 9, vec![], GRANT_MS);
    table
}

fn grant(table: &mut Table, agent: u64, start: &Start, now_ms: u64) -> bool {
    table.drain();
    table.grant(AgentId(agent), &v1::GrantRequest { task: Some(start.reference()), sequence: 1 }, true, now_ms);
    matches!(&sent(table)[..], [(_, Sent::Grant(answer))] if answer.granted)
}

#[test]
fn a_volume_has_one_restore_at_a_time_and_the_next_one_says_what_it_waits_for() {
    let now = GRANT_MS;
    let mut table = aged();
    table.want(&session("first"), wanted(restore("dump", "data", None)), now);
    let first = run_all(&mut table, now).remove(0);
    table.drain();
    table.want(&session("next"), wanted(restore("dump", "data", None)), now);
    table.want(&session("other"), wanted(restore("dump", "elsewhere", None)), now);
    assert!(table.drain().touched.contains(&session("next").key), "it is looked at again, to say so");
    assert_eq!(names(&run_all(&mut table, now)), ["other dump"]);
    assert_eq!(waits_for(&table, "next", "dump", now), "PersistentVolumeClaim demo/data is being restored by RestoreSession demo/first");
    // One that is no longer wanted may write until its agent has said that it does not.
    table.want(&session("first"), vec![], now);
    assert!(run_all(&mut table, now).is_empty());
    table.finished(AgentId(1), finish(&first, failed(v1::task_failure::Reason::Cancelled)));
    assert_eq!(names(&run_all(&mut table, now)), ["next dump"]);
}

#[test]
fn of_an_agent_that_says_nothing_the_end_of_the_right_is_waited_for() {
    let now = GRANT_MS;
    let mut table = aged();
    table.want(&session("first"), wanted(restore("dump", "data", None)), now);
    let first = run_all(&mut table, now).remove(0);
    assert!(grant(&mut table, 1, &first, now + 1_000));
    table.want(&session("first"), vec![], now + 2_000);
    table.agent_left(AgentId(1), now + 2_000);
    join(&mut table, 2, "a", 9, vec![], now + 2_000);
    let next = Owner { uid: "another-life".into(), ..session("first") };
    table.want(&next, wanted(restore("dump", "data", None)), now + 2_000);
    assert!(run_all(&mut table, now + 1_000 + GRANT_MS - 1).is_empty());
    assert_eq!(table.next_due_ms(now + 2_000), Some(now + 1_000 + GRANT_MS));
    assert_eq!(run_all(&mut table, now + 1_000 + GRANT_MS)[0].owner, next);
}

#[test]
fn sessions_of_several_components_wait_for_each_other_in_no_circle() {
    let now = GRANT_MS;
    let mut table = aged();
    let both = |first: &str, second: &str| {
        let of = |component: &str, claim: &str| Wanted::Task(Box::new(restore(component, claim, None)));
        vec![of("one", first), of("two", second)]
    };
    table.want(&session("left"), both("x", "y"), now);
    table.want(&session("right"), both("y", "x"), now);
    let mut open = run_all(&mut table, now);
    assert_eq!(names(&open), ["left one", "left two"]);
    let mut ended = Vec::new();
    while let Some(start) = open.pop() {
        ended.extend(names(std::slice::from_ref(&start)));
        table.finished(AgentId(1), finish(&start, failed(v1::task_failure::Reason::Released)));
        open.extend(run_all(&mut table, now));
    }
    assert_eq!(ended, ["left two", "right one", "left one", "right two"], "each begins as soon as its own volume is free");
}

#[test]
fn components_of_one_session_write_to_places_apart_together() {
    let at = |component: &str, path: &str| {
        let mut request = restore(component, "shared", None);
        if let Work::Restore { task, .. } = &mut request.work {
            task.targets[0].path_in_volume = path.into();
        }
        Wanted::Task(Box::new(request))
    };
    let mut table = aged();
    table.want(&session("s"), vec![at("one", "pg-0"), at("two", "pg-1"), at("three", "pg-1/wal")], GRANT_MS);
    table.want(&session("other"), vec![at("one", "pg-7")], GRANT_MS);
    assert_eq!(names(&run_all(&mut table, GRANT_MS)), ["s one", "s two"]);
}

#[test]
fn a_new_leader_begins_no_restore_before_what_the_one_before_had_begun_can_write_no_more() {
    let mut table = Table::new(Limits::default(), 2, 1_000);
    join(&mut table, 1, "a", 2, vec![], 1_000);
    // The session before it is deleted: nothing is left that would name it.
    table.want(&session("next"), wanted(restore("dump", "data", None)), 1_000);
    assert!(table.drain().touched.contains(&session("next").key));
    assert!(waits_for(&table, "next", "dump", 1_000).contains("the controller before this one"));
    assert!(run_all(&mut table, 1_000 + GRANT_MS - 1).is_empty());
    assert_eq!(run_all(&mut table, 1_000 + GRANT_MS).len(), 1);
    // Nor before what it goes on with has ended.
    let mut table = Table::new(Limits::default(), 2, 1_000);
    let taken_over = v1::TaskRef { kind: "RestoreSession".into(), ..task("first", 3) };
    join(&mut table, 1, "a", 2, vec![v1::RunningTask { task: Some(taken_over), epoch: 1, finished: false }], 1_000);
    table.want(&session("first"), wanted(restore("dump", "data", Some(3))), 1_000);
    table.want(&session("next"), wanted(restore("dump", "data", None)), 1_000);
    assert!(run_all(&mut table, 1_000 + 10 * GRANT_MS).is_empty());
    assert!(waits_for(&table, "next", "dump", 1_000 + 10 * GRANT_MS).ends_with("by RestoreSession demo/first"));
}

#[test]
fn what_another_controller_had_begun_is_given_its_time_where_the_cache_did_not_show_it() {
    let mut table = Table::new(Limits::default(), 2, 1_000);
    join(&mut table, 1, "a", 2, vec![], 1_000);
    let manifests = |persisted| request(Class::Restore, "manifest", "a", persisted);
    table.want(&session("r"), wanted(manifests(None)), 1_000);
    let start = table.starts(1_000).remove(0);
    table.started(&start, Err(NotStarted::Superseded("attempt 3 was begun by another controller".into())), 1_000);
    table.want(&session("r"), wanted(TaskRequest { again_after: Some(1), ..manifests(None) }), 1_000);
    assert!(run_all(&mut table, 1_000 + GRANT_MS - 1).is_empty());
    // Then the cache shows which one that was: the next is the one after it.
    table.want(&session("r"), wanted(manifests(Some(3))), 2_000);
    assert!(run_all(&mut table, 1_000 + GRANT_MS - 1).is_empty());
    assert_eq!(run_all(&mut table, 1_000 + GRANT_MS)[0].attempt, 4);
}

#[test]
fn what_comes_back_with_its_agent_is_given_no_right_beside_another() {
    let limits = Limits::default();
    let mut table = aged();
    table.want(&session("first"), wanted(restore("dump", "data", None)), GRANT_MS);
    let first = run_all(&mut table, GRANT_MS).remove(0);
    table.agent_left(AgentId(1), GRANT_MS);
    let late = GRANT_MS + limits.agent_return_ms;
    table.expire(late);
    let elsewhere = TaskRequest { node: Some("b".into()), ..restore("dump", "data", None) };
    join(&mut table, 2, "b", 1, vec![], late);
    table.want(&session("next"), wanted(elsewhere), late);
    let next = run_all(&mut table, late).remove(0);
    assert_eq!(next.owner, session("next"));
    assert!(grant(&mut table, 2, &next, late));
    // It had waited for its first right, as long as it was away.
    join(&mut table, 3, "a", 1, vec![running(&first)], late + 1_000);
    assert!(!grant(&mut table, 3, &first, late + 1_000), "two may write");
    assert!(grant(&mut table, 2, &next, late + 2_000), "who has a right keeps it");
}

#[test]
fn a_session_is_at_work_until_the_last_of_it_has_ended() {
    let now = GRANT_MS;
    let mut table = aged();
    let is_at_work = |table: &Table, now_ms: u64| table.is_at_work("r-uid", ["one", "two"].into_iter(), now_ms);
    let both = || ["one", "two"].map(|component| Wanted::Task(Box::new(restore(component, component, None)))).to_vec();
    assert!(!is_at_work(&table, now));
    table.want(&session("r"), both(), now);
    assert!(is_at_work(&table, now), "it may begin at any moment");
    let starts = run_all(&mut table, now);
    table.finished(AgentId(1), finish(&starts[0], failed(v1::task_failure::Reason::TargetFull)));
    assert!(is_at_work(&table, now));
    assert!(grant(&mut table, 1, &starts[1], now));
    table.want(&session("r"), vec![], now);
    assert!(is_at_work(&table, now), "it is told to stop, and has not yet");
    table.agent_left(AgentId(1), now);
    assert!(is_at_work(&table, now + GRANT_MS - 1), "nobody says that it has ended");
    assert!(!is_at_work(&table, now + GRANT_MS));
    // Of what the leader before had begun nobody knows, until it can write no more or has been heard of.
    let mut table = Table::new(Limits::default(), 2, now);
    assert!(is_at_work(&table, now + GRANT_MS - 1) && !is_at_work(&table, now + GRANT_MS));
    assert!(!table.is_at_work("r-uid", [].into_iter(), now), "it had begun nothing");
    table.note_end(&TaskKey { owner_uid: "r-uid".into(), component: "one".into() }, Class::Restore, 1);
    assert!(!table.is_at_work("r-uid", ["one"].into_iter(), now));
}

#[test]
fn the_agent_of_a_pods_node_is_told_that_it_goes_whichever_pod_is_wanted_by_now() {
    let through = |pod: &str| TaskRequest { pod_uids: vec![pod.into()], ..request(Class::Backup, "dump", "a", None) };
    let mut table = aged();
    join(&mut table, 2, "b", 1, vec![], GRANT_MS);
    table.pod_terminating("old", "a");
    assert!(sent(&mut table).is_empty(), "it has nothing to let go of");
    table.want(&owner("s"), wanted(through("old")), GRANT_MS);
    run_all(&mut table, GRANT_MS);
    // Another pod of the claim is ready by now.
    table.want(&owner("s"), wanted(through("new")), GRANT_MS);
    table.drain();
    table.pod_terminating("old", "a");
    assert!(matches!(&sent(&mut table)[..], [(AgentId(1), Sent::Release(release))] if release.pod_uid == "old"));
    table.pod_terminating("elsewhere", "b");
    assert!(sent(&mut table).is_empty());
}
