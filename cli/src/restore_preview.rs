//! `holdfast restore --dry-run`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::restore::{self, Action, PreviewRequest, Rules};
use holdfast_repository::{Activity, Repository, SnapshotId};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::{repository, text};

/// What the restore would be.
pub(crate) struct Wanted {
    pub(crate) snapshot: SnapshotId,
    /// Each source, and where it would go.
    pub(crate) places: Vec<(Vec<u8>, PathBuf)>,
    pub(crate) include: PatternSet,
    pub(crate) exclude: PatternSet,
    pub(crate) rules: Rules,
}

pub(crate) async fn run(global: &Global, opened: &Repository, wanted: Wanted) -> Result<Outcome, Failure> {
    let targets = wanted.places.into_iter().map(|(source, place)| Ok((source, open(&place)?))).collect::<Result<_, Failure>>()?;
    let request = PreviewRequest { targets, include: wanted.include, exclude: wanted.exclude, rules: wanted.rules };
    let reader = opened.reader(repository::purpose(Activity::Browse)).await?;
    let record = reader.snapshot(&wanted.snapshot).await?;
    let in_json = global.json;
    let mut tell = |_: &[u8], path: &holdfast_mover::catalog::RelPath, action: &Action| {
        let (word, aspects): (_, Vec<&str>) = match action {
            Action::Create => ("create", Vec::new()),
            Action::Replace => ("replace", Vec::new()),
            Action::Change(aspects) => ("change", aspects.clone()),
            Action::Lost(what) => ("lost", vec![what]),
            Action::Leave => return,
        };
        let name = if path.is_root() { ".".to_owned() } else { path.to_string() };
        if in_json {
            println!("{}", json!({ "path": name, "action": word, "differs": aspects }));
        } else if aspects.is_empty() {
            println!("{word:<8} {name}");
        } else {
            println!("{word:<8} {name} ({})", aspects.join(", "));
        }
    };
    let result = restore::preview(&reader, &record, request, &mut tell).await;
    if let Err(error) = reader.close().await {
        eprintln!("warning: the lease could not be ended: {}", text::one_line(&error.to_string()));
    }
    let counts = result?;
    if in_json {
        println!("{}", json!({ "create": counts.create, "replace": counts.replace, "change": counts.change, "leave": counts.leave, "lost": counts.lost, "bytes": counts.bytes }));
    } else {
        println!(
            "nothing was written; a restore would create {}, replace {} and change {} entries ({}), and leave {} that look right (it reads them to be sure)",
            counts.create, counts.replace, counts.change, text::bytes(counts.bytes), counts.leave
        );
        if counts.lost > 0 {
            println!("{} of the snapshot cannot come back; to do: holdfast check names what is damaged and says what helps", text::count(counts.lost, "part"));
        }
    }
    Ok(if counts.lost == 0 { Outcome::Done } else { Outcome::Failed })
}

/// None if it is not there.
fn open(place: &Path) -> Result<Option<OwnedFd>, Failure> {
    match rustix::fs::open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(Failure::new(format!("cannot look into {}: {errno}", place.display()))),
    }
}
