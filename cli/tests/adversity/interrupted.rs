//! Verbs that are stopped in the middle.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bad_input::on_repositories;
use crate::place::{Place, said};

/// Stopped at any moment, by either signal: no lease is left that a prune would have to wait for, and the verb works the next time.
#[test]
fn an_interrupted_verb_leaves_nothing_to_clean() {
    let place = Place::ready();
    place.ok(&["repo", "init"]);
    // Enough for every verb to have something to do for a moment.
    let noise: Vec<u8> = (0..(16 << 20) / 8_u64).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_le_bytes()).collect();
    std::fs::write(place.path("data/file"), &noise).unwrap();
    for number in 0..2000 {
        std::fs::write(place.path(&format!("data/{number}")), number.to_string()).unwrap();
    }
    place.ok(&["backup", "data"]);
    place.ok(&["backup", "data", "--force"]);
    for (call, _) in on_repositories(&place).into_iter().filter(|(call, _)| !matches!(call[0], "key" | "repo" | "cache" | "forget")) {
        for (signal, after_ms) in [(rustix::process::Signal::INT, 20), (rustix::process::Signal::TERM, 60), (rustix::process::Signal::INT, 150)] {
            let call = if call[0] == "backup" { &["backup", "data", "--force"][..] } else { call };
            let mut child = place.command(call).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let is_running = child.try_wait().unwrap().is_none();
            let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal);
            let asked = Instant::now();
            let output = child.wait_with_output().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(10), "{call:?} went on for {:?}", asked.elapsed());
            // It may have been over already, or not have begun to listen: then the signal ends it as it ends anything.
            let code = output.status.code();
            assert!(!is_running || matches!(code, None | Some(0 | 1)), "{call:?}: {code:?}, {}", said(&output));
            assert!(!said(&output).contains("panicked"), "{call:?}: {}", said(&output));
            if code.is_some() {
                assert_eq!(open_leases(&place), Vec::<String>::new(), "{call:?} after {after_ms} ms: {}", said(&output));
            }
            forget_leases(&place);
        }
        let _ = std::fs::remove_dir_all(place.path("restored"));
        assert!(place.run(call).status.success(), "{call:?} the next time");
        let _ = std::fs::remove_dir_all(place.path("restored"));
    }
    assert!(place.ok(&["check", "--read-data"]).contains("nothing is wrong"));
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("repository/holdfast/v1").join(folder)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Leases at whose name nothing stands that ends them.
fn open_leases(place: &Place) -> Vec<String> {
    let ended = names(place, "snapshots");
    names(place, "leases").into_iter().filter(|lease| !ended.contains(lease)).collect()
}

/// What was killed before it listened for signals is as good as `kill -9`: its lease stays for a prune to fence.
fn forget_leases(place: &Place) {
    for lease in open_leases(place) {
        std::fs::remove_dir_all(place.path("repository/holdfast/v1/leases").join(lease)).unwrap();
    }
}
