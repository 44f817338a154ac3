//! What an agent is started with.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cache::CachePlace;

/// Certificates and tokens are a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that [`crate::run`] needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the controllers; every address behind the host is dialed, and the certificate must name the host.
    pub controller: String,
    /// PEM certificates that the controllers' own come from; read again at each dial.
    pub ca: Source,
    /// The projected ServiceAccount token; read again at each dial.
    pub token: Source,
    /// The kubelet's root, usually `/var/lib/kubelet`.
    pub kubelet_dir: PathBuf,
    /// Tasks at once.
    pub slots: u32,
    /// Byte budget of all tasks together; each gets its share of it if its assignment names none.
    pub memory_bytes: u64,
    /// Whether workers are sandboxed.
    pub sandbox: SandboxMode,
    /// Prefixes below which a task's backend may be a local directory.
    pub allow_local: Vec<PathBuf>,
    /// What is kept of repositories between tasks; without it every task reads it anew, and must hold it in memory.
    pub cache: Option<CachePlace>,
    /// Program and arguments that run [`crate::worker::main`].
    pub worker_command: Vec<OsString>,
}

/// Whether a worker runs in its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxMode {
    /// A task whose sandbox cannot be set up fails.
    Required,
    /// None, for a laptop whose kernel allows none. Never in a cluster.
    Off,
    /// None, and any directory at a volume's place is a volume: for a demo that may not mount. The agent's own command line
    /// does not offer it, because the stale directory of a dead pod would be backed up as an empty volume.
    OffWithoutMounts,
}

/// Where a certificate or token comes from, each time it is needed.
#[derive(Clone)]
pub enum Source {
    /// A file that is replaced in place.
    File(PathBuf),
    /// In-process (demo and tests).
    Function(Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>),
}

impl Source {
    /// Reads it now.
    pub(crate) fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        use io::Read as _;
        match self {
            Self::Function(read) => read().map(Zeroizing::new),
            Self::File(path) => {
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let mut bytes = Zeroizing::new(Vec::new());
                std::fs::File::open(path).map_err(named)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(named)?;
                Ok(bytes)
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}
