//! An agent that speaks the protocol and touches nothing: what the controller hands out is what is looked at.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use v1::agent_message::Kind as Said;
use v1::controller_message::Kind as Heard;
use v1::dispatch_client::DispatchClient;

use crate::house::House;

type Key = (String, String, u32);

/// What it remembers, over all its streams.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) assigned: Vec<v1::Assign>,
    pub(crate) cancelled: Vec<v1::TaskRef>,
    /// What is cancelled takes its time: it ends when it is let go.
    pub(crate) slow_to_stop: bool,
    pub(crate) released: Vec<String>,
    pub(crate) acknowledged: usize,
    /// The leadership that it heard of last.
    pub(crate) epoch: u64,
    /// The highest that it has seen: it takes nothing that is assigned under a lower one.
    highest_epoch: u64,
    pub(crate) forgotten: Vec<String>,
    pub(crate) views_removed: Vec<String>,
    pub(crate) prunes: usize,
    pub(crate) wiped: Vec<String>,
    /// How much the volume holds.
    pub(crate) bytes: u64,
    /// The backend is away for whatever removes.
    pub(crate) away: bool,
    /// What is stored is damaged: it does not restore, and a check finds it.
    pub(crate) damaged: bool,
    /// Parts of checks, as asked for.
    pub(crate) checked: Vec<String>,
    /// Backups to this directory fail.
    pub(crate) full: Option<String>,
    /// What is in its backend.
    pub(crate) bucket: Bucket,
    /// Manifests that it stored last, or is storing.
    pub(crate) manifests: Vec<u8>,
    /// What it gave last of which task, and has no answer to.
    given: Option<v1::DataPiece>,
    backups: usize,
    running: HashMap<Key, (v1::TaskRef, u64)>,
    finished: HashMap<Key, v1::TaskFinished>,
}

/// What a repository holds, by the name of the Snapshot.
type Held = BTreeMap<String, Vec<v1::StoredSnapshot>>;

/// What a backend keeps while clusters come and go.
#[derive(Clone, Default)]
pub(crate) struct Bucket {
    /// Views, by path.
    pub(crate) views: BTreeMap<String, String>,
    /// By directory: the password of each repository, and what it holds under the name of each Snapshot.
    pub(crate) repositories: BTreeMap<String, (Vec<u8>, Held)>,
    /// Views in a page.
    pub(crate) page: usize,
}

#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) memory: Arc<Mutex<Memory>>,
    /// Backups and restores are held until this says otherwise.
    held: Arc<Mutex<bool>>,
    outgoing: Arc<Mutex<Option<mpsc::Sender<v1::AgentMessage>>>>,
}

fn key(task: &v1::TaskRef) -> Key {
    (task.session_uid.clone(), task.component.clone(), task.attempt)
}

/// UIDs of the pods through which a task has its volumes.
fn pods_of(assign: &v1::Assign) -> Vec<&str> {
    let volumes: Vec<_> = match &assign.spec {
        Some(v1::assign::Spec::Backup(task)) => task.sources.iter().map(|source| &source.volume).collect(),
        Some(v1::assign::Spec::Restore(task)) => task.targets.iter().map(|target| &target.volume).collect(),
        _ => Vec::new(),
    };
    volumes.into_iter().flatten().map(|volume| volume.pod_uid.as_str()).collect()
}

pub(crate) async fn dial(
    house: &House,
    token: &str,
) -> Result<(mpsc::Sender<v1::AgentMessage>, tonic::Streaming<v1::ControllerMessage>), tonic::Status> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(house.ca().await)).domain_name("localhost");
    let channel = Channel::from_shared(format!("https://{}", house.address)).unwrap().tls_config(tls).unwrap();
    let channel = channel.connect().await.map_err(|error| tonic::Status::unavailable(format!("{error:?}")))?;
    let (sender, receiver) = mpsc::channel(256);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let hello = v1::Hello { protocol_version: 1, slots: 4, ..v1::Hello::default() };
    sender.send(v1::AgentMessage { kind: Some(Said::Hello(hello)) }).await.unwrap();
    let stream = DispatchClient::new(channel).attend(request).await?.into_inner();
    Ok((sender, stream))
}

