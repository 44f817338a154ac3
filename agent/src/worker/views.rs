//! The YAML views beside the engine's objects. Overwriting is right here and nowhere else: they are rebuildable, and
//! nothing is ever decided from them.

use holdfast_proto::v1::{TaskFailure, ViewsResult, WriteViews};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::backend::Opened;
use super::failure;

/// A view is metadata of one object.
const VIEW_BYTES_MAX: usize = 1024 * 1024;
const VIEWS_MAX: usize = 1000;
const SUFFIX: &str = ".yaml";
/// The engine's own folder inside a repository's directory.
const ENGINE_FOLDER: [&str; 2] = ["holdfast", "v1"];

pub(super) async fn write(task: WriteViews, backend: &Opened) -> Result<ViewsResult, TaskFailure> {
    if task.put.len() + task.remove.len() > VIEWS_MAX {
        return Err(failure::invalid(format!("a task writes at most {VIEWS_MAX} views")));
    }
    // All names are looked at before the first write.
    let mut puts = Vec::with_capacity(task.put.len());
    for view in task.put {
        if view.yaml.len() > VIEW_BYTES_MAX {
            return Err(failure::invalid(format!("{}: a view has at most {VIEW_BYTES_MAX} bytes", view.path)));
        }
        puts.push((view_path(&view.path, backend)?, view.yaml));
    }
    let removes = paths(&task.remove, backend)?;

    let mut result = ViewsResult { written: 0, removed: 0 };
    for (path, yaml) in puts {
        backend.store.put(&path, PutPayload::from(yaml)).await.map_err(|error| failure::view(&path, &error))?;
        result.written += 1;
    }
    result.removed = remove(&removes, backend).await?;
    Ok(result)
}

/// The views of these names; refuses them all if one is none.
pub(super) fn paths(names: &[String], backend: &Opened) -> Result<Vec<Path>, TaskFailure> {
    names.iter().map(|path| view_path(path, backend)).collect()
}

/// Removes views, and says how many there were.
pub(super) async fn remove(views: &[Path], backend: &Opened) -> Result<u32, TaskFailure> {
    let mut removed = 0;
    for path in views {
        match backend.store.delete(path).await {
            Ok(()) => removed += 1,
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failure::view(path, &error)),
        }
    }
    Ok(removed)
}

/// Only `*.yaml`, and never inside the engine's folder: this task must not be able to harm a repository.
fn view_path(path: &str, backend: &Opened) -> Result<Path, TaskFailure> {
    let full = backend.below(path)?;
    let parts: Vec<&str> = path.split('/').collect();
    if !path.ends_with(SUFFIX) || parts.windows(2).any(|pair| pair == ENGINE_FOLDER) {
        return Err(failure::invalid(format!("{path:?} is not the path of a view")));
    }
    Ok(full)
}
