//! A second look at volumes that a task holds, by a process of its own: the agent itself never touches a volume.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use holdfast_proto::v1::VolumeAccess;

use crate::cache::Folder;
use crate::config::{Config, SandboxMode};
use crate::process::{self, Process};
use crate::worker::message::{Empty, LookUp, Mount, Order, Work, from_worker, to_worker};

/// A volume that cannot be looked at for so long is not there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// A look reads a few directories.
const LOOK_MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// "" if every volume is still the same mount, else what changed.
pub(crate) async fn changed(config: &Config, volumes: &[VolumeAccess], before: &[Mount]) -> String {
    let work = Work::LookUp(LookUp { volumes: volumes.to_vec() });
    match ask(config, work).await {
        Ok(Some(from_worker::Kind::Opened(opened))) if !opened.error.is_empty() => opened.error,
        Ok(Some(from_worker::Kind::Opened(opened))) if opened.mounts == before => String::new(),
        Ok(Some(from_worker::Kind::Opened(_))) => "another mount is in its place".into(),
        Ok(_) => "the look at the volume ended without an answer".into(),
        Err(error) => format!("the volume cannot be looked at: {error}"),
    }
}

/// Tries out a sandbox, so that an agent that cannot make one says so when it starts and not when a backup is due.
pub(crate) async fn try_sandbox(config: &Config) -> Result<(), String> {
    match ask(config, Work::TrySandbox(Empty {})).await {
        Ok(Some(from_worker::Kind::Released(_))) => Ok(()),
        Ok(_) => Err("a worker cannot enter its sandbox; the line before this one says at which step".into()),
        Err(error) => Err(format!("no worker starts: {error}")),
    }
}

async fn ask(config: &Config, work: Work) -> std::io::Result<Option<from_worker::Kind>> {
    let mut worker = Process::spawn(&config.worker_command)?;
    let order = order(config, LOOK_MEMORY_BYTES, None, work);
    worker.send(to_worker::Kind::Order(Box::new(order))).await?;
    let Some(mut reader) = worker.reader.take() else { return Ok(None) };
    let answer = tokio::time::timeout(LOOK_TIMEOUT, process::receive(&mut reader)).await;
    worker.kill();
    answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map(|message| message.and_then(|message| message.kind))
}

/// The first frame for a worker of this agent.
pub(crate) fn order(config: &Config, memory_bytes: u64, cache: Option<Folder>, work: Work) -> Order {
    let (cache_bytes, cache_dir) = cache.map_or_else(Default::default, |cache| (cache.bytes_max, cache.path.into_os_string().into_vec()));
    Order {
        cache_dir,
        cache_bytes,
        parent_pid: i32::try_from(std::process::id()).unwrap_or(0),
        kubelet_dir: config.kubelet_dir.as_os_str().as_bytes().to_vec(),
        sandbox: config.sandbox == SandboxMode::Required,
        directories: config.sandbox == SandboxMode::OffWithoutMounts,
        memory_bytes,
        allow_local: config.allow_local.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        work: Some(work),
    }
}