impl Agent {
    /// An agent on a node, which keeps dialing.
    pub(crate) fn start(house: &House, node: &str) -> (Self, JoinHandle<()>) {
        let memory = Memory { bytes: 4096, ..Memory::default() };
        let agent = Self { memory: Arc::new(Mutex::new(memory)), held: Arc::default(), outgoing: Arc::default() };
        let task = agent.keep_dialing(house, node);
        (agent, task)
    }

    /// Also once more, of one whose dialing was aborted: it remembers.
    pub(crate) fn keep_dialing(&self, house: &House, node: &str) -> JoinHandle<()> {
        let token =
            house.standalone.mint_token("holdfast/holdfast-agent", &format!("agent-{node}"), node, "holdfast").unwrap();
        let (clone, address, client) = (self.clone(), house.address, house.client.clone());
        tokio::spawn(async move {
            loop {
                let _ = clone.attend(address, &client, &token).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    async fn attend(
        &self,
        address: std::net::SocketAddr,
        client: &kube::Client,
        token: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client.clone(), "holdfast");
        let ca = maps.get("holdfast-ca").await?.data.and_then(|mut data| data.remove("ca.crt")).unwrap_or_default();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name("localhost");
        let channel = Channel::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect().await?;
        let (sender, receiver) = mpsc::channel(256);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        *self.outgoing.lock().unwrap() = Some(sender);
        self.hello();
        let mut stream = DispatchClient::new(channel).attend(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            if let Some(kind) = message.kind {
                self.hear(kind);
            }
        }
        Ok(())
    }

    /// What it still had to say goes nowhere; without this its stream stays open.
    pub(crate) fn hang_up(&self) {
        *self.outgoing.lock().unwrap() = None;
    }

    fn say(&self, kind: Said) {
        if let Some(outgoing) = &*self.outgoing.lock().unwrap() {
            let _ = outgoing.try_send(v1::AgentMessage { kind: Some(kind) });
        }
    }

    fn hello(&self) {
        let (running, finished, highest_epoch) = {
            let memory = self.memory.lock().unwrap();
            let running = memory.running.iter().map(|(key, (task, epoch))| v1::RunningTask {
                task: Some(task.clone()),
                epoch: *epoch,
                finished: memory.finished.contains_key(key),
            });
            (running.collect(), memory.finished.values().cloned().collect::<Vec<_>>(), memory.highest_epoch)
        };
        self.say(Said::Hello(v1::Hello { protocol_version: 1, slots: 4, running, highest_epoch, ..v1::Hello::default() }));
        finished.into_iter().for_each(|finished| self.say(Said::Finished(finished)));
    }

    fn hear(&self, kind: Heard) {
        match kind {
            Heard::Welcome(welcome) => self.is_led(welcome.epoch),
            Heard::Leadership(leadership) => {
                self.is_led(leadership.epoch);
                if leadership.epoch > 0 {
                    self.hello();
                }
            }
            Heard::Assign(assign) if assign.epoch < self.memory.lock().unwrap().highest_epoch => {
                let reason = v1::task_refused::Reason::StaleEpoch.into();
                self.say(Said::Refused(v1::TaskRefused { task: assign.task, reason, message: "that leadership is over".into() }));
            }
            Heard::Assign(assign) => {
                let task = assign.task.clone().unwrap();
                let mut memory = self.memory.lock().unwrap();
                memory.running.insert(key(&task), (task.clone(), assign.epoch));
                memory.assigned.push(assign.clone());
                drop(memory);
                self.say(Said::Accepted(v1::TaskAccepted { task: Some(task.clone()) }));
                let is_small = task.component.is_empty() || task.component == "views" || task.component.starts_with("read-back:");
                let held = *self.held.lock().unwrap() && !is_small;
                if self.exchanges(&assign) {
                    return;
                }
                if !held {
                    let outcome = self.outcome(&assign);
                    self.finish(&task, outcome);
                }
            }
            Heard::Cancel(cancel) => {
                let task = cancel.task.unwrap();
                let is_slow = {
                    let mut memory = self.memory.lock().unwrap();
                    memory.cancelled.push(task.clone());
                    memory.slow_to_stop
                };
                if !is_slow {
                    self.fail(&task, v1::task_failure::Reason::Cancelled);
                }
            }
            Heard::Release(release) => {
                let tasks: Vec<_> = {
                    let mut memory = self.memory.lock().unwrap();
                    memory.released.push(release.pod_uid.clone());
                    let users = memory.assigned.iter().filter(|assign| pods_of(assign).contains(&release.pod_uid.as_str()));
                    let users = users.filter_map(|assign| assign.task.clone());
                    users.filter(|task| memory.running.contains_key(&key(task)) && !memory.finished.contains_key(&key(task))).collect()
                };
                tasks.iter().for_each(|task| self.fail(task, v1::task_failure::Reason::Released));
            }
            Heard::FinishedAck(ack) => {
                let mut memory = self.memory.lock().unwrap();
                let key = key(&ack.task.unwrap());
                memory.acknowledged += 1;
                memory.running.remove(&key);
                memory.finished.remove(&key);
            }
            Heard::Data(data) => self.store(data),
            Heard::DataAnswer(answer) => self.heed(answer),
            _ => {}
        }
    }

    fn is_led(&self, epoch: u64) {
        let mut memory = self.memory.lock().unwrap();
        memory.epoch = epoch;
        memory.highest_epoch = memory.highest_epoch.max(epoch);
    }

    /// Whether a task is about data that goes to the controller, or comes from there; then it begins.
    fn exchanges(&self, assign: &v1::Assign) -> bool {
        let task = assign.task.clone();
        match &assign.spec {
            Some(v1::assign::Spec::StoreManifests(_)) => {
                self.memory.lock().unwrap().manifests.clear();
                self.say(Said::DataRequest(v1::DataRequest { task, offset: 0, max_bytes: 0 }));
            }
            Some(v1::assign::Spec::ReturnManifests(_)) => {
                let bytes = self.memory.lock().unwrap().manifests.clone();
                self.memory.lock().unwrap().given = Some(v1::DataPiece { task, offset: 0, bytes, last: true });
                self.ask_again();
            }
            _ => return false,
        }
        true
    }

    /// Again and again until there is an answer: the controller may be another by now.
    fn ask_again(&self) {
        let agent = self.clone();
        tokio::spawn(async move {
            loop {
                let Some(piece) = agent.memory.lock().unwrap().given.clone() else { return };
                agent.say(Said::DataPiece(piece));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    fn store(&self, data: v1::Data) {
        use v1::task_finished::Outcome;
        let task = data.task.clone().unwrap();
        let offset = {
            let mut memory = self.memory.lock().unwrap();
            memory.manifests.extend(&data.bytes);
            memory.manifests.len() as u64
        };
        if !data.error.is_empty() {
            let failure = v1::TaskFailure { message: data.error, retry_may_help: data.retry_may_help, ..v1::TaskFailure::default() };
            self.finish(&task, Outcome::Failure(failure));
        } else if data.last {
            let source = v1::SourceResult { container_path: "/manifests.yaml".into(), bytes: offset, files: data.objects, ..v1::SourceResult::default() };
            let (unreadable_count, unreadable_first) = (data.left_out_count, data.left_out_first);
            let result = v1::BackupResult { snapshot_id: "m-1".into(), sources: vec![source], unreadable_count, unreadable_first, ..v1::BackupResult::default() };
            self.finish(&task, Outcome::Backup(result));
        } else {
            self.say(Said::DataRequest(v1::DataRequest { task: Some(task), offset, max_bytes: 0 }));
        }
    }

    fn heed(&self, answer: v1::DataAnswer) {
        use v1::task_finished::Outcome;
        let task = answer.task.clone().unwrap();
        if self.memory.lock().unwrap().given.take().is_none() {
            return;
        }
        if !answer.error.is_empty() {
            let failure = v1::TaskFailure { message: answer.error, retry_may_help: answer.retry_may_help, ..v1::TaskFailure::default() };
            self.finish(&task, Outcome::Failure(failure));
        } else if let Some(result) = answer.result {
            self.finish(&task, Outcome::Restore(result));
        } else {
            let agent = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                agent.memory.lock().unwrap().given = Some(v1::DataPiece { task: Some(task), offset: answer.offset, bytes: Vec::new(), last: true });
                agent.ask_again();
            });
        }
    }

    fn finish(&self, task: &v1::TaskRef, outcome: v1::task_finished::Outcome) {
        let finished = v1::TaskFinished { task: Some(task.clone()), elapsed_ms: 3, outcome: Some(outcome) };
        self.memory.lock().unwrap().finished.insert(key(task), finished.clone());
        self.say(Said::Finished(finished));
    }

    fn fail(&self, task: &v1::TaskRef, reason: v1::task_failure::Reason) {
        let failure = v1::TaskFailure { reason: reason.into(), message: "as asked".into(), retry_may_help: false };
        self.finish(task, v1::task_finished::Outcome::Failure(failure));
    }

    /// From now on backups and restores do not end.
    pub(crate) fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
    }

    /// Ends what is held.
    pub(crate) fn let_go(&self) {
        self.hold(false);
        let memory = self.memory.lock().unwrap();
        let finished = |assign: &v1::Assign| memory.finished.contains_key(&key(assign.task.as_ref().unwrap()));
        let running = |assign: &v1::Assign| memory.running.contains_key(&key(assign.task.as_ref().unwrap()));
        let open: Vec<_> =
            memory.assigned.iter().filter(|assign| running(assign) && !finished(assign)).cloned().collect();
        drop(memory);
        for assign in open {
            let outcome = self.outcome(&assign);
            self.finish(assign.task.as_ref().unwrap(), outcome);
        }
    }

    /// Ends what was cancelled and took its time.
    pub(crate) fn stop_at_last(&self) {
        let cancelled = self.memory.lock().unwrap().cancelled.clone();
        cancelled.iter().for_each(|task| self.fail(task, v1::task_failure::Reason::Cancelled));
    }

    /// The backup or restore of this component that is held ends without success.
    pub(crate) fn fail_one(&self, component: &str) {
        let held = {
            let memory = self.memory.lock().unwrap();
            let mut open = memory.running.iter().filter(|(key, _)| !memory.finished.contains_key(*key));
            open.find_map(|(_, (task, _))| (task.component == component).then(|| task.clone()))
        };
        self.fail(&held.unwrap(), v1::task_failure::Reason::VolumeUnreadable);
    }

    /// The restores that it was to do, in order.
    pub(crate) fn restores(&self) -> Vec<v1::RestoreTask> {
        let memory = self.memory.lock().unwrap();
        let tasks = memory.assigned.iter().filter_map(|assign| match &assign.spec {
            Some(v1::assign::Spec::Restore(task)) => Some(task.clone()),
            _ => None,
        });
        tasks.collect()
    }

    /// Directories of the repositories that it was to back up to, in order.
    pub(crate) fn directories(&self) -> Vec<String> {
        let memory = self.memory.lock().unwrap();
        let backups = memory.assigned.iter().filter_map(|assign| match &assign.spec {
            Some(v1::assign::Spec::Backup(task)) => task.repository.as_ref(),
            _ => None,
        });
        let mut directories: Vec<String> = backups.map(|access| access.directory.clone()).collect();
        directories.sort();
        directories
    }

    /// Whether anything that it was given names this.
    pub(crate) fn was_told(&self, of: &str) -> bool {
        self.memory.lock().unwrap().assigned.iter().any(|assign| format!("{assign:?}").contains(of))
    }

    /// Of each backup and restore that it was given, how often it was given that one until then.
    pub(crate) fn attempts(&self) -> Vec<usize> {
        let memory = self.memory.lock().unwrap();
        let is_data = |assign: &&v1::Assign| matches!(assign.spec, Some(v1::assign::Spec::Backup(_) | v1::assign::Spec::Restore(_)));
        let tasks: Vec<&v1::TaskRef> = memory.assigned.iter().filter(is_data).filter_map(|assign| assign.task.as_ref()).collect();
        let nth = |(at, task): (usize, &&v1::TaskRef)| {
            let so_far = tasks[..=at].iter().filter(|other| (&other.session_uid, &other.component) == (&task.session_uid, &task.component));
            so_far.count()
        };
        tasks.iter().enumerate().map(nth).collect()
    }
}

impl Agent {
    fn outcome(&self, assign: &v1::Assign) -> v1::task_finished::Outcome {
        use v1::assign::Spec;
        use v1::task_finished::Outcome;
        let mut memory = self.memory.lock().unwrap();
        let spec = assign.spec.as_ref().unwrap();
        if memory.away && matches!(spec, Spec::Forget(_) | Spec::Prune(_) | Spec::Wipe(_)) {
            let reason = v1::task_failure::Reason::BackendUnreachable.into();
            return Outcome::Failure(v1::TaskFailure { reason, message: "nobody answers".into(), retry_may_help: true });
        }
        match spec {
            Spec::ProbeStorage(_) => Outcome::Init(v1::InitResult { created: false, repository_id: String::new(), conditional_create: true }),
            Spec::InitRepository(task) => memory.bucket.open(task),
            Spec::ReadRepositories(task) => memory.bucket.read("/repository.yaml", "", &task.after),
            Spec::ReadSnapshots(task) => {
                let directory = format!("{}/snapshots/", task.repository.as_ref().unwrap().directory);
                memory.bucket.read(".yaml", &directory, &task.after)
            }
            Spec::WriteViews(views) => {
                for view in &views.put {
                    memory.bucket.views.insert(view.path.clone(), String::from_utf8(view.yaml.clone()).unwrap());
                }
                memory.views_removed.extend(views.remove.iter().cloned());
                Outcome::Views(v1::ViewsResult { written: views.put.len() as u32, removed: views.remove.len() as u32 })
            }
            Spec::Backup(task) if memory.full.as_deref() == task.repository.as_ref().map(|access| access.directory.as_str()) => {
                let reason = v1::task_failure::Reason::BackendUnreachable.into();
                Outcome::Failure(v1::TaskFailure { reason, message: "no space there".into(), retry_may_help: false })
            }
            Spec::Backup(task) => {
                memory.backups += 1;
                let source = |source: &v1::VolumeSource| v1::SourceResult {
                    container_path: source.container_path.clone(),
                    bytes: memory.bytes,
                    bytes_added: 1024,
                    ..v1::SourceResult::default()
                };
                let id = format!("e-{}", memory.backups);
                let sources: Vec<_> = task.sources.iter().map(source).collect();
                memory.bucket.keep(task, &assign.task.as_ref().unwrap().component, &id, sources.clone());
                Outcome::Backup(v1::BackupResult {
                    snapshot_id: id,
                    sources,
                    repository_bytes: 3 << 20,
                    ..v1::BackupResult::default()
                })
            }
            Spec::Restore(_) if memory.damaged => {
                let reason = v1::task_failure::Reason::RepositoryDamaged.into();
                Outcome::Failure(v1::TaskFailure { reason, message: "packs/data/ab is rotten".into(), retry_may_help: false })
            }
            Spec::Restore(_) => Outcome::Restore(v1::RestoreResult::default()),
            Spec::Check(task) => {
                memory.checked.push(task.after.clone());
                let findings: Vec<String> = memory.damaged.then(|| "packs/data/ab: a blob is rotten".to_owned()).into_iter().collect();
                let next = format!("part-{}", memory.checked.len());
                Outcome::Check(v1::CheckResult { intact: !memory.damaged, findings_count: findings.len() as u64, findings_first: findings, next, ..v1::CheckResult::default() })
            }
            Spec::Forget(task) => {
                assert!(!task.repository.as_ref().unwrap().password.is_empty());
                memory.forgotten.extend(task.snapshot_ids.iter().cloned());
                memory.views_removed.extend(task.remove_views.iter().cloned());
                let forgotten = task.snapshot_ids.len() as u64;
                Outcome::Forget(v1::ForgetResult { snapshot_ids: task.snapshot_ids.clone(), forgotten })
            }
            Spec::Prune(_) => {
                memory.prunes += 1;
                // The first finds what is unused, the second deletes it.
                let (unused, deleted) = if memory.prunes % 2 == 1 { (3, 0) } else { (0, 3) };
                Outcome::Prune(v1::PruneResult { packs_unused: unused, packs_deleted: deleted, bytes_deleted: deleted << 20, ..v1::PruneResult::default() })
            }
            Spec::StoreManifests(_) | Spec::ReturnManifests(_) => panic!("that is an exchange"),
            Spec::Wipe(task) => {
                memory.wiped.push(task.directory.clone());
                Outcome::Wipe(v1::WipeResult { objects: 9 })
            }
        }
    }
}

impl Bucket {
    fn open(&mut self, task: &v1::InitRepository) -> v1::task_finished::Outcome {
        use v1::task_finished::Outcome;
        use v1::task_failure::Reason;
        let access = task.repository.as_ref().unwrap();
        let failed = |reason: Reason, message: &str| Outcome::Failure(v1::TaskFailure { reason: reason.into(), message: message.into(), retry_may_help: false });
        let created = match self.repositories.get(&access.directory) {
            Some((password, _)) if *password != access.password => return failed(Reason::WrongPassword, "wrong password"),
            Some(_) => false,
            None if task.only_existing => return failed(Reason::NotARepository, "no repository"),
            None => {
                self.repositories.insert(access.directory.clone(), (access.password.clone(), Held::new()));
                true
            }
        };
        Outcome::Init(v1::InitResult { created, repository_id: "r".into(), conditional_create: true })
    }

    fn keep(&mut self, task: &v1::BackupTask, component: &str, id: &str, sources: Vec<v1::SourceResult>) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let stored = v1::StoredSnapshot {
            id: id.into(),
            host: task.host.clone(),
            session: task.session.clone(),
            component: component.into(),
            sources,
            started_unix_ms: now_ms,
            ended_unix_ms: now_ms,
            unreadable_count: 0,
        };
        let access = task.repository.as_ref().unwrap();
        let (_, held) = self.repositories.entry(access.directory.clone()).or_insert_with(|| (access.password.clone(), Held::new()));
        held.entry(task.labels["snapshot"].clone()).or_default().push(stored);
    }

    /// A page of the views below `folder`, each with what its repository holds under its name.
    fn read(&self, suffix: &str, folder: &str, after: &str) -> v1::task_finished::Outcome {
        let held = self.repositories.get(folder.trim_end_matches("/snapshots/")).map(|(_, held)| held.clone()).unwrap_or_default();
        let lost = held.keys().map(|name| format!("{folder}{name}.yaml"));
        let views = self.views.keys().filter(|path| path.starts_with(folder) && path.ends_with(suffix)).cloned();
        let mut paths: Vec<String> = views.chain(lost).filter(|path| path.as_str() > after).collect();
        paths.sort();
        paths.dedup();
        let mut result = v1::ReadBackResult::default();
        let page = self.page.max(1);
        result.next = if paths.len() > page { paths[page - 1].clone() } else { String::new() };
        for path in paths.into_iter().take(page) {
            let name = path.strip_prefix(folder).unwrap().trim_end_matches(".yaml");
            let stored = held.get(name).cloned().unwrap_or_default();
            let json = match self.views.get(&path).map(|yaml| serde_saphyr::from_str::<serde_json::Value>(yaml)) {
                Some(Ok(document)) => serde_json::to_vec(&document).unwrap(),
                Some(Err(_)) => {
                    result.damaged_count += 1;
                    result.damaged_first.push(format!("{path}: no YAML"));
                    Vec::new()
                }
                None => Vec::new(),
            };
            if !json.is_empty() || !stored.is_empty() {
                result.views.push(v1::ReadView { path, json, stored });
            }
        }
        v1::task_finished::Outcome::ReadBack(result)
    }
}
