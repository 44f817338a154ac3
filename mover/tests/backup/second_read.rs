//! What is stored is what was hashed, though the file is another one a moment later; and the test of that test.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_mover::backup::run;
use holdfast_mover::progress::Progress;
use holdfast_mover::stop::StopToken;
use holdfast_repository::testing::mutation::{Rule, without};
use holdfast_repository::{CheckOptions, CheckProgress};

use crate::fixture::{Fixture, noise};

const FILE_BYTES: usize = 30_000;
/// After each read the backup waits until it has kept to this: half a second, in which the change comes.
const BYTES_PER_SECOND: u64 = 60_000;
/// On a machine that is too busy for half a second.
const TRIES_MAX: usize = 20;

/// Two files with the same content, of which the first becomes another as soon as it was read.
struct Trial {
    /// The change came while the backup was at that file.
    is_met: bool,
    /// The second, which nobody has touched, has its content in the snapshot.
    is_whole: bool,
}

fn trial() -> Trial {
    let fixture = Fixture::new();
    let (before, after) = (noise(1, FILE_BYTES), noise(2, FILE_BYTES));
    fixture.write("changed", &before);
    fixture.write("untouched", &before);
    fixture.settle();
    let progress = Arc::new(Progress::default());
    let changer = {
        let (progress, path) = (Arc::clone(&progress), fixture.path("changed"));
        std::thread::spawn(move || {
            while progress.bytes_read.load(Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            File::options().write(true).open(path).unwrap().write_all_at(&after, 0).unwrap();
        })
    };
    let mut request = fixture.request();
    request.limits.bandwidth_bytes_per_second = BYTES_PER_SECOND;
    let report = fixture.block_on(run(&fixture.repository, request, progress, StopToken::new())).unwrap();
    changer.join().unwrap();

    let options = CheckOptions { read_data_percent: 100, ..CheckOptions::default() };
    let check = fixture.block_on(fixture.repository.check(options, &CheckProgress::default())).unwrap();
    assert!(check.is_clean(), "{check:?}");
    let contents = fixture.snapshot(report.snapshot);
    let (changed, untouched) = (contents.entry(b"changed"), contents.entry(b"untouched"));
    assert_eq!(changed.extents, untouched.extents, "the same content was read of both, and is stored once");
    Trial { is_met: changed.flags.read_next_time, is_whole: fixture.content(&contents, untouched) == before }
}

#[test]
fn what_is_stored_is_what_was_hashed() {
    let is_met = (0..TRIES_MAX).any(|_| {
        let trial = trial();
        assert!(trial.is_whole, "a file that nobody touched is not whole");
        trial.is_met
    });
    assert!(is_met, "nothing changed in time: the test is too slow to show anything");
    let is_noticed = (0..TRIES_MAX).any(|_| !without(Some(Rule::SameBuffer), trial).is_whole);
    assert!(is_noticed, "a second read in the place of the first is not noticed");
}
