//! The agents of a whole cluster in one process, for `make bench-control`: each on a stream of its own, over TLS, with a token of its
//! own. They speak the contract and touch nothing: a task is answered after a moment with what a small volume would have given.
//!
//!   load_agents --controller https://127.0.0.1:8443 --ca FILE --tokens FILE --log FILE [--slots 4] [--task-ms 20]
//!
//! `--tokens` has a line `NODE TOKEN` for each agent. `--log` gets a line `MICROSECONDS SNAPSHOT` for each backup that is assigned.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench says with them what it expects")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use holdfast_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use v1::agent_message::Kind as Said;
use v1::assign::Spec;
use v1::controller_message::Kind as Heard;
use v1::dispatch_client::DispatchClient;
use v1::task_finished::Outcome;

/// What a volume holds, at every backup: it neither grows nor shrinks.
const VOLUME_BYTES: u64 = 1 << 20;
const REPOSITORY_BYTES: u64 = 3 << 20;
/// Pause before a lost stream is dialed again.
const REDIAL: Duration = Duration::from_millis(500);

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    controller: String,
    /// The controller's certificate authority, as PEM.
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    tokens: PathBuf,
    #[arg(long)]
    log: PathBuf,
    #[arg(long, default_value_t = 4)]
    slots: u32,
    #[arg(long, default_value_t = 20)]
    task_ms: u64,
}

/// What all agents share.
struct Cluster {
    arguments: Arguments,
    ca_pem: Vec<u8>,
    log: Mutex<BufWriter<File>>,
    backups: AtomicU64,
}

type Outgoing = mpsc::Sender<v1::AgentMessage>;

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let arguments = Arguments::parse();
    let tokens = std::fs::read_to_string(&arguments.tokens).unwrap();
    let cluster = Arc::new(Cluster {
        ca_pem: std::fs::read(&arguments.ca).unwrap(),
        log: Mutex::new(BufWriter::new(File::create(&arguments.log).unwrap())),
        backups: AtomicU64::new(1),
        arguments,
    });
    for line in tokens.lines() {
        let (node, token) = line.split_once(' ').unwrap();
        tokio::spawn(run(Arc::clone(&cluster), node.to_owned(), token.to_owned()));
    }
    // What was assigned is to be read while the agents run.
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.log.lock().unwrap().flush().unwrap();
    }
}

async fn run(cluster: Arc<Cluster>, node: String, token: String) {
    loop {
        if let Err(error) = attend(&cluster, &node, &token).await {
            eprintln!("{node}: {error:?}");
        }
        tokio::time::sleep(REDIAL).await;
    }
}

async fn attend(cluster: &Arc<Cluster>, node: &str, token: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&cluster.ca_pem)).domain_name("localhost");
    let channel = Channel::from_shared(cluster.arguments.controller.clone())?.tls_config(tls)?.connect().await?;
    let (outgoing, receiver) = mpsc::channel(1024);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    say(&outgoing, Said::Hello(v1::Hello {
        protocol_version: 1,
        agent_version: "load".into(),
        slots: cluster.arguments.slots,
        instance: node.to_owned(),
        ..v1::Hello::default()
    }))
    .await;
    let mut stream = DispatchClient::new(channel).attend(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        match message.kind {
            Some(Heard::Assign(assign)) => {
                tokio::spawn(work(Arc::clone(cluster), outgoing.clone(), assign));
            }
            // A leader that begins asks for another Hello.
            Some(Heard::Leadership(leadership)) if leadership.epoch > 0 => {
                let hello = v1::Hello { protocol_version: 1, slots: cluster.arguments.slots, ..v1::Hello::default() };
                say(&outgoing, Said::Hello(hello)).await;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn say(outgoing: &Outgoing, kind: Said) {
    // A stream that has ended is dialed again; the controller then asks for what it misses.
    let _ = outgoing.send(v1::AgentMessage { kind: Some(kind) }).await;
}

async fn work(cluster: Arc<Cluster>, outgoing: Outgoing, assign: v1::Assign) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    say(&outgoing, Said::Accepted(v1::TaskAccepted { task: assign.task.clone() })).await;
    let spec = assign.spec.as_ref().unwrap();
    if let Spec::Backup(task) = spec {
        writeln!(cluster.log.lock().unwrap(), "{} {}", now.as_micros(), task.labels["snapshot"]).unwrap();
    }
    let outcome = outcome(&cluster, spec);
    tokio::time::sleep(Duration::from_millis(cluster.arguments.task_ms)).await;
    let finished = v1::TaskFinished { task: assign.task, elapsed_ms: cluster.arguments.task_ms, outcome: Some(outcome) };
    say(&outgoing, Said::Finished(finished)).await;
}

fn outcome(cluster: &Cluster, spec: &Spec) -> Outcome {
    match spec {
        Spec::ProbeStorage(_) | Spec::InitRepository(_) => {
            Outcome::Init(v1::InitResult { created: true, repository_id: "load".into(), conditional_create: true })
        }
        Spec::Backup(task) => Outcome::Backup(v1::BackupResult {
            snapshot_id: format!("{:016x}", cluster.backups.fetch_add(1, Ordering::Relaxed)),
            sources: task.sources.iter().map(source).collect(),
            repository_bytes: REPOSITORY_BYTES,
            ..v1::BackupResult::default()
        }),
        Spec::Restore(_) => Outcome::Restore(v1::RestoreResult::default()),
        Spec::WriteViews(task) => {
            let count = |length: usize| u32::try_from(length).unwrap();
            Outcome::Views(v1::ViewsResult { written: count(task.put.len()), removed: count(task.remove.len()) })
        }
        Spec::Check(_) => Outcome::Check(v1::CheckResult { intact: true, ..v1::CheckResult::default() }),
        Spec::Forget(task) => Outcome::Forget(v1::ForgetResult {
            snapshot_ids: task.snapshot_ids.clone(),
            forgotten: task.snapshot_ids.len() as u64,
        }),
        Spec::Prune(_) => Outcome::Prune(v1::PruneResult::default()),
        Spec::Wipe(_) => Outcome::Wipe(v1::WipeResult::default()),
        Spec::ReadRepositories(_) | Spec::ReadSnapshots(_) => Outcome::ReadBack(v1::ReadBackResult::default()),
        Spec::StoreManifests(_) | Spec::ReturnManifests(_) => Outcome::Failure(v1::TaskFailure {
            reason: v1::task_failure::Reason::InvalidTask.into(),
            message: "no configuration of the load has manifests".into(),
            retry_may_help: false,
        }),
    }
}

fn source(source: &v1::VolumeSource) -> v1::SourceResult {
    v1::SourceResult {
        container_path: source.container_path.clone(),
        files: 16,
        directories: 2,
        bytes: VOLUME_BYTES,
        bytes_read: 4096,
        bytes_added: 1024,
        ..v1::SourceResult::default()
    }
}
