//! Where the demo's files are: a kubelet's directory for each node, the volumes, what is lost, the repository.

use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use super::{
    Arguments, at,
    cluster::{Cluster, NODES, Volume},
    sandbox::Namespace,
};

/// With fewer files the toolchain came without its documentation, and the sources of our dependencies are added.
const FILES_WANTED: usize = 20_000;
/// What the demo itself writes into the volumes beside the data.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// Memory that the demo leaves to everything else.
const MEMORY_LEFT_BYTES: u64 = 1 << 30;

/// The demo's directories.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    temporary: bool,
    namespace: Namespace,
    sources: Vec<PathBuf>,
}

impl Place {
    pub(super) fn make(arguments: &Arguments, namespace: Namespace) -> Result<Arc<Self>> {
        let temporary = arguments.directory.is_none();
        let root = match &arguments.directory {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("holdfast-demo-{}", std::process::id())),
        };
        at(fs::create_dir_all(&root), &root)?;
        let root = at(fs::canonicalize(&root), &root)?;
        let is_empty = at(fs::read_dir(&root), &root)?.next().is_none();
        ensure!(is_empty, "{} is not empty", root.display());
        let sources = sources(arguments.data.as_deref())?;
        let place = Self {
            root,
            temporary,
            namespace,
            sources,
        };
        if temporary && namespace == Namespace::Own {
            place.use_memory()?;
        }
        let nodes = NODES.iter().map(|node| place.kubelet(node));
        let files = place.files();
        for directory in nodes.chain([
            place.repository(),
            files.join("volumes"),
            files.join("lost"),
        ]) {
            at(fs::create_dir_all(&directory), &directory)?;
        }
        println!("Everything is below {}", place.root.display());
        Ok(Arc::new(place))
    }

    pub(super) fn namespace(&self) -> Namespace {
        self.namespace
    }

    pub(super) fn kubelet(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node).join("kubelet")
    }

    /// What a node's agent keeps of repositories.
    pub(super) fn cache(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node).join("cache")
    }

    /// Volumes, and what was lost of them: one file system.
    fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Keeps the volumes in memory if there is plenty, as copying and removing tens of thousands of files on a disk takes
    /// longer than all the rest. The repository stays on the disk.
    fn use_memory(&self) -> Result<()> {
        let mut bytes = 0;
        for source in &self.sources {
            bytes += bytes_below(source)?;
        }
        // Once as it is, once as it comes back, and as much again for rounding to pages.
        let wanted = bytes.saturating_mul(3).saturating_add(ROOM_BYTES);
        if wanted.saturating_add(MEMORY_LEFT_BYTES) > memory_available_bytes() {
            println!(
                "The volumes are on the disk: there is not memory enough for {} MiB of them",
                bytes >> 20
            );
            return Ok(());
        }
        let files = self.files();
        at(fs::create_dir_all(&files), &files)?;
        let options = CString::new(format!("size={wanted},mode=0755"))?;
        match mount(
            "tmpfs",
            &files,
            "tmpfs",
            MountFlags::NODEV,
            Some(options.as_c_str()),
        ) {
            Ok(()) => println!("The volumes are in memory (tmpfs), the repository is on the disk"),
            Err(error) => {
                println!("The volumes are on the disk: no tmpfs can be mounted ({error})")
            }
        }
        Ok(())
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The volume's files, apart from any mount.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.files().join("volumes").join(name)
    }

    /// Where a volume's files are kept after they were lost.
    pub(super) fn lost(&self, name: &str) -> PathBuf {
        self.files().join("lost").join(name)
    }

    /// Mounts the volume where a kubelet would: `pods/<uid>/volumes/kubernetes.io~csi/<pv>/mount`. Where nothing can be mounted
    /// the volume lies there itself, and its own name leads to it.
    pub(super) fn mount(&self, volume: &Volume) -> Result<()> {
        let source = self.volume(&volume.name);
        let directory = self.directory_of(volume);
        let target = directory.join("mount");
        at(fs::create_dir_all(&target), &target)?;
        let note = directory.join("vol_data.json");
        let text = serde_json::json!({"driverName": "demo.holdfast.dev", "specVolID": volume.name,
            "volumeHandle": volume.name, "volumeLifecycleMode": "Persistent", "nodeName": volume.node});
        at(fs::write(&note, text.to_string()), &note)?;
        if self.namespace == Namespace::None {
            return at(std::os::unix::fs::symlink(&target, &source), &source);
        }
        at(fs::create_dir_all(&source), &source)?;
        mount_bind(&source, &target)
            .with_context(|| format!("mount {} on {}", source.display(), target.display()))
    }

    /// Where its pod sees the volume.
    pub(super) fn mounted(&self, volume: &Volume) -> PathBuf {
        self.directory_of(volume).join("mount")
    }

    fn directory_of(&self, volume: &Volume) -> PathBuf {
        let volumes = self
            .kubelet(&volume.node)
            .join("pods")
            .join(&volume.pod_uid)
            .join("volumes");
        volumes.join("kubernetes.io~csi").join(&volume.name)
    }

    /// Fills the applications' volumes. Returns the number of entries.
    pub(super) fn fill(&self, cluster: &Cluster) -> Result<usize> {
        let volumes = cluster.volumes();
        // The large ones take turns; the small one gets a single file, as some volumes do.
        let (small, mut large): (Vec<&Volume>, Vec<&Volume>) =
            volumes.iter().partition(|volume| volume.claim == "notes");
        large.sort_by_key(|volume| std::cmp::Reverse(&volume.claim));
        ensure!(!large.is_empty(), "the examples have no volumes to fill");
        for volume in small {
            let note = self.volume(&volume.name).join("note.txt");
            at(fs::write(&note, "twenty-nine bytes of content\n"), &note)?;
        }
        for (turn, source) in self.sources.iter().enumerate() {
            let volume = large[turn % large.len()];
            let target = self.volume(&volume.name);
            let copied = Command::new("cp")
                .args(["-a", "--no-preserve=ownership", "--reflink=auto"])
                .arg(source)
                .arg(&target)
                .status();
            ensure!(
                at(copied, source)?.success(),
                "{} cannot be copied to {}",
                source.display(),
                target.display()
            );
        }
        volumes
            .iter()
            .map(|volume| count(&self.volume(&volume.name), usize::MAX))
            .sum()
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
                at(
                    fs::rename(entry.path(), to.join(entry.file_name())),
                    &entry.path(),
                )?;
            }
            // The directory itself is compared too: it was what the volume's root is now, with the time it had.
            at(fs::set_permissions(&to, metadata.permissions()), &to)?;
            let modified = at(metadata.modified(), &from)?;
            at(
                fs::File::open(&to).and_then(|directory| directory.set_modified(modified)),
                &to,
            )?;
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
        // The newest first; nothing must be removed through a mount.
        for mount in mounts_below(&self.root).into_iter().rev() {
            if let Err(error) = unmount(&mount, UnmountFlags::DETACH) {
                eprintln!(
                    "{} cannot be unmounted: {error}; {} stays",
                    mount.display(),
                    self.root.display()
                );
                return;
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{} cannot be removed: {error}", self.root.display());
        }
    }
}

