//! The way back: Holdfast's controller stops when nothing of its runs, and KubeStash has everything again that was taken from it.

use std::time::Instant;

use kube::Client;

use super::found::{Found, Name};
use super::{Arguments, LOOK_AGAIN, change};
use crate::outcome::{Failure, Outcome};

/// Holdfast's controller.
pub(super) fn controller(namespace: &str) -> Name {
    Name { namespace: namespace.to_owned(), name: "holdfast-controller".to_owned() }
}

pub(super) async fn run(client: &Client, arguments: &Arguments, found: &Found) -> Result<Outcome, Failure> {
    let controller = controller(&arguments.namespace);
    if !arguments.yes {
        println!("what Holdfast runs is waited for; Deployment {controller} is scaled to nothing; KubeStash's webhooks, operator and CronJobs are as before");
        println!("what was backed up by Holdfast stays, and is restored by Holdfast only");
        println!("nothing was changed; with --yes it is done");
        return Ok(Outcome::Done);
    }
    let deadline = Instant::now() + arguments.timeout;
    loop {
        let running = change::running_sessions(client).await?;
        let Some(first) = running.first() else { break };
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("{} sessions of Holdfast still run, such as {first}: run it again, or with a longer --timeout", running.len())));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    change::scale_down_if_there(client, &controller).await?;
    for name in change::bring_back(client, &arguments.namespace).await? {
        println!("made again: {name}");
    }
    for operator in &found.operators {
        if change::scale_back(client, &operator.name).await? {
            println!("scaled up again: Deployment {}", operator.name);
        }
    }
    for cron_job in &found.cron_jobs {
        if change::resume(client, &cron_job.name).await? {
            println!("resumed: CronJob {}", cron_job.name);
        }
    }
    println!("done: KubeStash looks after its objects again; `holdfast takeover` takes them over anew");
    Ok(Outcome::Done)
}
