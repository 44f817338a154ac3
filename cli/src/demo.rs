//! `holdfast demo`: the whole of Holdfast on one machine, without a cluster.
//!
//! The Kubernetes API is the one of `holdfast-standalone`; the demo plays kubelet and scheduler (it lays out volumes and
//! writes the pods' status). Controller, agents, workers, gRPC, TLS, tokens and repository are the real ones.

mod another_cluster;
mod changes;
mod cluster;
mod latency;
mod manifests;
mod operator;
mod place;
mod report;
mod retention;
mod sandbox;
mod session;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};

use cluster::Cluster;
use manifests::Manifests;
use operator::Operator;
use place::Place;
use report::Report;
use sandbox::Namespace;
use session::Watcher;

/// Everything on one machine, without a cluster: back up, change, back up, lose, restore, compare.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "holdfast demo", version)]
struct Arguments {
    /// Directory whose files fill the volumes; the Rust toolchain's library and documentation if none is named.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where volumes and repository are made; a temporary directory, removed at the end, if none is named.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Run workers without their sandbox, for kernels that allow none.
    #[arg(long)]
    no_sandbox: bool,
}

/// Longest any session may take.
const SESSION_LIMIT: Duration = Duration::from_secs(900);

/// Runs the demo, or one of its workers, if that is what the command line asks for. Call it first thing in `main`, while
/// the process has one thread.
pub(crate) fn intercept() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next()?;
    if verb == sandbox::WORKER_VERB {
        return Some(holdfast_agent::worker::main());
    }
    if verb != "demo" {
        return None;
    }
    let program = std::iter::once(verb);
    let arguments = <Arguments as clap::Parser>::parse_from(program.chain(words));
    Some(sandbox::enter().map_or_else(|code| code, |namespace| start(arguments, namespace)))
}

fn start(arguments: Arguments, namespace: Namespace) -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(run(arguments, namespace)));
    ran.unwrap_or_else(|error| {
        eprintln!("\nThe demo failed: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: Arguments, namespace: Namespace) -> Result<ExitCode> {
    let started = std::time::Instant::now();
    let place = Place::make(&arguments, namespace)?;
    let cluster = Cluster::start(&place).await?;
    let manifests = Manifests::new(cluster.client(), &place);
    manifests.apply_definitions().await?;
    let operator = Operator::start(&cluster, &place, arguments.no_sandbox).await?;
    let outcome = chapters(&place, &cluster, &manifests).await;
    if outcome.is_err() {
        manifests.print_troubles().await;
    }
    operator.stop().await;
    let outcome = match outcome {
        Ok(code) => another_cluster::show(&place, &cluster, arguments.no_sandbox).await.map(|()| {
            println!("\nEverything came back as it was.");
            code
        }),
        failed => failed,
    };
    place.remove();
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    outcome
}

async fn chapters(
    place: &Arc<Place>,
    cluster: &Cluster,
    manifests: &Manifests,
) -> Result<ExitCode> {
    heading("Applications and their data");
    manifests.apply(manifests::APPLICATIONS).await?;
    cluster.make_pods().await?;
    cluster.run_pods().await?;
    let filled = place.fill(cluster)?;
    println!(
        "  {} files and directories in {} volumes on {} nodes",
        filled,
        cluster.volumes().len(),
        cluster::NODES.len()
    );
    let mut report = Report::new(place);
    let watcher = Watcher::new(cluster.client(), SESSION_LIMIT);

    heading("First backup: three BackupConfigurations, which trigger it themselves");
    manifests.apply(manifests::STORAGE).await?;
    watcher.storage_ready("local-storage").await?;
    let started = std::time::Instant::now();
    for file in manifests::BACKUPS {
        manifests.apply(file).await?;
    }
    let first = watcher.first_sessions(&manifests::CONFIGURATIONS).await?;
    watcher.backups(&first).await?;
    report.backup("first backup", started.elapsed()).await?;

    heading("A few files change; second backup");
    let changed = changes::make(cluster)?;
    println!("  {changed}");
    let started = std::time::Instant::now();
    let second = manifests.trigger(&manifests::CONFIGURATIONS).await?;
    watcher.backups(&second).await?;
    report.backup("second backup", started.elapsed()).await?;

    heading("The data is lost; restore");
    place.lose_everything(cluster)?;
    let started = std::time::Instant::now();
    for file in manifests::RESTORES {
        manifests.apply(file).await?;
    }
    watcher.restores(&manifests::RESTORE_SESSIONS).await?;
    report.restore(started.elapsed());

    heading("Every byte and attribute is compared");
    let differences = report.compare(cluster)?;

    heading("A tiny claim, from BackupSession to Succeeded");
    let latency = latency::measure(cluster, manifests, &watcher).await?;

    heading("Retention: the policy keeps one, and what goes is freed");
    retention::show(place, cluster, manifests, &watcher).await?;
    report.print(&latency);
    if differences > 0 {
        bail!("{differences} differences between what was lost and what came back");
    }
    Ok(ExitCode::SUCCESS)
}

fn heading(text: &str) {
    println!("\n{text}");
}

/// Names an error's place for a person.
fn at<T>(result: std::io::Result<T>, path: &std::path::Path) -> Result<T> {
    result.with_context(|| path.display().to_string())
}
