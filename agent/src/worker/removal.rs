//! What removes: snapshots from a repository, and a repository from its storage.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use holdfast_proto::v1::{ForgetResult, ForgetTask, TaskFailure, TaskProgress, View, WipeResult, WipeTask, WriteViews};
use holdfast_repository::SnapshotId;
use object_store::path::Path;

use super::backend::Opened;
use super::link::Link;
use super::message::from_worker;
use super::{engine, failure, views};

/// Snapshots of one task; a controller sends fewer.
const SNAPSHOTS_MAX: usize = 10_000;
/// Objects between two messages of progress.
const PROGRESS_OBJECTS: u64 = 500;
/// What is listed while others still write is listed again; not for ever.
const PASSES_MAX: u32 = 8;
/// The object without which nothing is a repository.
const CONFIG: &str = "config";

pub(super) async fn forget(task: ForgetTask, backend: &Opened) -> Result<ForgetResult, TaskFailure> {
    if task.snapshot_ids.len() > SNAPSHOTS_MAX {
        return Err(failure::invalid(format!("a task forgets at most {SNAPSHOTS_MAX} snapshots")));
    }
    let ids = task.snapshot_ids.iter().map(|id| id.parse::<SnapshotId>());
    let ids = ids.collect::<Result<Vec<_>, _>>().map_err(|error| failure::invalid(error.to_string()))?;
    let removed = views::paths(&task.remove_views, backend)?;
    let (repository, _) = engine::open(task.repository, backend).await?;
    let forgotten = repository.forget(&ids).await.map_err(|error| failure::write(&error))?;
    views::remove(&removed, backend).await?;
    Ok(ForgetResult { snapshot_ids: task.snapshot_ids, forgotten: forgotten as u64 })
}

/// Removes everything that a repository consists of, `config` last: until then it can be seen to be one, and the next try goes on.
pub(super) async fn wipe(task: WipeTask, backend: &Opened, link: &Link) -> Result<WipeResult, TaskFailure> {
    let engine = backend.engine_folder(&task.directory)?;
    let directory = backend.below(&task.directory)?;
    let config: Path = engine.parts().chain(Path::from(CONFIG).parts()).collect();
    let mut wiped = Wiped { backend, link, objects: 0 };
    for pass in 0.. {
        let kept = config.clone();
        let before = wiped.objects;
        wiped.remove(&engine, move |path| *path != kept).await?;
        if wiped.objects == before {
            break;
        }
        if pass >= PASSES_MAX {
            return Err(failure::failure(
                holdfast_proto::v1::task_failure::Reason::Internal,
                format!("somebody else writes to the repository in {engine} while it is removed"),
                true,
            ));
        }
    }
    let folder: Path = directory.parts().chain(Path::from("snapshots").parts()).collect();
    let (own, snapshots) = (folder.clone(), folder.parts().count() + 1);
    wiped.remove(&own, move |path| path.parts().count() == snapshots && path.as_ref().ends_with(".yaml")).await?;
    let own: Path = directory.parts().chain(Path::from("repository.yaml").parts()).collect();
    views::remove(&[own, config], backend).await?;
    put(task.put, backend).await?;
    Ok(WipeResult { objects: wiped.objects + 1 })
}

async fn put(put: Vec<View>, backend: &Opened) -> Result<(), TaskFailure> {
    views::write(WriteViews { backend: None, put, remove: Vec::new() }, backend).await.map(|_| ())
}

struct Wiped<'w> {
    backend: &'w Opened,
    link: &'w Link,
    objects: u64,
}

impl Wiped<'_> {
    /// Removes what is below `folder` and `is_due`.
    async fn remove(&mut self, folder: &Path, is_due: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Result<(), TaskFailure> {
        let listed = self.backend.store.list(Some(folder)).map(|entry| entry.map(|meta| meta.location));
        let due: BoxStream<'static, object_store::Result<Path>> =
            listed.filter(move |path| std::future::ready(path.as_ref().map_or(true, &is_due))).boxed();
        let mut deleted = self.backend.store.delete_stream(due);
        while let Some(path) = deleted.next().await {
            match path {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => self.objects += 1,
                Err(error) => return Err(failure::view(folder, &error)),
            }
            if self.objects % PROGRESS_OBJECTS == 0 {
                let progress = TaskProgress { files_done: self.objects, phase: "write".into(), ..TaskProgress::default() };
                self.link.send(from_worker::Kind::Progress(progress)).await;
            }
        }
        Ok(())
    }
}
