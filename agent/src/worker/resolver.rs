//! Names become addresses in the agent, never here: the C library's resolver opens files and loads libraries by name.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use object_store::client::{DnsError, DnsFuture, DnsResolver};

use super::link::Link;

/// Asks the agent over the socketpair.
#[derive(Debug)]
pub(super) struct AgentResolver(AssertUnwindSafe<Arc<Link>>);

impl AgentResolver {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        // A panic while a question is open leaves at most a question that nobody waits for.
        Self(AssertUnwindSafe(Arc::clone(link)))
    }
}

impl DnsResolver for AgentResolver {
    fn resolve(&self, host: &str) -> DnsFuture {
        let link = Arc::clone(&self.0);
        let host = host.to_owned();
        Box::pin(async move {
            let addresses = link.resolve(&host).await.map_err(|error| DnsError::from(format!("{host}: {error}")))?;
            let addresses: Vec<std::net::IpAddr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
            if addresses.is_empty() {
                return Err(DnsError::from(format!("{host} has no address")));
            }
            Ok(addresses)
        })
    }
}
