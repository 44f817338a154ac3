//! From what an agent reports to what a status says.

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::driver::Driver;
use holdfast_api::snapshot::stats::{BackupProgress, BackupSummary, ResticStats};
use holdfast_api::snapshot::{Component, ComponentPhase};
use holdfast_api::{duration, names, size};
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::work::pod::PodTask;

/// A component that has not begun.
pub fn pending(session: &str, name: &str) -> Component {
    Component {
        path: Some(names::component_path(session, name)),
        phase: Some(ComponentPhase::Pending),
        driver: Some(Driver::Holdfast),
        ..Component::default()
    }
}

/// One that a pod is to fill. What it stores where only its own tool knows: a tool that the Addon names stores below the Repository's directory.
pub fn pending_pod(session: &str, task: &PodTask) -> Component {
    Component {
        path: task.driver.as_ref().map(|_| names::component_path(session, &task.component)),
        phase: Some(ComponentPhase::Pending),
        driver: task.driver.clone(),
        ..Component::default()
    }
}

/// Puts a success into a component.
pub fn succeed(component: &mut Component, result: &v1::BackupResult, elapsed_ms: u64) {
    component.phase = Some(ComponentPhase::Succeeded);
    component.error = None;
    component.duration = Some(duration::format(Duration::from_millis(elapsed_ms)));
    component.size = Some(size::format(result.repository_bytes));
    component.restic_stats = result.sources.iter().map(|source| stats(result, source)).collect();
}

/// Puts a failure into a component.
pub fn fail(component: &mut Component, message: String) {
    component.phase = Some(ComponentPhase::Failed);
    component.error = Some(message);
    component.restic_stats.retain(|stats| stats.summary.is_some());
}

fn stats(result: &v1::BackupResult, source: &v1::SourceResult) -> ResticStats {
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0).map(Time);
    let summary = BackupSummary {
        id: Some(result.snapshot_id.clone()),
        host_path: Some(source.container_path.clone()),
        size: Some(size::format(source.bytes)),
        uploaded: Some(size::format(source.bytes_added)),
        start_time: time(source.started_unix_ms),
        end_time: time(source.ended_unix_ms),
    };
    ResticStats { summary: Some(summary), progress: None }
}

/// Shows progress in a running component.
pub fn show_progress(component: &mut Component, progress: Option<&Arc<v1::TaskProgress>>) {
    let Some(progress) = progress else { return };
    let shown = BackupProgress {
        seconds_elapsed: i64::try_from(progress.elapsed_ms / 1000).ok(),
        percent_done: percent(progress.bytes_done, progress.bytes_total),
        files_done: i64::try_from(progress.files_done).ok(),
        total_files: i64::try_from(progress.files_total).ok().filter(|total| *total > 0),
        backup_done: Some(size::format(progress.bytes_done)),
        total: (progress.bytes_total > 0).then(|| size::format(progress.bytes_total)),
        speed: Some(format!("{}/s", size::format(progress.bytes_per_second))),
        seconds_left: seconds_left(progress),
    };
    component.restic_stats = vec![ResticStats { summary: None, progress: Some(shown) }];
}

/// How long the rest takes if it goes on as it has gone so far; none while nobody can tell.
pub fn seconds_left(progress: &v1::TaskProgress) -> Option<i64> {
    let left = progress.bytes_total.checked_sub(progress.bytes_done).filter(|_| progress.bytes_done > 0)?;
    let left_ms = u128::from(left) * u128::from(progress.elapsed_ms) / u128::from(progress.bytes_done);
    i64::try_from(left_ms.div_ceil(1000)).ok()
}

/// KubeStash's "12.34%"; none while the total is not known.
pub fn percent(done: u64, total: u64) -> Option<String> {
    if total == 0 {
        return None;
    }
    // Hundredths of a percent in integers: no rounding ever shows 100% before the end.
    let hundredths = u128::from(done.min(total)) * 10_000 / u128::from(total);
    Some(format!("{}.{:02}%", hundredths / 100, hundredths % 100))
}

/// How many files a success is without, and the first names.
pub fn unreadable(component: &str, result: &v1::BackupResult) -> Option<String> {
    let (count, first) = (result.unreadable_count, result.unreadable_first.join("; "));
    let what = if component == names::component::MANIFEST { "resources or objects" } else { "files" };
    (count > 0).then(|| format!("component {component}: {count} {what} could not be read: {first}"))
}

/// What a success has to say to people beyond its numbers.
pub fn remarks(component: &str, result: &v1::BackupResult) -> Vec<(&'static str, String)> {
    let mut remarks: Vec<_> = unreadable(component, result).map(|message| ("UnreadableFiles", message)).into_iter().collect();
    if result.changed_while_read_count > 0 {
        let count = result.changed_while_read_count;
        remarks.push((
            "ChangedWhileRead",
            format!(
                "component {component}: {count} files changed while they were read; the next backup reads them again"
            ),
        ));
    }
    if !result.parent_ignored.is_empty() {
        remarks.push((
            "ParentIgnored",
            format!("component {component}: everything was read again: {}", result.parent_ignored),
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_pace_so_far() {
        let left = |bytes_done, bytes_total| {
            seconds_left(&v1::TaskProgress { bytes_done, bytes_total, elapsed_ms: 10_000, ..v1::TaskProgress::default() })
        };
        assert_eq!((left(25, 100), left(100, 100), left(99, 100)), (Some(30), Some(0), Some(1)));
        assert_eq!((left(0, 100), left(10, 0), left(120, 100)), (None, None, None), "nobody can tell");
        assert_eq!(left(1, u64::MAX), None);
    }
}
