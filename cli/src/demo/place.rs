//! Where the demo's files are: a kubelet's directory for each node, the volumes, what is lost, the repository.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::{
    Arguments, at,
    cluster::{Cluster, NODES, Volume},
};

/// With fewer files the toolchain came without its documentation, and the sources of our dependencies are added.
const FILES_WANTED: usize = 20_000;

/// The demo's directories.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    temporary: bool,
    data: Option<PathBuf>,
}

impl Place {
    pub(super) fn make(arguments: &Arguments) -> Result<Arc<Self>> {
        let temporary = arguments.directory.is_none();
        let root = match &arguments.directory {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("holdfast-demo-{}", std::process::id())),
        };
        at(fs::create_dir_all(&root), &root)?;
        let root = at(fs::canonicalize(&root), &root)?;
        let is_empty = at(fs::read_dir(&root), &root)?.next().is_none();
        ensure!(is_empty, "{} is not empty", root.display());
        let place = Self { root, temporary, data: arguments.data.clone() };
        let nodes = NODES.iter().map(|node| place.kubelet(node));
        for directory in nodes.chain([place.repository(), place.root.join("volumes"), place.root.join("lost")]) {
            at(fs::create_dir_all(&directory), &directory)?;
        }
        println!("Everything is below {}", place.root.display());
        Ok(Arc::new(place))
    }

    pub(super) fn kubelet(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node).join("kubelet")
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The volume's files, apart from any mount.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    /// Where a volume's files are kept after they were lost.
    pub(super) fn lost(&self, name: &str) -> PathBuf {
        self.root.join("lost").join(name)
    }

    /// Mounts the volume where a kubelet would: `pods/<uid>/volumes/kubernetes.io~csi/<pv>/mount`.
    pub(super) fn mount(&self, volume: &Volume) -> Result<()> {
        let source = self.volume(&volume.name);
        let directory = self.directory_of(volume);
        let target = directory.join("mount");
        for path in [&source, &target] {
            at(fs::create_dir_all(path), path)?;
        }
        let note = directory.join("vol_data.json");
        let text = serde_json::json!({"driverName": "demo.holdfast.dev", "specVolID": volume.name,
            "volumeHandle": volume.name, "volumeLifecycleMode": "Persistent", "nodeName": volume.node});
        at(fs::write(&note, text.to_string()), &note)?;
        mount_bind(&source, &target).with_context(|| format!("mount {} on {}", source.display(), target.display()))
    }

    /// Where its pod sees the volume.
    pub(super) fn mounted(&self, volume: &Volume) -> PathBuf {
        self.directory_of(volume).join("mount")
    }

    fn directory_of(&self, volume: &Volume) -> PathBuf {
        let volumes = self.kubelet(&volume.node).join("pods").join(&volume.pod_uid).join("volumes");
        volumes.join("kubernetes.io~csi").join(&volume.name)
    }

    /// Fills the applications' volumes. Returns the number of entries.
    pub(super) fn fill(&self, cluster: &Cluster) -> Result<usize> {
        let sources = self.sources()?;
        let volumes = cluster.volumes();
        // The large ones take turns; the small one gets a single file, as some volumes do.
        let (small, mut large): (Vec<&Volume>, Vec<&Volume>) = volumes.iter().partition(|volume| volume.claim == "notes");
        large.sort_by_key(|volume| std::cmp::Reverse(&volume.claim));
        ensure!(!large.is_empty(), "the examples have no volumes to fill");
        for volume in small {
            let note = self.volume(&volume.name).join("note.txt");
            at(fs::write(&note, "twenty-nine bytes of content\n"), &note)?;
        }
        for (turn, source) in sources.iter().enumerate() {
            let volume = large[turn % large.len()];
            let target = self.volume(&volume.name);
            let copied = Command::new("cp").args(["-a", "--no-preserve=ownership", "--reflink=auto"]).arg(source).arg(&target).status();
            ensure!(at(copied, source)?.success(), "{} cannot be copied to {}", source.display(), target.display());
        }
        volumes.iter().map(|volume| count(&self.volume(&volume.name), usize::MAX)).sum()
    }

    fn sources(&self) -> Result<Vec<PathBuf>> {
        if let Some(data) = &self.data {
            return children(data);
        }
        let printed = Command::new("rustc").args(["--print", "sysroot"]).output().context("rustc --print sysroot")?;
        let sysroot = PathBuf::from(String::from_utf8(printed.stdout)?.trim());
        let library = sysroot.join("lib");
        ensure!(library.is_dir(), "no Rust toolchain is at {}: name a directory with --data", sysroot.display());
        let documentation = Some(sysroot.join("share")).filter(|path| path.is_dir());
        let mut sources: Vec<PathBuf> = documentation.into_iter().chain(children(&library)?).collect();
        println!("  filled from {}", sysroot.display());
        let files: usize = count(&sysroot, FILES_WANTED)?;
        if files < FILES_WANTED {
            for registry in cargo_sources() {
                println!("  and from {}", registry.display());
                sources.extend(children(&registry)?);
            }
        }
        Ok(sources)
    }

    /// Takes every file out of the volumes, as a person does who deletes the wrong directory. They are kept aside, on the
    /// same file system, so that what comes back can be compared with the very inodes that were lost.
    pub(super) fn lose_everything(&self, cluster: &Cluster) -> Result<()> {
        for volume in cluster.volumes() {
            let (from, to) = (self.volume(&volume.name), self.lost(&volume.name));
            at(fs::create_dir_all(&to), &to)?;
            let metadata = at(fs::metadata(&from), &from)?;
            for entry in at(fs::read_dir(&from), &from)? {
                let entry = at(entry, &from)?;
                at(fs::rename(entry.path(), to.join(entry.file_name())), &entry.path())?;
            }
            // The directory itself is compared too: it was what the volume's root is now, with the time it had.
            at(fs::set_permissions(&to, metadata.permissions()), &to)?;
            let modified = at(metadata.modified(), &from)?;
            at(fs::File::open(&to).and_then(|directory| directory.set_modified(modified)), &to)?;
            let left = at(fs::read_dir(&from), &from)?.count();
            ensure!(left == 0, "{} is not empty", from.display());
            println!("  {}: gone", volume.claim);
        }
        Ok(())
    }

    pub(super) fn remove(&self) {
        if !self.temporary {
            println!("Volumes and repository stay in {}", self.root.display());
            return;
        }
        for node in NODES {
            // A bind mount must not be removed through.
            let pods = self.kubelet(node).join("pods");
            let found = mounts_below(&pods);
            for mount in found {
                if let Err(error) = unmount(&mount, UnmountFlags::DETACH) {
                    eprintln!("{} cannot be unmounted: {error}; {} stays", mount.display(), self.root.display());
                    return;
                }
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{} cannot be removed: {error}", self.root.display());
        }
    }
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

/// Sources of the crates that this program was built from.
fn cargo_sources() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    registries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// What a directory holds, in order.
fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let directory = at(fs::canonicalize(directory), directory)?;
    let entries = at(fs::read_dir(&directory), &directory)?.collect::<std::io::Result<Vec<_>>>();
    let mut children: Vec<_> = at(entries, &directory)?.into_iter().map(|entry| entry.path()).collect();
    children.sort();
    Ok(children)
}

/// Entries below a directory, counted up to `enough`.
pub(super) fn count(directory: &Path, enough: usize) -> Result<usize> {
    let mut found = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in at(fs::read_dir(&directory), &directory)? {
            let entry = at(entry, &directory)?;
            found += 1;
            if at(entry.file_type(), &entry.path())?.is_dir() {
                open.push(entry.path());
            }
        }
        if found >= enough {
            break;
        }
    }
    Ok(found)
}
