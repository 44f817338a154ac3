//! `holdfast ls`.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use holdfast_mover::catalog::EntryKind;
use holdfast_mover::listing::{self, Listed};
use holdfast_repository::Activity;
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::snapshot_choice::{self, Filter};
use crate::{repository, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `latest`, or an id from `holdfast snapshots`.
    snapshot: String,
    /// Only this path and what is in it.
    path: Option<OsString>,
    /// All that is below, not only what is directly there.
    #[arg(short, long)]
    recursive: bool,
    /// Only the names.
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let (id, _) = snapshot_choice::find(&repository, &arguments.snapshot, &arguments.filter).await?;
    let reader = repository.reader(repository::purpose(Activity::Browse)).await?;
    // Again, under the lease: nothing of it can go now.
    let record = reader.snapshot(&id).await?;
    let mut listing = listing::list(&reader, &record, arguments.path.as_ref().map(|path| path.as_bytes()), arguments.recursive);
    let mut output = std::io::BufWriter::new(std::io::stdout());
    let result = loop {
        match listing.next().await {
            Ok(Some(listed)) if arguments.names => writeln!(output, "{}", text::path(&listed.path())),
            Ok(Some(listed)) if global.json => writeln!(output, "{}", as_json(&listed)),
            Ok(Some(listed)) => writeln!(output, "{}", as_line(&listed)),
            Ok(None) => break Ok(Outcome::Done),
            Err(error) => break Err(error.into()),
        }
        .map_err(|error| Failure::new(format!("could not write the list: {error}")))?;
    };
    output.flush().map_err(|error| Failure::new(format!("could not write the list: {error}")))?;
    if let Err(error) = reader.close().await {
        eprintln!("warning: the lease could not be ended: {}", text::one_line(&error.to_string()));
    }
    result
}

fn kind(listed: &Listed) -> (char, &'static str) {
    match listed.entry.kind {
        EntryKind::Directory => ('d', "directory"),
        EntryKind::File => ('-', "file"),
        EntryKind::Symlink { .. } => ('l', "symlink"),
        EntryKind::Fifo => ('p', "fifo"),
        EntryKind::Socket => ('s', "socket"),
        EntryKind::CharDevice { .. } => ('c', "char_device"),
        EntryKind::BlockDevice { .. } => ('b', "block_device"),
    }
}

fn as_line(listed: &Listed) -> String {
    let entry = &listed.entry;
    let arrow = match (&entry.kind, &entry.link_to) {
        (_, Some(first)) => format!(" = {first}"),
        (EntryKind::Symlink { target }, None) => format!(" -> {}", text::path(target)),
        _ => String::new(),
    };
    format!(
        "{}{:04o} {:>5} {:>5} {:>12} {} {}{arrow}",
        kind(listed).0,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        text::time_of_secs(entry.mtime.secs),
        text::path(&listed.path())
    )
}

fn as_json(listed: &Listed) -> serde_json::Value {
    let entry = &listed.entry;
    let target = match &entry.kind {
        EntryKind::Symlink { target } => Some(text::path(target)),
        _ => None,
    };
    json!({
        "path": text::path(&listed.path()),
        "type": kind(listed).1,
        "mode": format!("{:04o}", entry.mode),
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime_secs": entry.mtime.secs,
        "mtime_nanos": entry.mtime.nanos,
        "target": target,
        "link_to": entry.link_to.as_ref().map(ToString::to_string),
    })
}
