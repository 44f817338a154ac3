//! Holdfast itself: the controller and one agent for each node, over gRPC and TLS on the loopback.

use std::{ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use holdfast_agent::{CachePlace, Config as AgentConfig, SandboxMode, Source};
use holdfast_controller::Config as ControllerConfig;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::{Cluster, NODES, OPERATOR_NAMESPACE},
    place::Place,
    sandbox::{Namespace, WORKER_VERB},
};

const SLOTS: u32 = 4;
const MEMORY_BYTES: u64 = 512 * 1024 * 1024;
const CACHE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
const RIGHT_MS: u64 = 6_000;
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

pub(super) struct Operator {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Operator {
    pub(super) async fn start(
        cluster: &Arc<Cluster>,
        place: &Place,
        no_sandbox: bool,
    ) -> Result<Self> {
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen on the loopback")?;
        let address = listener.local_addr()?;
        let mut config =
            ControllerConfig::new(cluster.client(), listener, OPERATOR_NAMESPACE, "demo");
        // A day is too long for a demo.
        config.pace.interval = PRUNE_INTERVAL;
        config.pace.settle = PRUNE_INTERVAL;
        // So long a controller's first restores wait, in case that another before it has begun one.
        config.limits.grant_ttl_ms = RIGHT_MS;
        config.limits.grant_margin_ms = RIGHT_MS / 4;
        let ended = shutdown.clone();
        let mut tasks = vec![tokio::spawn(async move {
            holdfast_controller::run(config, ended)
                .await
                .context("the controller")
        })];
        let authorities = authorities(cluster).await?;
        let mut sandbox = SandboxMode::Required;
        for node in NODES {
            let (authorities, of_cluster) = (authorities.clone(), Arc::clone(cluster));
            let mut config = AgentConfig {
                controller: address.to_string(),
                ca: Source::Function(Arc::new(move || Ok(authorities.clone()))),
                token: Source::Function(Arc::new(move || {
                    of_cluster
                        .agent_token(node)
                        .map(String::into_bytes)
                        .map_err(io::Error::other)
                })),
                kubelet_dir: place.kubelet(node),
                slots: SLOTS,
                memory_bytes: MEMORY_BYTES,
                sandbox,
                allow_local: vec![place.repository()],
                cache: Some(CachePlace { directory: place.cache(node), bytes_max: CACHE_BYTES_MAX }),
                worker_command: worker_command()?,
            };
            if node == NODES[0] {
                sandbox = choose_sandbox(&config, no_sandbox, place.namespace()).await;
                config.sandbox = sandbox;
            }
            let ended = shutdown.clone();
            tasks.push(tokio::spawn(async move {
                holdfast_agent::run(config, ended).await.context("an agent")
            }));
        }
        println!(
            "Controller and {} agents run; gRPC with TLS on {address}",
            NODES.len()
        );
        Ok(Self { shutdown, tasks })
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            match tokio::time::timeout(STOP_LIMIT, task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => eprintln!("{error:#}"),
                Ok(Err(error)) => eprintln!("a part of Holdfast ended badly: {error}"),
                Err(_) => eprintln!("a part of Holdfast did not end within {STOP_LIMIT:?}"),
            }
        }
    }
}

fn worker_command() -> Result<Vec<OsString>> {
    let program: PathBuf = std::env::current_exe().context("where this program is")?;
    Ok(vec![program.into_os_string(), OsString::from(WORKER_VERB)])
}

async fn choose_sandbox(
    config: &AgentConfig,
    no_sandbox: bool,
    namespace: Namespace,
) -> SandboxMode {
    if namespace == Namespace::None {
        println!("Workers run WITHOUT their sandbox (--sandbox=off): nothing can be mounted here");
        return SandboxMode::OffWithoutMounts;
    }
    if no_sandbox {
        println!("Workers run WITHOUT their sandbox, as asked (--no-sandbox)");
        return SandboxMode::Off;
    }
    match holdfast_agent::try_sandbox(config).await {
        Ok(()) => {
            println!("Workers run in their sandbox");
            SandboxMode::Required
        }
        Err(why) => {
            println!(
                "Workers run WITHOUT their sandbox (--sandbox=off): this kernel allows none here ({why})"
            );
            SandboxMode::Off
        }
    }
}

/// The certificates that the controller publishes for agents to mount.
async fn authorities(cluster: &Cluster) -> Result<Vec<u8>> {
    let maps = Api::<ConfigMap>::namespaced(cluster.client(), OPERATOR_NAMESPACE);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let published = maps
            .get_opt("holdfast-ca")
            .await?
            .and_then(|map| map.data?.remove("ca.crt"));
        if let Some(pem) = published {
            return Ok(pem.into_bytes());
        }
        if Instant::now() > deadline {
            bail!("the controller published no certificates within {START_LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
