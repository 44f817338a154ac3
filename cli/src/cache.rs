//! `holdfast cache`: what is kept on this machine of one repository.

use serde_json::json;

use crate::arguments::{Global, parse_size};
use crate::outcome::{Failure, Outcome};
use crate::{repository, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Remove what was used longest ago until at most this is left, such as 200MiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say how much is cached (the default).
    List,
    /// Remove all of it; what is needed is fetched again.
    Clear,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let failed = |error: std::io::Error| Failure::new(format!("the cache could not be used: {error}; give another --cache-dir or --no-cache"));
    let limit = match arguments.verb {
        Some(Verb::Clear) => Some(0),
        Some(Verb::List) | None => arguments.max_size,
    };
    if let Some(bytes_max) = limit {
        repository.limit_cache(bytes_max).map_err(failed)?;
    }
    let Some(usage) = repository.cache_usage().map_err(failed)? else {
        return Err(Failure::new("there is no cache: give --cache-dir DIR or set HOLDFAST_CACHE_DIR, without --no-cache"));
    };
    if global.json {
        println!("{}", json!({ "repository": repository.id().to_string(), "objects": usage.objects, "bytes": usage.bytes }));
    } else {
        println!("repository {}: {} objects, {} cached", repository.id(), usage.objects, text::bytes(usage.bytes));
    }
    Ok(Outcome::Done)
}
