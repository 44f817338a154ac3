//! A bar on a terminal while a verb works; nothing anywhere else.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_mover::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::arguments::Global;

const INTERVAL: Duration = Duration::from_millis(200);

/// Gone when dropped.
pub(crate) struct Bar {
    bar: ProgressBar,
    updates: Option<JoinHandle<()>>,
}

impl Bar {
    pub(crate) fn show(global: &Global, progress: &Arc<Progress>) -> Self {
        if global.json || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), updates: None };
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {elapsed}") {
            bar.set_style(style);
        }
        let updates = tokio::spawn({
            let (bar, progress) = (bar.clone(), Arc::clone(progress));
            async move {
                loop {
                    update(&bar, &progress);
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        });
        Self { bar, updates: Some(updates) }
    }

    /// A line for people, above the bar.
    pub(crate) fn printer(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |line| bar.suspend(|| eprintln!("{line}"))
    }
}

fn update(bar: &ProgressBar, progress: &Progress) {
    let (done, total) = (progress.bytes_done.load(Ordering::Relaxed), progress.bytes_total.load(Ordering::Relaxed));
    bar.set_length(total.max(done));
    bar.set_position(done);
    bar.set_message(format!("{} {} files", progress.phase().as_str(), progress.files_done.load(Ordering::Relaxed)));
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(updates) = self.updates.take() {
            updates.abort();
        }
        self.bar.finish_and_clear();
    }
}
