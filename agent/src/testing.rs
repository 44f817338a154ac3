//! For tests of this crate and the fuzz targets: what agent and worker read from each other, by name.
//!
//! A worker has read hostile bytes, so what it says may be an enemy's: the agent's end of the socketpair is the one that matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests end where something is wrong.

use std::io::Read;
use std::time::Instant;

use holdfast_proto::v1::{
    Assign, Backend, BackupResult, BackupTask, Data, DataAnswer, DataPiece, DataRequest, RepositoryAccess, S3, TaskFailure, TaskFinished, TaskProgress, TaskRef, VolumeAccess, VolumeSource, assign, backend,
    task_finished::Outcome,
};
use holdfast_repository::testing::Parser;
use prost::Message;

use crate::frame;
use crate::supervisor::observe;
use crate::worker::document;
use crate::worker::message::{
    Check, Checked, Empty, FROM_WORKER_BYTES_MAX, FromWorker, Grant, LookUp, Mount, Opened, Order, Resolve, Resolved, StopOrder, TO_WORKER_BYTES_MAX, ToWorker,
    Work, from_worker, to_worker,
};
use crate::worker::task::is_whole;

/// All that read frames, where each input is a stream of them, and the reader of views.
pub fn parsers() -> Vec<Parser> {
    vec![
        Parser::new("view", |bytes| document::parse(bytes).is_ok()),
        Parser { declared_bytes: |bytes| declared(bytes, FROM_WORKER_BYTES_MAX), ..Parser::new("from-worker", from_worker) },
        Parser { declared_bytes: |bytes| declared(bytes, TO_WORKER_BYTES_MAX), ..Parser::new("to-worker", to_worker) },
    ]
}

/// A frame's buffer is made when its length is read: of the last one, whose bytes may not follow, all of it.
fn declared(mut bytes: &[u8], bytes_max: usize) -> usize {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        match rest.get(length..) {
            Some(rest) => bytes = rest,
            None => return if length <= bytes_max { length } else { 0 },
        }
    }
    0
}

fn each<M: Message + Default>(mut bytes: &[u8], bytes_max: usize, mut take: impl FnMut(M) -> bool) -> bool {
    let mut takes_all = true;
    while !bytes.is_empty() {
        match frame::read_blocking::<M>(&mut bytes.by_ref(), bytes_max) {
            Ok(message) => takes_all &= take(message),
            Err(_) => return false,
        }
    }
    takes_all
}

fn from_worker(bytes: &[u8]) -> bool {
    let start = Instant::now();
    let mut seen = observe(start);
    each(bytes, FROM_WORKER_BYTES_MAX, |message: FromWorker| {
        seen(&message);
        message.kind.is_some()
    })
}

fn to_worker(bytes: &[u8]) -> bool {
    each(bytes, TO_WORKER_BYTES_MAX, |mut message: ToWorker| {
        let is_taken = match &message.kind {
            Some(to_worker::Kind::Order(order)) => match &order.work {
                Some(Work::Task(assign)) => is_whole(assign),
                work => work.is_some(),
            },
            kind => kind.is_some(),
        };
        message.wipe();
        is_taken
    })
}

fn stream<M: Message>(messages: &[M], bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        frame::write_blocking(&mut bytes, message, bytes_max).unwrap();
    }
    bytes
}

/// A Snapshot as KubeStash writes it.
const VIEW: &str = include_str!("../tests/views/kubestash-snapshot.yaml");

/// What the two say to each other today.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let task = || Some(TaskRef { name: "backup".into(), attempt: 3, ..TaskRef::default() });
    let backup = Outcome::Backup(BackupResult { unreadable_first: vec!["a/b".into()], ..BackupResult::default() });
    let failure = Outcome::Failure(TaskFailure { message: "it is full".into(), retry_may_help: true, ..TaskFailure::default() });
    let finished = |outcome| Box::new(TaskFinished { task: task(), elapsed_ms: 7, outcome: Some(outcome) });
    let progress = TaskProgress { task: task(), files_done: 1, bytes_done: u64::MAX, phase: "read".into(), ..TaskProgress::default() };
    let mount = Mount { device_major: 8, device_minor: 1, inode: 2, mount_id: 77 };
    let from = [
        from_worker::Kind::Opened(Opened { mounts: vec![mount, mount], error: String::new() }),
        from_worker::Kind::Progress(progress),
        from_worker::Kind::WantGrant(Empty {}),
        from_worker::Kind::WantCredentials(Empty {}),
        from_worker::Kind::Resolve(Resolve { id: 1, host: "s3.example".into() }),
        from_worker::Kind::Check(Check { id: 2 }),
        from_worker::Kind::Released(Empty {}),
        from_worker::Kind::Finished(finished(backup)),
        from_worker::Kind::Finished(finished(failure)),
        from_worker::Kind::WantData(DataRequest { offset: 7, max_bytes: 1 << 19, task: None }),
        from_worker::Kind::Piece(DataPiece { offset: 7, bytes: b"---".to_vec(), last: true, task: None }),
    ];
    let keys = || Backend { kind: Some(backend::Kind::S3(S3 { bucket: "b".into(), session_token: "t".into(), ..S3::default() })) };
    let source = VolumeSource { volume: Some(VolumeAccess::default()), ..VolumeSource::default() };
    let repository = Some(RepositoryAccess { backend: Some(keys()), ..RepositoryAccess::default() });
    let spec = assign::Spec::Backup(BackupTask { repository, sources: vec![source], ..BackupTask::default() });
    let work = Work::Task(Box::new(Assign { task: task(), spec: Some(spec), ..Assign::default() }));
    let order = |work| Box::new(Order { parent_pid: 1, kubelet_dir: b"/k".to_vec(), sandbox: true, memory_bytes: 1 << 27, work: Some(work), ..Order::default() });
    let to = [
        to_worker::Kind::Order(order(work)),
        to_worker::Kind::Order(order(Work::LookUp(LookUp { volumes: vec![VolumeAccess::default()] }))),
        to_worker::Kind::Stop(StopOrder { release: true }),
        to_worker::Kind::Grant(Grant { until_boottime_ms: u64::MAX, refused: "no".into() }),
        to_worker::Kind::Credentials(keys()),
        to_worker::Kind::Resolved(Resolved { id: 1, addresses: vec!["192.0.2.1".into()], error: String::new() }),
        to_worker::Kind::Checked(Checked { id: 2, changed: String::new() }),
        to_worker::Kind::Data(Data { offset: 7, bytes: b"---".to_vec(), error: "it is gone".into(), ..Data::default() }),
        to_worker::Kind::DataAnswer(DataAnswer { offset: 10, done: 1, total: 2, ..DataAnswer::default() }),
    ];
    vec![
        ("view", VIEW.as_bytes().to_vec()),
        ("from-worker", stream(&from.map(|kind| FromWorker { kind: Some(kind) }), FROM_WORKER_BYTES_MAX)),
        ("to-worker", stream(&to.map(|kind| ToWorker { kind: Some(kind) }), TO_WORKER_BYTES_MAX)),
    ]
}
