//! The volumes: a file each, sparse, with an ext4 in it.

use std::io;
use std::path::PathBuf;

use crate::mounts;

/// What a name of a volume may be: it becomes a file's name.
const NAME_BYTES_MAX: usize = 128;

/// Where a node's volumes are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The file of a volume; none if this cannot be the name of one of ours.
    pub(crate) fn path(&self, volume: &str) -> Option<PathBuf> {
        let fits = volume.strip_prefix("pvc-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
        (fits && volume.len() <= NAME_BYTES_MAX).then(|| self.directory.join(format!("{volume}.ext4")))
    }

    /// Makes the volume, unless it is there: complete, or not at all.
    pub(crate) async fn make(&self, volume: &str, bytes: u64) -> io::Result<PathBuf> {
        let path = self.path(volume).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this is no volume of ours"))?;
        if path.exists() {
            return Ok(path);
        }
        std::fs::create_dir_all(&self.directory)?;
        let unfinished = path.with_extension("new");
        std::fs::File::create(&unfinished)?.set_len(bytes)?;
        mounts::command("mkfs.ext4", ["-q", "-F", "-m", "0"].map(Into::into), [unfinished.as_path()]).await?;
        std::fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// Removes the volume, unless it is mounted somewhere. Whether it is gone.
    pub(crate) async fn remove(&self, volume: &str) -> io::Result<bool> {
        let Some(path) = self.path(volume) else { return Ok(true) };
        if mounts::is_attached(&path).await? {
            return Ok(false);
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}
