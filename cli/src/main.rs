//! `holdfast`: backup and restore of volumes with nothing but the backend and the password.
//!
//! Each verb is a module with its arguments and one `run`. Results go to standard output, everything else to standard error.
//! Exit codes: 0 done, 1 failed, 3 done but some files could not be read (each is named).

mod advice;
mod arguments;
mod backup;
mod backup_source;
mod cache;
mod check;
mod compare;
mod damage;
#[cfg(feature = "demo")]
mod demo;
mod dump;
mod forget;
mod key;
mod ls;
mod outcome;
mod progress_bar;
mod prune;
mod repair;
mod repo;
mod repository;
#[cfg(feature = "restic")]
mod restic;
mod restore;
mod restore_preview;
mod signal;
mod snapshot_choice;
mod snapshots;
mod stats;
mod takeover;
mod text;

use std::process::ExitCode;

use arguments::{Arguments, Verb};
use outcome::{Failure, Outcome};

fn main() -> ExitCode {
    holdfast_mover::allocator::keep_lean();
    #[cfg(feature = "demo")]
    if let Some(exit) = demo::intercept() {
        return exit;
    }
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    outcome::exit(run(arguments))
}

fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    if matches!(&arguments.verb, Verb::Backup(verb) if verb.is_idle()) {
        holdfast_mover::priority::stand_back();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("could not start: {error}")))?;
    let Arguments { global, verb } = arguments;
    let outcome = runtime.block_on(async {
        match verb {
            Verb::Repo(verb) => repo::run(&global, &verb).await,
            Verb::Backup(verb) => backup::run(&global, verb).await,
            Verb::Snapshots(verb) => snapshots::run(&global, &verb).await,
            Verb::Ls(verb) => ls::run(&global, &verb).await,
            Verb::Restore(verb) => restore::run(&global, verb).await,
            Verb::Dump(verb) => dump::run(&global, &verb).await,
            Verb::Check(verb) => check::run(&global, &verb).await,
            Verb::Repair(verb) => repair::run(&global, &verb).await,
            Verb::Stats(verb) => stats::run(&global, &verb).await,
            Verb::Key(verb) => key::run(&global, &verb).await,
            Verb::Forget(verb) => forget::run(&global, &verb).await,
            Verb::Prune(verb) => prune::run(&global, &verb).await,
            Verb::Cache(verb) => cache::run(&global, &verb).await,
            Verb::Takeover(verb) => takeover::run(&verb).await,
            #[cfg(feature = "restic")]
            Verb::Restic(verb) => restic::run(&global, verb).await,
            Verb::Compare(verb) => compare::run(&global, &verb),
        }
    });
    // A store that hangs must not hold the process after its work is over.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}
