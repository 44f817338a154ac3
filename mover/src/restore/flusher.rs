//! Writes back while the restore goes on, so that its end, which waits until all is on the disk, has little left to wait for.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::io::Errno;

use super::RestoreError;
use super::directory::TargetRoot;

/// Each time this much was written.
const STEP_BYTES: u64 = 128 << 20;

/// A thread that syncs.
pub(super) struct Flusher {
    steps: Mutex<Option<crossbeam_channel::Sender<()>>>,
}

/// Its other end: joined after all who write are gone.
pub(super) struct FlusherThread(JoinHandle<()>);

impl Flusher {
    /// `failed` hears of what could not be written back.
    pub(super) fn start(targets: Vec<Arc<TargetRoot>>, failed: impl Fn(Errno) + Send + 'static) -> Result<(Self, FlusherThread), RestoreError> {
        // One that waits is enough: a sync takes along all that was written before it.
        let (steps, inbox) = crossbeam_channel::bounded(1);
        let started = std::thread::Builder::new().name("restore-flush".into()).spawn(move || {
            for () in inbox {
                for target in &targets {
                    if let Err(errno) = rustix::fs::syncfs(&target.sync) {
                        failed(errno);
                    }
                }
            }
        });
        let thread = started.map_err(|error| RestoreError::Target { reason: format!("could not start a thread: {error}") })?;
        Ok((Self { steps: Mutex::new(Some(steps)) }, FlusherThread(thread)))
    }

    /// `bytes` more were written, after `before`.
    pub(super) fn wrote(&self, before: u64, bytes: u64) {
        if before / STEP_BYTES == (before + bytes) / STEP_BYTES {
            return;
        }
        if let Some(steps) = &*self.steps.lock().unwrap_or_else(PoisonError::into_inner) {
            // Full: one is waiting already.
            let _ = steps.try_send(());
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl FlusherThread {
    /// Waits until it has let go of the targets.
    pub(super) async fn ended(self) {
        if !matches!(tokio::task::spawn_blocking(|| self.0.join()).await, Ok(Ok(()))) {
            tracing::error!("the thread that writes back ended in a panic");
        }
    }
}
