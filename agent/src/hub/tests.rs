use holdfast_proto::v1::{BackupTask, Cancel, Leadership, VolumeAccess, VolumeSource, Welcome, assign};

use super::*;
use crate::config::{SandboxMode, Source};

fn config() -> Arc<Config> {
    Arc::new(Config {
        controller: "localhost:1".into(),
        ca: Source::Function(Arc::new(|| Ok(Vec::new()))),
        token: Source::Function(Arc::new(|| Ok(Vec::new()))),
        kubelet_dir: "/nowhere".into(),
        slots: 4,
        memory_bytes: 1 << 20,
        sandbox: SandboxMode::Required,
        allow_local: Vec::new(),
        cache: None,
        worker_command: Vec::new(),
    })
}

fn hub() -> Hub {
    Hub::new(config(), "instance".into(), mpsc::channel(8).0)
}

/// A task that runs on a pod's volume; what it is told can be read.
fn running(hub: &mut Hub, session: &str, pod_uid: &str) -> mpsc::Receiver<Command> {
    let task = TaskRef { session_uid: session.into(), attempt: 1, ..TaskRef::default() };
    let volume = Some(VolumeAccess { pod_uid: pod_uid.into(), ..VolumeAccess::default() });
    let sources = vec![VolumeSource { volume, ..VolumeSource::default() }];
    let spec = assign::Spec::Backup(BackupTask { sources, ..BackupTask::default() });
    let (commands, receiver) = mpsc::channel(8);
    hub.roster.started(task, 1, &spec, commands);
    receiver
}

fn open(hub: &mut Hub, number: u64, epoch: u64) -> mpsc::Receiver<AgentMessage> {
    let id = ConnectionId(number);
    let (sender, outbound) = mpsc::channel(OUTBOUND_MAX);
    hub.event(Event::Opening { id, sender, close: CancellationToken::new() });
    say(hub, number, FromController::Welcome(Welcome { epoch, ..Welcome::default() }));
    outbound
}

fn say(hub: &mut Hub, number: u64, kind: FromController) {
    hub.event(Event::Message { id: ConnectionId(number), message: Box::new(ControllerMessage { kind: Some(kind) }) });
}

fn kinds(outbound: &mut mpsc::Receiver<AgentMessage>) -> Vec<ToController> {
    std::iter::from_fn(|| outbound.try_recv().ok()).filter_map(|message| message.kind).collect()
}

#[test]
fn a_release_reaches_the_tasks_of_that_pod_only() {
    let mut hub = hub();
    let (mut one, mut other) = (running(&mut hub, "a", "pod-1"), running(&mut hub, "b", "pod-2"));
    hub.release("pod-1", "deleted");
    assert!(matches!(one.try_recv(), Ok(Command::Release { .. })));
    assert!(other.try_recv().is_err());
}

#[test]
fn without_a_leader_for_a_minute_every_volume_is_let_go() {
    let mut hub = hub();
    let mut task = running(&mut hub, "a", "pod-1");
    let outbound = open(&mut hub, 1, 3);
    let start = Instant::now();
    hub.let_go_if_alone(start + Duration::from_secs(600));
    assert!(task.try_recv().is_err(), "a leader is there");
    // It is deposed; the stream stays.
    say(&mut hub, 1, FromController::Leadership(Leadership { epoch: 0 }));
    hub.let_go_if_alone(start + Duration::from_secs(600) + ALONE_MAX - Duration::from_secs(1));
    assert!(task.try_recv().is_err(), "a takeover takes less");
    hub.let_go_if_alone(start + Duration::from_secs(600) + ALONE_MAX);
    assert!(matches!(task.try_recv(), Ok(Command::Release { .. })));
    drop(outbound);
}

#[test]
fn what_a_task_reports_goes_to_the_highest_leadership() {
    let mut hub = hub();
    let _task = running(&mut hub, "a", "pod-1");
    let task = TaskRef { session_uid: "a".into(), attempt: 1, ..TaskRef::default() };
    let (mut old, mut new, mut follower) = (open(&mut hub, 1, 3), open(&mut hub, 2, 4), open(&mut hub, 3, 0));
    for outbound in [&mut old, &mut new, &mut follower] {
        kinds(outbound);
    }
    hub.report(task, Report::GrantWanted { sequence: 1 });
    assert!(matches!(kinds(&mut new).as_slice(), [ToController::GrantRequest(_)]));
    assert!(kinds(&mut old).is_empty() && kinds(&mut follower).is_empty());
}

