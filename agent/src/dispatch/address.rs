//! All addresses behind the controllers' name (a headless Service has one per replica).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The host of `host:port`, which the certificate must name.
pub(super) fn host(controller: &str) -> &str {
    let host = controller.rsplit_once(':').map_or(controller, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

pub(super) async fn look_up(controller: &str) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(controller)).await;
    let mut addresses: Vec<SocketAddr> = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_the_certificate_names() {
        assert_eq!(host("holdfast-controller.holdfast.svc:9443"), "holdfast-controller.holdfast.svc");
        assert_eq!(host("[::1]:9443"), "::1");
        assert_eq!(host("127.0.0.1:1"), "127.0.0.1");
    }

    #[tokio::test]
    async fn an_address_is_its_own() {
        assert_eq!(look_up("127.0.0.1:9443").await.unwrap(), vec!["127.0.0.1:9443".parse().unwrap()]);
    }
}
