use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use object_store::ObjectStoreExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server over TLS that answers everything with two bytes, a moment later.
struct Server {
    endpoint: String,
    /// The authority of its certificate.
    ca_pem: String,
    most: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = (now, Arc::clone(&most));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, (now, most)) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = vec![0; 16 * 1024];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nlast-modified: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\nok";
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { endpoint, ca_pem: authority.pem(), most }
    }

    fn backend(&self) -> S3 {
        S3 { endpoint: self.endpoint.clone(), bucket: "b".into(), access_key_id: "id".into(), secret_access_key: "key".into(), ..S3::default() }
    }
}

async fn read(s3: &S3) -> Result<Vec<u8>, String> {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let store = s3_builder(s3, &Link::new())?.with_retry(retry).build().map_err(|error| error.to_string())?;
    let got = store.get(&Path::from("object")).await.map_err(|error| format!("{error:?}"))?;
    got.bytes().await.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_or_because_somebody_says_so_and_else_not() {
    let server = Server::start().await;
    let unknown = server.backend();
    assert!(read(&unknown).await.unwrap_err().contains("UnknownIssuer"));
    assert_eq!(read(&S3 { ca_pem: server.ca_pem.clone().into_bytes(), ..unknown.clone() }).await.unwrap(), b"ok");
    let other = Server::start().await;
    assert!(read(&S3 { ca_pem: other.ca_pem.into_bytes(), ..unknown.clone() }).await.unwrap_err().contains("BadSignature"));
    assert_eq!(read(&S3 { insecure_tls: true, ..unknown }).await.unwrap(), b"ok");
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_a_server_takes() {
    let most_of = async |max_connections: u32| {
        let server = Server::start().await;
        let s3 = S3 { insecure_tls: true, max_connections, ..server.backend() };
        let store = open_s3(&s3, &Link::new()).unwrap().store;
        let names: Vec<Path> = (0..12).map(|number| Path::from(format!("object-{number}"))).collect();
        let all = join_all(names.iter().map(async |name| store.get(name).await.unwrap().bytes().await.unwrap())).await;
        assert!(all.iter().all(|bytes| bytes.as_ref() == b"ok"));
        server.most.load(Ordering::SeqCst)
    };
    assert_eq!(most_of(3).await, 3);
    assert_eq!(most_of(1).await, 1);
    assert!(most_of(0).await > 3, "nothing is said, nothing is limited");
}
