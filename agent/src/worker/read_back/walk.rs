//! Every `repository.yaml` below a storage's prefix, found folder by folder. `metadata.yaml` names them, too; but a list that is lost, or
//! that another cluster has written since, must not hide what is there.

use holdfast_proto::v1::{ReadBackResult, ReadView, TaskFailure};
use object_store::ObjectStore as _;

use super::super::backend::Opened;
use super::super::failure;
use super::super::link::Link;
use super::{Page, report};

const VIEW: &str = "repository.yaml";
/// Folders that a repository's directory has for itself: ours, KubeStash's data, the Snapshots' views.
const INSIDE: [&str; 3] = ["holdfast", "repository", "snapshots"];
/// The format's folder, also where the view beside it is lost: it has a folder for each first byte of a pack's name.
const FORMAT: [&str; 2] = ["holdfast", "v1"];
/// Directories are two or three folders deep.
const DEPTH_MAX: usize = 8;
/// Folders that one page looks into.
const FOLDERS_MAX: usize = 1000;

/// A folder below the prefix. In their order a folder comes right before what is in it.
type Folder = Vec<String>;

/// The page behind the folder `after`.
pub(super) async fn repositories(after: &str, backend: &Opened, link: &Link) -> Result<ReadBackResult, TaskFailure> {
    let after: Folder = after.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut page = Page::default();
    let mut looked_at = 0;
    let mut last = after.clone();
    let mut waiting = vec![Folder::new()];
    while let Some(folder) = waiting.pop() {
        if page.is_full() || looked_at >= FOLDERS_MAX {
            page.result.next = last.join("/");
            break;
        }
        looked_at += 1;
        let (has_view, mut inside) = look(&folder, backend).await?;
        if has_view && !folder.is_empty() && folder > after {
            let path = format!("{}/{VIEW}", folder.join("/"));
            let json = page.read(backend, &path).await?;
            if !json.is_empty() {
                page.put(ReadView { path, json, stored: Vec::new() });
            }
        }
        report(link, &page).await;
        // The folder on the stack that comes next is the last one.
        inside.sort_unstable_by(|left, right| right.cmp(left));
        waiting.extend(inside.into_iter().filter(|child| *child > after || after.starts_with(child)));
        last = last.max(folder);
    }
    Ok(page.result)
}

/// Whether a view is there, and the folders in it that may have one.
async fn look(folder: &Folder, backend: &Opened) -> Result<(bool, Vec<Folder>), TaskFailure> {
    let path = if folder.is_empty() { backend.prefix.clone() } else { backend.below(&folder.join("/"))? };
    let listed = backend.store.list_with_delimiter(Some(&path)).await.map_err(|error| failure::view(&path, &error))?;
    let has_view = listed.objects.iter().any(|object| object.location.filename() == Some(VIEW));
    if folder.len() >= DEPTH_MAX {
        return Ok((has_view, Vec::new()));
    }
    let inside = listed.common_prefixes.iter().filter_map(|child| child.filename()).filter(|name| {
        let is_own = has_view && !folder.is_empty() && INSIDE.contains(name);
        let is_format = folder.last().is_some_and(|parent| [parent.as_str(), name] == FORMAT);
        !is_own && !is_format && !name.starts_with('.')
    });
    let inside = inside.map(|name| folder.iter().cloned().chain([name.to_owned()]).collect()).collect();
    Ok((has_view, inside))
}
