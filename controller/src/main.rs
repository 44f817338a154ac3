//! `holdfast-controller`.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use holdfast_controller::holder::pod::Image;
use holdfast_controller::{Config, run};
use jiff::tz::TimeZone;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Plans backups and restores from KubeStash resources and hands the work to agents.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where agents dial (gRPC over TLS).
    #[arg(long, env = "HOLDFAST_LISTEN", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Where the kubelet asks for /healthz and /readyz.
    #[arg(long, env = "HOLDFAST_HEALTH_LISTEN", default_value = "[::]:8081")]
    health_listen: SocketAddr,
    /// Where the API server asks about objects (webhooks, over TLS).
    #[arg(long, env = "HOLDFAST_WEBHOOK_LISTEN", default_value = "[::]:9443")]
    webhook_listen: SocketAddr,
    /// Namespace of the controller and of the agents.
    #[arg(long, env = "POD_NAMESPACE", default_value = "holdfast")]
    namespace: String,
    /// Name of this replica in the election.
    #[arg(long, env = "POD_NAME", default_value = "holdfast-controller")]
    identity: String,
    /// More names that agents dial this controller by.
    #[arg(long = "server-name", env = "HOLDFAST_SERVER_NAMES", value_delimiter = ',')]
    server_names: Vec<String>,
    /// Zone of schedules without CRON_TZ=.
    #[arg(long, env = "HOLDFAST_TIME_ZONE", default_value = "UTC")]
    time_zone: String,
    /// Seconds without a byte after which a task is given up by its agent.
    #[arg(long, env = "HOLDFAST_STALL_TIMEOUT_SECONDS", default_value_t = 600)]
    stall_timeout_seconds: u64,
    /// Seconds between two prunes of a repository: space of removed snapshots is freed so often at most.
    #[arg(long, env = "HOLDFAST_PRUNE_INTERVAL_SECONDS", default_value_t = 86_400)]
    prune_interval_seconds: u64,
    /// Seconds from a removal to the first prune after it.
    #[arg(long, env = "HOLDFAST_PRUNE_DELAY_SECONDS", default_value_t = 3_600)]
    prune_delay_seconds: u64,
    /// Seconds between two checks of a repository, each of which reads a thirtieth of it. 0: there are none.
    #[arg(long, env = "HOLDFAST_CHECK_INTERVAL_SECONDS", default_value_t = 86_400)]
    check_interval_seconds: u64,
    /// Seconds that a deleted object with deletionPolicy WipeOut waits for a backend that is away, before it goes without its data.
    #[arg(long, env = "HOLDFAST_WIPE_PATIENCE_SECONDS", default_value_t = 600)]
    wipe_patience_seconds: u64,
    /// Image of the pods that hold a claim which no other pod mounts: the agents'. Without it there are no such pods.
    #[arg(long, env = "HOLDFAST_HOLDER_IMAGE")]
    holder_image: Option<String>,
    /// When that is pulled.
    #[arg(long, env = "HOLDFAST_HOLDER_PULL_POLICY", default_value = "IfNotPresent")]
    holder_pull_policy: String,
    /// Whether Functions that name an image run as pods.
    #[arg(long, env = "HOLDFAST_FUNCTIONS", default_value_t = true, action = clap::ArgAction::Set)]
    functions: bool,
    /// Whether hooks run commands in pods.
    #[arg(long, env = "HOLDFAST_HOOKS_EXEC", default_value_t = true, action = clap::ArgAction::Set)]
    hooks_exec: bool,
    /// What is logged, as in RUST_LOG.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&arguments.log).context("--log is not a filter")?)
        .json()
        .init();
    // Two providers in one process would panic at the first handshake; this one is ours.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let client = kube::Client::try_default().await.context("no Kubernetes configuration could be used")?;
    let listener =
        TcpListener::bind(arguments.listen).await.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let health = TcpListener::bind(arguments.health_listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.health_listen))?;
    let webhooks = TcpListener::bind(arguments.webhook_listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.webhook_listen))?;
    let mut config = Config::new(client, listener, &arguments.namespace, &arguments.identity);
    config.health_listener = Some(health);
    config.webhook_listener = Some(webhooks);
    config.server_names = arguments.server_names;
    config.time_zone = TimeZone::get(&arguments.time_zone)
        .with_context(|| format!("time zone {:?} is not known", arguments.time_zone))?;
    config.stall_timeout = std::time::Duration::from_secs(arguments.stall_timeout_seconds);
    config.pace.interval = std::time::Duration::from_secs(arguments.prune_interval_seconds);
    config.pace.settle = std::time::Duration::from_secs(arguments.prune_delay_seconds);
    config.pace.check = std::time::Duration::from_secs(arguments.check_interval_seconds);
    config.pace.patience = std::time::Duration::from_secs(arguments.wipe_patience_seconds);
    let image = arguments.holder_image.filter(|name| !name.is_empty());
    config.holder_image = image.map(|name| Image { name, pull_policy: arguments.holder_pull_policy });
    config.functions = arguments.functions;
    config.hooks_exec = arguments.hooks_exec;
    let shutdown = CancellationToken::new();
    tokio::spawn(wait_for_signal(shutdown.clone()));
    run(config, shutdown).await.context("the controller stopped")
}

async fn wait_for_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught; the controller must be killed");
        return;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("shutting down");
    shutdown.cancel();
}