#[test]
fn a_controller_that_does_not_read_loses_its_stream() {
    let mut hub = hub();
    let (sender, _outbound) = mpsc::channel(1);
    let close = CancellationToken::new();
    hub.event(Event::Opening { id: ConnectionId(1), sender, close: close.clone() });
    assert!(!close.is_cancelled());
    // Hello fills the queue; the answer to this does not fit in.
    say(&mut hub, 1, FromController::Assign(Assign::default()));
    assert!(close.is_cancelled());
    assert_eq!(hub.connections.leader(), None);
}

fn hellos(outbound: &mut mpsc::Receiver<AgentMessage>) -> Vec<Hello> {
    let said = kinds(outbound).into_iter();
    said.filter_map(|said| if let ToController::Hello(hello) = said { Some(hello) } else { None }).collect()
}

#[test]
fn a_leader_hears_again_what_runs_here_if_that_has_changed_since_the_hello() {
    let mut hub = hub();
    let (sender, mut outbound) = mpsc::channel(OUTBOUND_MAX);
    hub.event(Event::Opening { id: ConnectionId(1), sender, close: CancellationToken::new() });
    let _task = running(&mut hub, "a", "pod-1");
    say(&mut hub, 1, FromController::Welcome(Welcome { epoch: 4, ..Welcome::default() }));
    let said: Vec<usize> = hellos(&mut outbound).iter().map(|hello| hello.running.len()).collect();
    assert_eq!(said, [0, 1], "what another assigned meanwhile is unknown to this one");
    assert_eq!(hellos(&mut open(&mut hub, 2, 5)).len(), 1, "nothing has changed, and what it assigns at once must not look lost");
    let _other = running(&mut hub, "b", "pod-1");
    assert_eq!(hellos(&mut open(&mut hub, 3, 0)).len(), 1, "it does not lead");
}

#[test]
fn an_assignment_says_who_leads_if_nothing_else_has() {
    let mut hub = hub();
    let _task = running(&mut hub, "a", "pod-1");
    let task = TaskRef { session_uid: "a".into(), attempt: 1, ..TaskRef::default() };
    let (mut outbound, mut old) = (open(&mut hub, 1, 0), open(&mut hub, 2, 2));
    let spec = Some(assign::Spec::Backup(BackupTask::default()));
    let assign = Assign { task: Some(task.clone()), epoch: 3, spec, ..Assign::default() };
    say(&mut hub, 1, FromController::Assign(assign.clone()));
    kinds(&mut outbound);
    hub.report(task, Report::GrantWanted { sequence: 1 });
    assert!(matches!(kinds(&mut outbound).as_slice(), [ToController::GrantRequest(_)]));
    say(&mut hub, 2, FromController::Assign(Assign { epoch: 2, ..assign }));
    assert!(matches!(kinds(&mut old).last(), Some(ToController::Refused(_))));
    assert_eq!(hub.connections.epoch(ConnectionId(2)), 2, "who is refused leads nothing new");
}

#[test]
fn a_controller_hears_how_high_leaderships_have_risen() {
    let mut hub = hub();
    assert_eq!(hellos(&mut open(&mut hub, 1, 7))[0].highest_epoch, 0);
    assert_eq!(hellos(&mut open(&mut hub, 2, 0))[0].highest_epoch, 7);
}

#[test]
fn an_attempt_that_is_withdrawn_before_it_begins_is_told_to_have_ended() {
    let mut hub = hub();
    let mut older = running(&mut hub, "a", "pod-1");
    let mut outbound = open(&mut hub, 1, 3);
    let task = TaskRef { session_uid: "a".into(), attempt: 2, ..TaskRef::default() };
    let spec = Some(assign::Spec::Backup(BackupTask::default()));
    say(&mut hub, 1, FromController::Assign(Assign { task: Some(task.clone()), epoch: 3, spec, ..Assign::default() }));
    assert!(matches!(older.try_recv(), Ok(Command::Cancel { .. })));
    kinds(&mut outbound);
    let cancel = Cancel { task: Some(task.clone()), reason: "no longer wanted".into() };
    say(&mut hub, 1, FromController::Cancel(cancel.clone()));
    let said = kinds(&mut outbound);
    let [ToController::Finished(finished)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(finished.task.as_ref(), Some(&task));
    let Some(task_finished::Outcome::Failure(failure)) = &finished.outcome else { panic!() };
    assert_eq!(failure.reason(), task_failure::Reason::Cancelled);
    say(&mut hub, 1, FromController::Cancel(cancel));
    assert!(kinds(&mut outbound).is_empty() && older.try_recv().is_err(), "nothing waits any more, and the older one is not meant");
}