/// Directories and files that the volumes are filled with.
fn sources(data: Option<&Path>) -> Result<Vec<PathBuf>> {
    if let Some(data) = data {
        return children(data);
    }
    let printed = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("rustc --print sysroot")?;
    let sysroot = PathBuf::from(String::from_utf8(printed.stdout)?.trim());
    let library = sysroot.join("lib");
    ensure!(
        library.is_dir(),
        "no Rust toolchain is at {}: name a directory with --data",
        sysroot.display()
    );
    let documentation = Some(sysroot.join("share")).filter(|path| path.is_dir());
    let mut sources: Vec<PathBuf> = documentation
        .into_iter()
        .chain(children(&library)?)
        .collect();
    println!("Volumes are filled from {}", sysroot.display());
    let files: usize = count(&sysroot, FILES_WANTED)?;
    if files < FILES_WANTED {
        for registry in cargo_sources() {
            println!("  and from {}", registry.display());
            sources.extend(children(&registry)?);
        }
    }
    Ok(sources)
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    points
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Sources of the crates that this program was built from.
fn cargo_sources() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    registries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// What a directory holds, in order.
fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let directory = at(fs::canonicalize(directory), directory)?;
    let entries = at(fs::read_dir(&directory), &directory)?.collect::<std::io::Result<Vec<_>>>();
    let mut children: Vec<_> = at(entries, &directory)?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    children.sort();
    Ok(children)
}

/// Sizes of the files below, or of the file.
fn bytes_below(path: &Path) -> Result<u64> {
    let metadata = at(fs::symlink_metadata(path), path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in at(fs::read_dir(path), path)? {
        bytes += bytes_below(&at(entry, path)?.path())?;
    }
    Ok(bytes)
}

/// What the kernel could give without swapping; nothing if it does not say.
fn memory_available_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok());
    kibibytes.unwrap_or(0_u64).saturating_mul(1024)
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
