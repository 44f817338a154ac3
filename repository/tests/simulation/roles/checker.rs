//! A check of everything, while others write, forget and prune.

use holdfast_repository::{CheckOptions, CheckProgress, Repository};

use crate::process::Process;

pub(crate) async fn check(process: &Process, repository: &Repository) -> Result<(), String> {
    let publish_bad = process.chance.hits(500);
    let options = CheckOptions { trailers: process.chance.hits(500), read_data_percent: 100, publish_bad, next_part: None };
    let report = repository.check(options, &CheckProgress::default()).await.map_err(|error| error.to_string())?;
    let was_fenced = {
        let book = process.world.book.lock().unwrap();
        // Its lease is its own affair: any that it took and somebody else ended.
        book.taken_by.iter().any(|(lease, by)| *by == process.name && book.ended_by.get(lease).is_some_and(|ended| ended != by))
    };
    if let Some(finding) = report.findings.first()
        && !was_fenced
        && !process.is_deceived()
        && !process.world.is_damaged()
    {
        process.world.violate(format!("the check of {} finds {finding:?}", process.name));
    }
    Ok(())
}
