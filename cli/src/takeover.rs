//! `holdfast takeover`: ends KubeStash's work in a cluster in good order, so that Holdfast goes on with its objects; `--back` is the way back.
//!
//! Nothing of KubeStash is removed but its webhooks, and those are kept in a ConfigMap: its operator is scaled to nothing and its CronJobs
//! are suspended, each with a note of what was there before. It may be stopped anywhere and run again.

use std::time::{Duration, Instant};

use kube::Client;

use crate::outcome::{Failure, Outcome};

mod back;
mod change;
mod found;

use found::Found;

/// How often it is looked whether what runs has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a Deployment's pods may take to go, and to come.
const SCALED_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Do it; without it, what would be done is printed.
    #[arg(long)]
    yes: bool,
    /// The way back: Holdfast's controller stops, KubeStash's operator works again.
    #[arg(long)]
    back: bool,
    /// How long running backups and restores may take to end, such as 30m.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    timeout: Duration,
    /// Namespace of Holdfast.
    #[arg(long, value_name = "NAME", default_value = "holdfast")]
    namespace: String,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let positive = parsed.ok().filter(|time| !time.is_negative()).map(|time| time.unsigned_abs());
    positive.ok_or_else(|| format!("{text:?} is no time; 30m and 2h are"))
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        // Whoever was first has installed the same one.
        tracing::debug!("a TLS provider was installed before");
    }
    let client = Client::try_default().await;
    let client = client.map_err(|error| Failure::new(format!("no Kubernetes configuration can be used: {error}; KUBECONFIG names another file")))?;
    carry_out(&client, arguments).await
}

async fn carry_out(client: &Client, arguments: &Arguments) -> Result<Outcome, Failure> {
    let found = Found::look(client).await?;
    if arguments.back {
        return back::run(client, arguments, &found).await;
    }
    print(&found);
    if !arguments.yes {
        println!("nothing was changed; with --yes it is done");
        return Ok(Outcome::Done);
    }
    // Sessions that run come to their end while KubeStash's operator still sees to them.
    let deadline = Instant::now() + arguments.timeout;
    suspend(client, &found).await?;
    await_jobs(client, &found, deadline).await?;
    for operator in found.operators.iter().filter(|operator| operator.is_wanted()) {
        change::scale_down(client, &operator.name, operator.replicas).await?;
        println!("scaled to nothing: Deployment {}", operator.name);
    }
    await_operators(client).await?;
    // It may have resumed a CronJob, and begun a Job, before it went.
    let again = Found::look(client).await?;
    suspend(client, &again).await?;
    await_jobs(client, &again, deadline).await?;
    for webhooks in &found.webhooks {
        change::keep_and_remove(client, &arguments.namespace, webhooks).await?;
        println!("removed: {} {}, kept in ConfigMap {}/{}", webhooks.kind.name(), webhooks.name, arguments.namespace, change::KEPT);
    }
    if change::scale_back(client, &back::controller(&arguments.namespace)).await? {
        println!("scaled up again: Deployment {}", back::controller(&arguments.namespace));
    }
    println!("done: Holdfast looks after KubeStash's objects from now on; `holdfast takeover --back` is the way back");
    Ok(Outcome::Done)
}

fn print(found: &Found) {
    if found.is_nothing() {
        println!("nothing of KubeStash is at work in this cluster");
    }
    for operator in &found.operators {
        println!("KubeStash's Deployment {}: {} replicas, is scaled to nothing", operator.name, operator.replicas);
    }
    let running: Vec<_> = found.cron_jobs.iter().filter(|cron_job| !cron_job.is_suspended).collect();
    println!("{} CronJobs of KubeStash, {} of them not suspended: those are suspended", found.cron_jobs.len(), running.len());
    for job in &found.jobs {
        println!("Job {job} runs: it is waited for");
    }
    for webhooks in &found.webhooks {
        println!("{} {}: is kept in a ConfigMap and removed", webhooks.kind.name(), webhooks.name);
    }
}

async fn suspend(client: &Client, found: &Found) -> Result<(), Failure> {
    for cron_job in found.cron_jobs.iter().filter(|cron_job| !cron_job.is_suspended) {
        change::suspend(client, &cron_job.name).await?;
        println!("suspended: CronJob {}", cron_job.name);
    }
    Ok(())
}

async fn await_jobs(client: &Client, found: &Found, deadline: Instant) -> Result<(), Failure> {
    let mut said = Vec::new();
    loop {
        let jobs = found::running_jobs(client, &found.cron_jobs).await?;
        if jobs.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<String> = jobs.iter().take(5).map(ToString::to_string).collect();
            return Err(Failure::new(format!(
                "{} Jobs of KubeStash still run ({}): run it again when they have ended, or with a longer --timeout; `--back` resumes what is suspended",
                jobs.len(),
                names.join(", ")
            )));
        }
        for job in jobs.iter().filter(|job| !said.contains(*job)) {
            println!("waiting for Job {job}");
        }
        said = jobs;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn await_operators(client: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + SCALED_WITHIN;
    loop {
        let found = found::operators(client).await?;
        let Some(left) = found.iter().find(|operator| operator.pods > 0) else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("the pods of Deployment {} do not go; run it again when they have", left.name)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the API server said, with what was asked of it.
fn asked(what: impl std::fmt::Display) -> impl FnOnce(kube::Error) -> Failure {
    move |error| Failure::new(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;
