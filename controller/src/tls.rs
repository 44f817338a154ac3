//! The controller's certificates: it makes them itself, so that nothing has to be installed beside it.

pub mod authority;
pub mod incoming;
pub mod leaf;
pub mod store;

/// Why certificates could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key or certificate could not be made or read.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A PEM could not be read.
    #[error("{0} holds no readable PEM")]
    Pem(&'static str),
    /// rustls refused the key or the configuration.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// Secret or ConfigMap could not be read or written.
    #[error("certificate authority in Secret or ConfigMap {0}: {1}")]
    Api(&'static str, #[source] Box<kube::Error>),
}
