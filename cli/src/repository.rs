//! From `--repo` and the password to an open repository.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_repository::{Activity, CACHE_BYTES_MAX, Environment, Purpose, Repository, SPILL_BYTES_MAX, SecretBytes, Store, store};

use rustix::fs::{Mode, OFlags};

use crate::arguments::Global;
use crate::outcome::Failure;

/// No password is longer; a wrong `--password-file` may be any file at all.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// The store that `--repo` names.
pub(crate) fn store(global: &Global) -> Result<Arc<dyn Store>, Failure> {
    store::open_url(url(global)?).map_err(|error| Failure::new(error.to_string()))
}

/// The same of another tool's.
#[cfg(feature = "restic")]
pub(crate) fn foreign_store(global: &Global) -> Result<Arc<dyn Store>, Failure> {
    store::open_foreign_url(url(global)?).map_err(|error| Failure::new(error.to_string()))
}

fn url(global: &Global) -> Result<&str, Failure> {
    global.repo.as_deref().ok_or_else(|| Failure::new("no repository: give --repo URL or set HOLDFAST_REPO; it looks like file:///path or s3://bucket/prefix"))
}

/// The password from its file, or from the environment.
pub(crate) fn password(global: &Global) -> Result<SecretBytes, Failure> {
    read_password(global.password_file.as_deref(), "--password-file", "HOLDFAST_PASSWORD")
}

/// The password that is to open it from now on.
pub(crate) fn new_password(file: Option<&Path>) -> Result<SecretBytes, Failure> {
    read_password(file, "--new-password-file", "HOLDFAST_NEW_PASSWORD")
}

fn read_password(file: Option<&Path>, option: &str, variable: &str) -> Result<SecretBytes, Failure> {
    let password = match file {
        Some(path) => {
            let unreadable = |error: &dyn std::fmt::Display| Failure::new(format!("could not read {option} {}: {error}", path.display()));
            let bytes = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
            if bytes > PASSWORD_BYTES_MAX {
                return Err(unreadable(&"it is too large for a password"));
            }
            SecretBytes::password(std::fs::read(path).map_err(|error| unreadable(&error))?)
        }
        None => match std::env::var_os(variable) {
            Some(password) => SecretBytes::password(password.into_vec()),
            None => return Err(Failure::new(format!("no password: give {option} FILE or set {variable}"))),
        },
    };
    if password.expose().is_empty() {
        return Err(Failure::new(format!("the password is empty; give {option} FILE or set {variable}")));
    }
    Ok(password)
}

/// The repository, open.
pub(crate) async fn open(global: &Global) -> Result<Repository, Failure> {
    let repository = Repository::open(store(global)?, &password(global)?, Environment::system()).await?;
    let cached = cache_folder(global).is_some_and(|folder| {
        use_cache(&repository, &folder)
            // It costs time and nothing else.
            .inspect_err(|error| eprintln!("warning: no cache in {}: {error}", folder.display()))
            .is_ok()
    });
    if !cached {
        use_temporary_files(&repository);
    }
    Ok(repository)
}

fn use_cache(repository: &Repository, folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    repository.use_cache(&directory(folder)?, CACHE_BYTES_MAX)
}

/// What does not fit into memory goes where temporary files go, without a name and encrypted: nothing of it is left. `/var/tmp` before
/// `/tmp`, which is often memory. If there is no such place, only what fits into memory can be done.
fn use_temporary_files(repository: &Repository) {
    let places = std::env::var_os("TMPDIR").map(PathBuf::from).into_iter().chain(["/var/tmp", "/tmp"].map(PathBuf::from));
    for place in places.filter(|place| place.is_absolute()) {
        if directory(&place).is_ok_and(|directory| repository.use_spill(directory, SPILL_BYTES_MAX).is_ok()) {
            return;
        }
    }
    tracing::debug!("there is no place for temporary files");
}

fn directory(folder: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// `--cache-dir`, else where this user's caches are; none if nobody says where.
fn cache_folder(global: &Global) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if global.no_cache {
        return None;
    }
    global.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty()).or_else(|| {
        let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(caches.join("holdfast"))
    })
}

/// What a lease of this command is for.
pub(crate) fn purpose(activity: Activity) -> Purpose {
    Purpose::new(activity, host())
}

/// This machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
