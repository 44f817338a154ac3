//! A CSI driver for the tests: one process on each node, in the kubelet's mount namespace.
//!
//! It registers itself with the kubelet and provisions what it mounts: each PersistentVolume is an ext4 in a file on the node that
//! the claim's first pod was sent to, so a claim can wait for its first consumer and a volume has a device of its own. It is
//! what dynamic provisioning looks like to Holdfast, and no more: no attaching, no resizing, no raw block devices.

mod contract;
mod files;
mod mounts;
mod plugin;
mod provisioner;
mod registration;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use contract::csi::identity_server::IdentityServer;
use contract::csi::node_server::NodeServer;
use files::Files;
use plugin::Plugin;

/// The name that a StorageClass has as its provisioner.
const DRIVER: &str = "csi.holdfast.test";
/// The label that the kubelet puts on its node, and a PersistentVolume's affinity.
const TOPOLOGY_KEY: &str = "topology.csi.holdfast.test/node";
const USAGE: &str = "usage: holdfast-tests-csi NODE KUBELET_DIRECTORY VOLUMES_DIRECTORY (KUBECONFIG leads to the API server)";

/// What ends the driver.
#[derive(Debug, thiserror::Error)]
enum DriverError {
    #[error("{USAGE}")]
    Usage,
    #[error("{path}: {error}")]
    Path { path: PathBuf, error: io::Error },
    #[error("a socket is served no more: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("the API server cannot be reached: {0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the driver ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), DriverError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(node), Some(kubelet), Some(volumes), None) = (arguments.next(), arguments.next(), arguments.next(), arguments.next()) else {
        return Err(DriverError::Usage);
    };
    // The only provider that is linked; a second installation cannot happen in a process that has just begun.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = kube::Client::try_default().await.map_err(|error| DriverError::Connect(error.into()))?;
    let files = Files::new(PathBuf::from(volumes));
    let kubelet = Path::new(&kubelet);
    let endpoint = kubelet.join("plugins").join(DRIVER).join("csi.sock");
    let plugin = Plugin::new(node.clone(), files.clone());
    let csi = Server::builder()
        .add_service(IdentityServer::new(plugin.clone()))
        .add_service(NodeServer::new(plugin))
        .serve_with_incoming(UnixListenerStream::new(listen(&endpoint)?));
    // The kubelet asks whatever socket appears there who it is; the other one must answer by then.
    let registry = kubelet.join("plugins_registry").join(format!("{DRIVER}-reg.sock"));
    let registration = registration::serve(listen(&registry)?, endpoint.display().to_string());
    tracing::info!(node, driver = DRIVER, "serving");
    tokio::select! {
        ended = csi => ended?,
        ended = registration => ended.map_err(|error| DriverError::Path { path: registry, error })?,
        () = provisioner::run(client, &node, &files) => {}
    }
    Ok(())
}

/// A socket at a path, instead of what a killed process has left there.
fn listen(path: &Path) -> Result<UnixListener, DriverError> {
    let said = |error| DriverError::Path { path: path.to_owned(), error };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(said)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(said(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(said)
}
