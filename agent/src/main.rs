//! The `holdfast-agent` program: the agent itself, and (hidden) its workers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use holdfast_agent::{CachePlace, Config, SandboxMode, Source};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Backs up and restores the volumes of the node it runs on, as its controllers say.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// One task; started by the agent only.
    #[command(hide = true)]
    Worker,
    /// Does nothing until it is told to end: in a pod that holds a claim which no other pod mounts.
    #[command(hide = true)]
    Hold,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// host:port of the controllers; every address behind the host is dialed.
    #[arg(long, env = "HOLDFAST_CONTROLLER", default_value = "holdfast-controller.holdfast.svc:8443")]
    controller: String,
    /// PEM file of the authorities that the controllers' certificates come from.
    #[arg(long, env = "HOLDFAST_CA_FILE", default_value = "/etc/holdfast/ca/ca.crt")]
    ca_file: PathBuf,
    /// File of the projected ServiceAccount token for the audience `holdfast`.
    #[arg(long, env = "HOLDFAST_TOKEN_FILE", default_value = "/var/run/secrets/holdfast/token")]
    token_file: PathBuf,
    /// The kubelet's root directory.
    #[arg(long, env = "HOLDFAST_KUBELET_DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Tasks at once.
    #[arg(long, env = "HOLDFAST_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: u32,
    /// MiB that all tasks together may use.
    #[arg(long, env = "HOLDFAST_MEMORY_MIB", default_value_t = 512)]
    memory_mib: u64,
    /// Whether workers are sandboxed. `off` is for a laptop whose kernel allows no sandbox.
    #[arg(long, value_enum, default_value_t = Sandbox::Required)]
    sandbox: Sandbox,
    /// A directory below which a storage may be a local directory; may be given several times.
    #[arg(long)]
    allow_local: Vec<PathBuf>,
    /// A directory of ours alone for what is kept of repositories between tasks, and for what does not fit into memory. Without it every
    /// task reads a repository's index anew, and must hold it in memory.
    #[arg(long, env = "HOLDFAST_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// MiB that the cache may hold; each task may use as much again for a while.
    #[arg(long, env = "HOLDFAST_CACHE_MIB", default_value_t = 2048)]
    cache_mib: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sandbox {
    Required,
    Off,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    match cli.command {
        Some(Subcommands::Worker) => holdfast_agent::worker::main(),
        Some(Subcommands::Hold) => hold(),
        None => match serve(cli.serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// As process 1 of its container it would not hear a signal that it does not ask for.
fn hold() -> ExitCode {
    let waits = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            Ok(())
        })
    });
    if let Err(error) = waits {
        tracing::error!("signals cannot be caught: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

fn serve(serve: Serve) -> anyhow::Result<()> {
    // A second provider may already be there in a process that embeds this; either is aws-lc-rs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let program = std::env::current_exe().context("where this program is")?;
    let config = Config {
        controller: serve.controller,
        ca: Source::File(serve.ca_file),
        token: Source::File(serve.token_file),
        kubelet_dir: serve.kubelet_dir,
        slots: serve.slots,
        memory_bytes: serve.memory_mib.saturating_mul(1024 * 1024),
        sandbox: match serve.sandbox {
            Sandbox::Required => SandboxMode::Required,
            Sandbox::Off => SandboxMode::Off,
        },
        allow_local: serve.allow_local,
        cache: serve.cache_dir.map(|directory| CachePlace { directory, bytes_max: serve.cache_mib.saturating_mul(1024 * 1024) }),
        worker_command: vec![program.into_os_string(), OsString::from("worker")],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(signals(shutdown.clone()));
        holdfast_agent::run(config, shutdown).await.context("the agent cannot serve")
    })
}

/// SIGTERM and SIGINT end the agent in order.
async fn signals(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be caught; the agent ends without letting its tasks go");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
}
