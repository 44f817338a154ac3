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
    walk(after, FOLDERS_MAX, backend, link).await
}

async fn walk(after: &str, folders_max: usize, backend: &Opened, link: &Link) -> Result<ReadBackResult, TaskFailure> {
    let after: Folder = after.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut page = Page::default();
    let mut looked_at = 0;
    let mut last = after.clone();
    let mut waiting = vec![Folder::new()];
    while let Some(folder) = waiting.pop() {
        if page.is_full() || looked_at >= folders_max {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use holdfast_repository::testing::Mutator;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt as _, PutPayload};

    use super::*;

    /// Trees of a few names each, some of which are a repository's own, and pages of a few folders: each view is found once, in order.
    #[tokio::test]
    async fn pages_of_whatever_size_find_each_view_once() {
        const NAMES: [&str; 8] = ["a", "a-b", "ab", "b", "holdfast", "repository", "snapshots", "v1"];
        let mut chance = Mutator::new(7);
        for round in 0..60 {
            let store = Arc::new(InMemory::new());
            let mut folders = BTreeSet::new();
            for _ in 0..chance.below(25) {
                let folder: Folder = (0..=chance.below(4)).map(|_| NAMES[chance.below(NAMES.len())].to_owned()).collect();
                let path = Path::from(format!("prefix/{}/{VIEW}", folder.join("/")));
                store.put(&path, PutPayload::from("kind: Repository\n")).await.unwrap();
                folders.insert(folder);
            }
            let is_seen = |folder: &Folder| {
                let ends = 1..folder.len();
                let own = ends.clone().any(|end| folders.contains(&folder[..end]) && INSIDE.contains(&folder[end].as_str()));
                let format = folder.windows(2).any(|pair| pair == FORMAT);
                !own && !format
            };
            let expected: Vec<String> = folders.iter().filter(|folder| is_seen(folder)).map(|folder| format!("{}/{VIEW}", folder.join("/"))).collect();
            let backend = Opened::in_memory(store.clone(), "prefix");
            let folders_max = 6 + chance.below(10);
            let (mut found, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = walk(&after, folders_max, &backend, &Link::new()).await.unwrap();
                found.extend(page.views.into_iter().map(|view| view.path));
                pages += 1;
                assert!(pages < 200, "round {round}: no end");
                if page.next.is_empty() {
                    break;
                }
                after = page.next;
            }
            assert_eq!(found, expected, "round {round}");
        }
    }
}
