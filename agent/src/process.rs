//! A worker process, from the agent's side: started, spoken to, ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use crate::frame;
use crate::worker::message::{FROM_WORKER_BYTES_MAX, FromWorker, TO_WORKER_BYTES_MAX, ToWorker, to_worker};

/// The few variables a worker may see: none carries a secret of the agent's or a setting of a task's.
const ENVIRONMENT: [&str; 4] = ["RUST_LOG", "RUST_BACKTRACE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A worker that reads nothing is hung; the agent must not wait for it longer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    writer: OwnedWriteHalf,
    /// Reads are not cancel-safe: one task owns this half.
    pub(crate) reader: Option<OwnedReadHalf>,
}

impl Process {
    /// Starts one. The order follows by [`Process::send`]: nothing about the task is in argv, environment or on disk.
    ///
    /// Must run on a thread that lives as long as the agent: a worker dies with the thread that started it
    /// (PR_SET_PDEATHSIG). The runtime's own threads do; those of its blocking pool do not.
    pub(crate) fn spawn(command: &[OsString]) -> io::Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no worker command"));
        };
        let (near, far) = UnixStream::pair()?;
        let far = far.into_std()?;
        far.set_nonblocking(false)?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (reader, writer) = near.into_split();
        Ok(Self { child, writer, reader: Some(reader) })
    }

    /// Sends a message and wipes the secrets of what was sent.
    pub(crate) async fn send(&mut self, kind: to_worker::Kind) -> io::Result<()> {
        let mut message = ToWorker { kind: Some(kind) };
        let sent = tokio::time::timeout(WRITE_TIMEOUT, frame::write(&mut self.writer, &message, TO_WORKER_BYTES_MAX)).await;
        message.wipe();
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// SIGKILL. Its handles, mounts and memory go with it, unless it hangs in a dead file system's system call.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.start_kill();
    }

    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// Reads the worker's next message; None at the end.
pub(crate) async fn receive(reader: &mut OwnedReadHalf) -> io::Result<Option<FromWorker>> {
    frame::read(reader, FROM_WORKER_BYTES_MAX).await
}

/// For a message: how a process ended.
pub(crate) fn describe_exit(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(9), _) => "it was killed (out of memory, perhaps)".into(),
            (Some(signal), _) => format!("it ended by signal {signal}"),
            (None, code) => format!("it ended with status {}", code.unwrap_or(-1)),
        },
        Err(error) => format!("its end could not be learnt: {error}"),
    }
}
