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
    pub(super) fn start(targets: &[Arc<TargetRoot>], failed: impl Fn(Errno) + Send + 'static) -> Result<(Self, FlusherThread), RestoreError> {
        // Its own: what this thread hears of, the sync at the end must hear of too.
        let handles = targets.iter().map(|target| target.open_to_sync()).collect::<Result<Vec<_>, _>>()?;
        // One that waits is enough: a sync takes along all that was written before it.
        let (steps, inbox) = crossbeam_channel::bounded(1);
        let started = std::thread::Builder::new().name("restore-flush".into()).spawn(move || {
            for () in inbox {
                for handle in &handles {
                    if let Err(errno) = rustix::fs::syncfs(handle) {
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

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::restore::Target;

    /// A disk that is larger than what it is made of: it takes writes and loses them, and who syncs hears of it.
    struct LossyDisk {
        place: PathBuf,
        device: String,
    }

    fn command(program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    impl LossyDisk {
        /// None where that cannot be made.
        fn mount(place: &Path) -> Option<Self> {
            use rustix::mount::{MountFlags, mount};
            let text = |name: &str| place.join(name).display().to_string();
            std::fs::create_dir(place.join("memory")).unwrap();
            std::fs::create_dir(place.join("disk")).unwrap();
            mount("tmpfs", place.join("memory"), "tmpfs", MountFlags::empty(), Some(c"size=16m")).ok()?;
            let mut disk = Self { place: place.to_owned(), device: String::new() };
            std::fs::File::create(place.join("memory/image")).unwrap().set_len(128 << 20).unwrap();
            command("mkfs.ext4", &["-q", "-b", "4096", "-O", "^has_journal", &text("memory/image")])?;
            disk.device = command("losetup", &["-f", "--show", &text("memory/image")])?;
            mount(disk.device.as_str(), place.join("disk"), "ext4", MountFlags::empty(), None).ok()?;
            Some(disk)
        }
    }

    impl Drop for LossyDisk {
        fn drop(&mut self) {
            let unmount = |name: &str| rustix::mount::unmount(self.place.join(name), rustix::mount::UnmountFlags::DETACH);
            let _ = unmount("disk");
            let _ = command("losetup", &["-d", &self.device]);
            let _ = unmount("memory");
        }
    }

    #[tokio::test]
    async fn what_this_thread_has_heard_the_last_sync_hears_too() {
        let place = tempfile::TempDir::new().unwrap();
        let Some(_disk) = LossyDisk::mount(place.path()) else { return eprintln!("skipped: no file system on a loop device here") };
        let root: OwnedFd = std::fs::File::open(place.path().join("disk")).unwrap().into();
        let target = Arc::new(TargetRoot::open(0, Target { snapshot_path: Vec::new(), root }).unwrap());
        let (failed, heard) = std::sync::mpsc::channel();
        let (flusher, thread) = Flusher::start(&[Arc::clone(&target)], move |errno| failed.send(errno).unwrap()).unwrap();
        std::fs::write(place.path().join("disk/file"), vec![7; 40 << 20]).unwrap();
        flusher.wrote(0, STEP_BYTES);
        heard.recv_timeout(Duration::from_secs(30)).unwrap();
        // Until there is nothing more to lose: the same error again would not tell who has heard of it.
        let begun = Instant::now();
        loop {
            flusher.wrote(0, STEP_BYTES);
            if heard.recv_timeout(Duration::from_secs(1)).is_err() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        assert!(rustix::fs::syncfs(&target.sync).is_err(), "it says that all is on the disk");
        flusher.close();
        thread.ended().await;
    }
}
