//! The server certificate, replaced while the server runs.

use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::authority::Authority;

/// Answers each handshake with the newest certificate.
#[derive(Debug, Default)]
pub struct CurrentLeaf(RwLock<Option<Arc<CertifiedKey>>>);

impl CurrentLeaf {
    /// Issues a certificate for `names` and serves it from now on.
    pub fn renew(&self, authority: &Authority, names: &[String], now: Timestamp) -> Result<(), TlsError> {
        let (certificate, key) = authority.issue(names, now)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        let mut current = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for CurrentLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// A server's TLS configuration for the protocols (ALPN) it speaks.
pub fn server_config(leaf: Arc<CurrentLeaf>, protocols: &[&str]) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(leaf);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(config)
}
