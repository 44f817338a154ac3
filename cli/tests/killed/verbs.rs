//! The other verbs that write, killed at each write: repeated, they end what they began, and nothing is lost.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use crate::place::{KILLED, Place, STEPS_MAX, noise};

#[test]
fn an_init_killed_at_each_write_can_be_repeated() {
    let place = Place::new();
    let mut steps = 0;
    for step in 1..=STEPS_MAX {
        for moment in ["before", "after"] {
            let repository = format!("{moment}.{step}");
            if place.dies(&repository, &["repo", "init"], &format!("{moment}:{step}")) {
                steps = step;
            }
            place.ok(&repository, &["repo", "init"]);
            place.ok(&repository, &["backup", "data"]);
            place.ok(&repository, &["check"]);
        }
        if steps < step {
            break;
        }
    }
    assert!((2..STEPS_MAX).contains(&steps), "{steps}");
}

/// Three snapshots of different data; their names.
fn filled(place: &Place) -> Vec<String> {
    place.ok("filled", &["repo", "init"]);
    for number in 0..3 {
        std::fs::write(place.path("data/large"), noise(number + 90, 2 << 20)).unwrap();
        std::fs::write(place.path("data/small"), format!("small {number}")).unwrap();
        place.ok("filled", &["backup", "data"]);
    }
    let output = place.command("filled", &["snapshots", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<String> = text.split("\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    assert_eq!(names.len(), 3, "{text}");
    names
}

fn accepted(place: &Place, repository: &str) -> usize {
    let output = place.command(repository, &["snapshots", "--json"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().matches("\"id\"").count()
}

/// Kills `verb` before and after each of its writes, in a copy of `origin`; then `again` looks. How many writes there are.
fn each_step(place: &Place, origin: &str, verb: &[&str], again: impl Fn(&str, &str)) -> u64 {
    let mut steps = 0;
    for step in 1..=STEPS_MAX {
        for moment in ["before", "after"] {
            let repository = format!("{}.{moment}.{step}", verb[0]);
            place.copy(origin, &repository);
            let die = format!("{moment}:{step}");
            if place.dies(&repository, verb, &die) {
                steps = step;
                again(&repository, &die);
            }
            std::fs::remove_dir_all(place.path(&repository)).unwrap();
        }
        if steps < step {
            return steps;
        }
    }
    panic!("{verb:?} has more than {STEPS_MAX} writes");
}

#[test]
fn a_forget_killed_at_each_write_can_be_repeated() {
    let place = Place::new();
    let names = filled(&place);
    let keep_last = ["forget", "--keep-last", "1"];
    let steps = each_step(&place, "filled", &keep_last, |repository, die| {
        place.is_whole(repository);
        place.ok(repository, &keep_last);
        assert_eq!(accepted(&place, repository), 1, "{die}");
        place.is_whole(repository);
    });
    assert!(steps >= 1 && names.len() == 3, "{steps}");
}

#[test]
fn a_prune_killed_at_each_write_is_made_up_for_by_the_next() {
    let place = Place::new();
    filled(&place);
    place.ok("filled", &["forget", "--keep-last", "1"]);
    let prune = ["prune", "--now"];
    let steps = each_step(&place, "filled", &prune, |repository, die| {
        place.is_whole(repository);
        place.dies(repository, &prune, die);
        place.ok(repository, &prune);
        place.is_whole(repository);
        let data: u64 = place.data_packs(repository).values().sum();
        assert!((2 << 20..3 << 20).contains(&data), "{die}: {data} bytes of data are left of one snapshot of 2 MiB");
        // The next backup finds what it needs.
        place.ok(repository, &["backup", "data"]);
        place.is_whole(repository);
    });
    assert!(steps >= 5, "{steps}: two states and some deletions");
    println!("a prune: killed before and after each of {steps} writes");
}

#[test]
fn key_verbs_killed_at_each_write_leave_a_password_that_opens() {
    let place = Place::new();
    place.ok("keyed", &["repo", "init"]);
    place.ok("keyed", &["backup", "data"]);
    for verb in [["key", "add"], ["key", "passwd"]] {
        let mut steps = 0;
        for step in 1..=STEPS_MAX {
            for moment in ["before", "after"] {
                let repository = format!("{}.{moment}.{step}", verb[1]);
                place.copy("keyed", &repository);
                let mut command = place.command(&repository, &verb);
                command.env("HOLDFAST_NEW_PASSWORD", "battery staple").env("HOLDFAST_TEST_DIE", format!("{moment}:{step}"));
                if command.output().unwrap().status.signal() != KILLED {
                    continue;
                }
                steps = step;
                let opens = |password: &str| {
                    let mut snapshots = place.command(&repository, &["snapshots"]);
                    snapshots.env("HOLDFAST_PASSWORD", password).output().unwrap().status.success()
                };
                let (old, new) = (opens("correct horse"), opens("battery staple"));
                assert!(old || new, "{verb:?} {moment}:{step}: nothing opens it any more");
                assert!(old || verb[1] == "passwd");
                // Again, with whichever opens: then the new one does.
                let mut again = place.command(&repository, &verb);
                again.env("HOLDFAST_PASSWORD", if old { "correct horse" } else { "battery staple" });
                assert!(again.env("HOLDFAST_NEW_PASSWORD", "battery staple").output().unwrap().status.success(), "{verb:?} {moment}:{step}");
                assert!(opens("battery staple"), "{verb:?} {moment}:{step}");
            }
            if steps < step {
                break;
            }
        }
        assert!(steps >= 1, "{verb:?}");
    }
}

#[test]
fn a_restore_killed_at_any_time_is_finished_by_the_next() {
    let place = Place::new();
    for file in 0..40 {
        std::fs::write(place.path(&format!("data/{file}")), noise(file + 200, if file % 8 == 0 { 9 << 20 } else { 50_000 })).unwrap();
    }
    std::fs::hard_link(place.path("data/8"), place.path("data/linked")).unwrap();
    place.ok("stored", &["repo", "init"]);
    place.ok("stored", &["backup", "data"]);
    let mut killed = 0;
    for (number, delay_ms) in [20, 45, 70, 95, 120, 160, 220, 300].into_iter().enumerate() {
        let target = format!("restored.{}", number / 3);
        // Three times into the same place, each killed: what the earlier ones left must not be taken for whole.
        let mut command = place.command("stored", &["restore", "latest", &target]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == KILLED);
        if number % 3 == 2 || number == 7 {
            place.ok("stored", &["restore", "latest", &target]);
            place.ok("stored", &["compare", "data", &target]);
        }
    }
    assert!(killed > 0, "every run was over before it was killed");
    // And around the writes that a restore does to the repository: its lease and its end.
    for die in ["before:1", "after:1", "before:2", "after:2"] {
        let target = format!("restored.{die}");
        place.dies("stored", &["restore", "latest", &target], die);
        place.ok("stored", &["restore", "latest", &target]);
        place.ok("stored", &["compare", "data", &target]);
    }
    place.ok("stored", &["check", "--read-data"]);
}
