//! `holdfast dump`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;

use holdfast_mover::dump::{self, DumpError};
use holdfast_repository::Activity;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::snapshot_choice::{self, Filter};
use crate::{repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `latest`, or an id from `holdfast snapshots`.
    snapshot: String,
    /// The file, as `holdfast ls` prints it. Its content goes to standard output, holes as zeros.
    file: OsString,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::new("standard output is a terminal; send the file somewhere: holdfast dump SNAPSHOT FILE > PLACE"));
    }
    let repository = repository::open(global).await?;
    let (id, _) = snapshot_choice::find(&repository, &arguments.snapshot, &arguments.filter).await?;
    let stop = signal::stop_token()?;
    let reader = repository.reader(repository::purpose(Activity::Restore)).await?;
    // Again, under the lease: nothing of it can go now.
    let record = reader.snapshot(&id).await?;
    let dumped = tokio::select! {
        dumped = dump::dump(&reader, &record, arguments.file.as_bytes(), std::io::stdout()) => dumped.map_err(|error| failure(&error)),
        () = stop.stopped() => Err(Failure::new("stopped; what was written is not the whole file")),
    };
    if let Err(error) = reader.close().await {
        eprintln!("warning: the lease could not be ended: {}", text::one_line(&error.to_string()));
    }
    dumped.map(|_| Outcome::Done)
}

fn failure(error: &DumpError) -> Failure {
    Failure::new(match error {
        DumpError::NotAFile { path, kind: "directory" } => {
            format!("{path} is a directory, and dump writes one file; restore it with: holdfast restore SNAPSHOT TARGET --include '{path}'")
        }
        DumpError::NotAFile { .. } | DumpError::Output(_) => error.to_string(),
        DumpError::List(_) => format!("{error}; holdfast ls SNAPSHOT shows what it has"),
        DumpError::Catalog(_) | DumpError::Length { .. } | DumpError::Read(_) => format!("{error}; what was written is not the whole file"),
    })
}
