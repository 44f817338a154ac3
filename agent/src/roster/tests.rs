use holdfast_proto::v1::{BackupTask, InitRepository, VolumeAccess, VolumeSource, task_finished::Outcome, ViewsResult};

use super::*;

fn task(component: &str, attempt: u32) -> TaskRef {
    TaskRef { session_uid: "s".into(), component: component.into(), attempt, ..TaskRef::default() }
}

fn assign(component: &str, attempt: u32, epoch: u64) -> Assign {
    Assign { task: Some(task(component, attempt)), epoch, spec: Some(assign::Spec::InitRepository(InitRepository::default())), ..Assign::default() }
}

fn result(component: &str, attempt: u32) -> TaskFinished {
    TaskFinished { task: Some(task(component, attempt)), elapsed_ms: 1, outcome: Some(Outcome::Views(ViewsResult::default())) }
}

fn start(roster: &mut Roster<()>, assign: &Assign) {
    assert_eq!(roster.decide(assign), Decision::Start);
    roster.started(assign.task.clone().unwrap(), assign.epoch, assign.spec.as_ref().unwrap(), ());
}

fn refused(decision: &Decision) -> Option<Reason> {
    match decision {
        Decision::Refuse(reason, _) => Some(*reason),
        _ => None,
    }
}

#[test]
fn a_deposed_leader_assigns_nothing() {
    let mut roster = Roster::<()>::new(4);
    roster.saw_epoch(7);
    assert_eq!(refused(&roster.decide(&assign("a", 1, 6))), Some(Reason::StaleEpoch));
    assert_eq!(roster.decide(&assign("a", 1, 7)), Decision::Start);
}

#[test]
fn a_repeated_assignment_starts_nothing_twice() {
    let mut roster = Roster::<()>::new(4);
    start(&mut roster, &assign("a", 1, 1));
    assert_eq!(roster.decide(&assign("a", 1, 1)), Decision::Acknowledge);
    assert_eq!(roster.finished(result("a", 1)), None);
    assert_eq!(roster.decide(&assign("a", 1, 1)), Decision::Report);
}

#[test]
fn a_newer_attempt_waits_for_the_older_to_end() {
    let mut roster = Roster::<()>::new(4);
    start(&mut roster, &assign("a", 1, 1));
    let second = assign("a", 2, 1);
    assert_eq!(roster.decide(&second), Decision::Replace);
    assert_eq!(roster.queue_next(second.clone()), None);
    assert_eq!(roster.decide(&second), Decision::Acknowledge);
    assert_eq!(refused(&roster.decide(&assign("a", 1, 1))), Some(Reason::StaleAttempt));
    let third = assign("a", 3, 1);
    assert_eq!(roster.queue_next(third.clone()), Some(second), "to be wiped: it has secrets in it");
    assert_eq!(roster.finished(result("a", 1)), Some(third));
}

#[test]
fn an_older_attempt_never_comes_back() {
    let mut roster = Roster::<()>::new(4);
    start(&mut roster, &assign("a", 3, 1));
    assert_eq!(refused(&roster.decide(&assign("a", 2, 1))), Some(Reason::StaleAttempt));
    assert_eq!(roster.finished(result("a", 3)), None);
    assert_eq!(refused(&roster.decide(&assign("a", 2, 1))), Some(Reason::StaleAttempt));
}

#[test]
fn slots_are_a_limit_and_come_back() {
    let mut roster = Roster::<()>::new(2);
    start(&mut roster, &assign("a", 1, 1));
    start(&mut roster, &assign("b", 1, 1));
    assert_eq!(refused(&roster.decide(&assign("c", 1, 1))), Some(Reason::NoSlot));
    assert_eq!(roster.finished(result("a", 1)), None);
    assert_eq!(roster.decide(&assign("c", 1, 1)), Decision::Start);
}

#[test]
fn an_unknown_kind_or_a_block_device_is_refused_not_ignored() {
    let roster = Roster::<()>::new(2);
    let mut unknown = assign("a", 1, 1);
    unknown.spec = None;
    assert_eq!(refused(&roster.decide(&unknown)), Some(Reason::UnknownTask));
    let mut block = assign("a", 1, 1);
    let volume = Some(VolumeAccess { block: true, ..VolumeAccess::default() });
    let sources = vec![VolumeSource { volume, ..VolumeSource::default() }];
    block.spec = Some(assign::Spec::Backup(BackupTask { sources, ..BackupTask::default() }));
    assert_eq!(refused(&roster.decide(&block)), Some(Reason::UnknownTask));
}

#[test]
fn a_result_is_kept_until_it_is_acknowledged_and_no_longer() {
    let mut roster = Roster::<()>::new(2);
    start(&mut roster, &assign("a", 2, 1));
    assert_eq!(roster.finished(result("a", 2)), None);
    roster.acknowledged(&task("a", 1));
    assert!(roster.get(&task("a", 2)).is_some(), "an acknowledgement of another attempt is not this one's");
    roster.acknowledged(&task("a", 2));
    assert!(roster.get(&task("a", 2)).is_none());
}

#[test]
fn results_that_nobody_takes_are_bounded() {
    let mut roster = Roster::<()>::new(1);
    for number in 0..UNACKNOWLEDGED_MAX + 10 {
        let component = number.to_string();
        start(&mut roster, &assign(&component, 1, 1));
        assert_eq!(roster.finished(result(&component, 1)), None);
    }
    assert_eq!(roster.entries().count(), UNACKNOWLEDGED_MAX);
    assert!(roster.get(&task("0", 1)).is_none(), "the oldest goes first");
}
