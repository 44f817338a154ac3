//! Backups, killed at each write and at any time.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use holdfast_repository::testing::listed_packs;
use holdfast_repository::{Environment, Repository, SecretBytes, store};

use crate::place::{KILLED, Place, STEPS_MAX, noise};

#[test]
fn a_backup_killed_at_each_write_is_made_up_for_by_the_next() {
    let place = Place::new();
    std::fs::write(place.path("data/large"), noise(1, 3 << 20)).unwrap();
    std::fs::write(place.path("data/small"), "small").unwrap();
    place.ok("empty", &["repo", "init"]);
    place.ok("once", &["repo", "init"]);
    place.ok("once", &["backup", "data"]);
    std::fs::write(place.path("data/changed"), noise(2, 1 << 20)).unwrap();

    for origin in ["empty", "once"] {
        let mut steps = 0;
        for step in 1..=STEPS_MAX {
            let mut any = false;
            for moment in ["before", "after"] {
                let repository = format!("{origin}.{moment}.{step}");
                place.copy(origin, &repository);
                let die = format!("{moment}:{step}");
                if !place.dies(&repository, &["backup", "data"], &die) {
                    continue;
                }
                any = true;
                let data = place.objects(&repository, "packs/data");
                let indexed = place.objects(&repository, "index").len() > place.objects(origin, "index").len();
                // Again at the same step of the next try, then let be.
                place.dies(&repository, &["backup", "data"], &die);
                let again = place.objects(&repository, "packs/data");
                place.ok(&repository, &["backup", "data"]);
                if indexed {
                    assert_eq!(place.objects(&repository, "packs/data"), data, "{die}: what a checkpoint lists is not sent again");
                } else {
                    assert!(place.objects(&repository, "packs/data").is_superset(&again), "{die}: nothing is taken away");
                }
                place.is_whole(&repository);
                std::fs::remove_dir_all(place.path(&repository)).unwrap();
            }
            if !any {
                break;
            }
            steps = step;
        }
        assert!((4..STEPS_MAX).contains(&steps), "{origin}: a backup has {steps} durable steps");
        println!("{origin}: killed before and after each of {steps} writes");
    }
}

#[test]
fn a_backup_killed_at_any_time_is_made_up_for_by_the_next() {
    let place = Place::new();
    for file in 0..6 {
        std::fs::write(place.path(&format!("data/{file}")), noise(file + 10, 12 << 20)).unwrap();
    }
    place.ok("repository", &["repo", "init"]);
    let mut killed = 0;
    for try_number in 0..6_u64 {
        let mut child = place.command("repository", &["backup", "data"]).spawn().unwrap();
        // Spread over the run's length, whatever it is on this machine, by a fixed sequence.
        std::thread::sleep(Duration::from_millis(15 + try_number * 7919 % 240));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == KILLED);
        place.ok("repository", &["check"]);
    }
    assert!(killed > 0, "every run was over before it was killed");
    place.ok("repository", &["backup", "data"]);
    place.is_whole("repository");
}

/// What the runs of this repository list, whoever wrote them: what a checkpoint has saved.
fn listed_data_bytes(place: &Place, repository: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let packs = runtime.block_on(async {
        let store = store::open_url(&format!("file://{}", place.path(repository).display())).unwrap();
        let password = SecretBytes::new(b"correct horse".to_vec());
        listed_packs(&Repository::open(store, &password, Environment::system()).await.unwrap()).await.unwrap()
    });
    packs.iter().filter(|(name, _)| name.starts_with("packs/data")).map(|(_, bytes)| bytes).sum()
}

/// Of 160 MiB in packs of 32, with a checkpoint behind each pack.
#[test]
fn a_killed_backup_sends_again_at_most_what_came_after_its_last_checkpoint() {
    const FILES: u64 = 8;
    const FILE_BYTES: usize = 20 << 20;
    /// Seals, trailers, padding, and a chunk that is cut differently at the end of a section.
    const SLACK_BYTES: u64 = 4 << 20;
    let place = Place::new();
    for file in 0..FILES {
        std::fs::write(place.path(&format!("data/{file}")), noise(file + 40, FILE_BYTES)).unwrap();
    }
    place.ok("empty", &["repo", "init"]);
    let (mut partly, mut steps) = (0, 0);
    for step in 1..=STEPS_MAX {
        let repository = format!("killed.{step}");
        place.copy("empty", &repository);
        let mut command = place.command(&repository, &["backup", "data"]);
        let output = command.env("HOLDFAST_TEST_DIE", format!("after:{step}")).env("HOLDFAST_TEST_CHECKPOINT_BYTES", "1").output().unwrap();
        if output.status.signal() != KILLED {
            break;
        }
        steps = step;
        let before = place.data_packs(&repository);
        let listed = listed_data_bytes(&place, &repository);
        partly += u32::from(listed > 0 && listed < FILES * FILE_BYTES as u64);
        place.ok(&repository, &["backup", "data"]);
        let sent: u64 = place.data_packs(&repository).iter().filter(|(pack, _)| !before.contains_key(*pack)).map(|(_, bytes)| bytes).sum();
        let rest = FILES * FILE_BYTES as u64 + SLACK_BYTES - listed;
        assert!(sent <= rest, "after step {step} {listed} bytes were listed, and {sent} were sent again");
        place.ok(&repository, &["check"]);
        std::fs::remove_dir_all(place.path(&repository)).unwrap();
    }
    assert!(partly >= 2, "of {steps} steps only {partly} were behind a checkpoint: this tests nothing");
    println!("killed behind each of {steps} writes, {partly} of them between two checkpoints");
}
