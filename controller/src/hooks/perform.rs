//! Does one step: a command in a pod, a request, a connection. Bounded in time by the caller, in size here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::resolve::{Body, Request, Step};
use crate::api;
use crate::function::Functions;

/// Output of a command that is kept, for the message of its failure.
const OUTPUT_BYTES_MAX: usize = 4096;
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Does a step; says why it failed.
pub async fn perform(functions: &Functions, client: &kube::Client, step: &Step) -> Result<(), String> {
    match step {
        Step::Function(run) => functions.run(run).await,
        Step::Exec { namespace, pod, container, command } => {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            exec(&pods, pod, container, command).await.map_err(|error| format!("in pod {pod}, container {container}: {error}"))
        }
        Step::Http(asked) => request(asked).await,
        Step::Tcp { host, port, of_pod } => {
            let addresses = resolved(host, *port, *of_pod).await?;
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice())).await;
            match connected {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("{host}:{port}: {error}")),
                Err(_) => Err(format!("{host}:{port}: no connection within {} s", CONNECT_TIMEOUT.as_secs())),
            }
        }
    }
}

async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[String]) -> Result<(), String> {
    let parameters = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let mut attached = pods.exec(pod, command, &parameters).await.map_err(|error| api::said(&error))?;
    let (stdout, stderr) = (attached.stdout(), attached.stderr());
    let status = attached.take_status();
    // Both are read to their ends, so that the command never waits for somebody to read.
    let (_, errors) = tokio::join!(tail(stdout), tail(stderr));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    match status {
        Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
        Some(status) => {
            let message = status.message.unwrap_or_else(|| "the command failed".to_owned());
            let errors = errors.trim();
            Err(if errors.is_empty() { message } else { format!("{message}: {errors}") })
        }
        None => Err("the connection ended before the command did".to_owned()),
    }
}

/// The last bytes of an output, read to its end.
async fn tail(output: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    // A reader that fails has ended: the command's status says how it went.
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn request(asked: &Request) -> Result<(), String> {
    let addresses = resolved(&asked.host, asked.port, asked.of_pod).await?;
    let scheme = if asked.tls { "https" } else { "http" };
    let host = if asked.host.contains(':') { format!("[{}]", asked.host) } else { asked.host.clone() };
    let url = format!("{scheme}://{host}:{}{}", asked.port, asked.path);
    // The addresses that were looked at are those that are dialled; no proxy and no redirect leads elsewhere.
    let client = reqwest::Client::builder()
        .resolve_to_addrs(&asked.host, &addresses)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(|error| without_url(&error))?;
    let mut request = match &asked.body {
        None => client.get(&url),
        Some(Body::Text(text)) => client.post(&url).body(text.clone()),
        Some(Body::Form(fields)) => client.post(&url).form(fields),
    };
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(|error| format!("{}:{}: {}", asked.host, asked.port, without_url(&error)))?;
    let status = response.status();
    // Kubernetes' own probes count 200 to 399 as success.
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("{}:{} answered {status}", asked.host, asked.port))
}

/// A path may hold a token (Slack's do): it stays out of messages.
fn without_url(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}

/// The addresses of a host. The controller has a place in the network that hooks' authors have not: what is only its own is refused.
async fn resolved(host: &str, port: u16, of_pod: bool) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(format!("{host}: {error}")),
        Err(_) => return Err(format!("{host}: its name was not resolved within {} s", CONNECT_TIMEOUT.as_secs())),
    };
    if let Some(refused) = found.iter().map(SocketAddr::ip).find(|address| is_refused(*address)).filter(|_| !of_pod) {
        return Err(format!("{host} is {refused}: hooks may not reach loopback and link-local addresses"));
    }
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
}

fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified() || address.is_multicast() || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_controller_can_reach_is_refused() {
        for refused in ["127.0.0.1", "127.9.9.9", "169.254.169.254", "0.0.0.0", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "ff02::1", "224.0.0.1"] {
            assert!(is_refused(refused.parse().unwrap()), "{refused}");
        }
        for allowed in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert!(!is_refused(allowed.parse().unwrap()), "{allowed}");
        }
    }

    #[tokio::test]
    async fn names_for_this_machine_are_refused_too() {
        let refused = resolved("localhost", 80, false).await.unwrap_err();
        assert!(refused.contains("may not reach loopback"), "{refused}");
        assert!(resolved("127.0.0.1", 80, true).await.is_ok(), "a pod's address is what the kubelet says it is");
    }
}
