//! `holdfast repo init|info`.

use clap::Subcommand;
use holdfast_repository::{Environment, Repository};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::{repository, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a repository. Where there is one that the password opens, it is left as it is.
    Init,
    /// Show a repository's id, place and snapshots.
    Info,
}

pub(crate) async fn run(global: &Global, verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::Init => init(global).await,
        Verb::Info => info(global).await,
    }
}

async fn init(global: &Global) -> Result<Outcome, Failure> {
    let report = Repository::init(repository::store(global)?, &repository::password(global)?, Environment::system()).await?;
    let (id, location) = (report.repository.id().to_string(), report.repository.location());
    if global.json {
        println!("{}", json!({ "id": id, "location": location, "created": report.created, "conditional_create": report.conditional_create }));
    } else if report.created {
        println!("made repository {id} at {location}");
    } else {
        println!("{location} is repository {id} already; nothing was changed");
    }
    if !report.conditional_create {
        eprintln!("warning: this store cannot refuse to overwrite an object; prune will need the controller to hold all writers");
    }
    Ok(Outcome::Done)
}

async fn info(global: &Global) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let snapshots = repository.snapshots().await?;
    let chunker = repository.chunker();
    if global.json {
        println!(
            "{}",
            json!({
                "id": repository.id().to_string(),
                "location": repository.location(),
                "created_ms": repository.created_ms(),
                "conditional_create": repository.conditional_create(),
                "snapshots": snapshots.readable.len(),
                "snapshots_unreadable": snapshots.unreadable.len(),
                "chunk_bytes": { "min": chunker.min_bytes, "avg": chunker.avg_bytes, "max": chunker.max_bytes },
            })
        );
        return Ok(Outcome::Done);
    }
    println!("repository  {}", repository.id());
    println!("location    {}", repository.location());
    println!("created     {}", text::time(repository.created_ms()));
    println!("snapshots   {}", snapshots.readable.len());
    for (id, error) in &snapshots.unreadable {
        println!("unreadable  {id}: {}", text::one_line(&error.to_string()));
    }
    Ok(Outcome::Done)
}
