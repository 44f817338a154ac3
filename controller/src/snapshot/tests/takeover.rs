//! What a new leader makes of components that the one before has begun.

use super::*;

const MORE: Duration = Duration::from_secs(20);

/// What agents bring: what runs, and what has ended.
fn brought(running: &[&str], ended: &[&str], more_within: Option<Duration>) -> Brought {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Brought { running: names(running), ended: names(ended), more_within, ..Brought::default() }
}

/// A backup whose time is over.
fn late() -> Observed {
    let session = session(json!({"phase": "Running", "backupDeadline": "2026-11-22T22:00:59Z"}));
    Observed { session: Some(Arc::new(session)), ..observed(running()) }
}

fn error(actions: &[Action], component: &str) -> Option<String> {
    status(actions)?["components"][component]["error"].as_str().map(str::to_owned)
}

#[test]
fn no_backup_is_out_of_time_before_its_agent_could_say_that_it_has_ended() {
    let mut observed = late();
    observed.brought = brought(&[], &[], Some(MORE));
    let actions = plan(&observed, now());
    assert_eq!((wanted(&actions), status(&actions)), (vec!["keep dump-pod-0".to_owned(), "keep dump-pod-1".into()], None));
    assert!(actions.contains(&Action::Later(MORE)), "{actions:?}");
    // One has ended, and is asked for, and the other one runs still.
    observed.brought = brought(&["dump-pod-1"], &["dump-pod-0"], Some(MORE));
    let actions = plan(&observed, now());
    assert_eq!(wanted(&actions), ["dump-pod-0"]);
    assert!(error(&actions, "dump-pod-1").is_some_and(|error| error.contains("backupTimeout has passed")), "{actions:?}");
    // What has ended is never too late; what no agent has come with by then is.
    let mut observed = late();
    observed.brought = brought(&[], &["dump-pod-0"], None);
    let actions = plan(&observed, now());
    assert_eq!((wanted(&actions), error(&actions, "dump-pod-0")), (vec!["dump-pod-0".to_owned()], None));
    assert!(error(&actions, "dump-pod-1").is_some());
}

#[test]
fn what_has_not_begun_or_was_stopped_here_waits_for_no_agent() {
    let pending = json!({"phase": "Pending", "totalComponents": 2, "components": {"dump-pod-0": {"phase": "Pending"}, "dump-pod-1": {"phase": "Pending"}}});
    let mut observed = observed(pending);
    observed.brought = brought(&[], &[], Some(MORE));
    assert_eq!(wanted(&plan(&observed, now())), ["dump-pod-0", "dump-pod-1"]);
    // Nor does what was stopped since this one leads: it is begun again at once.
    let mut observed = self::observed(running());
    observed.brought = brought(&[], &[], Some(MORE));
    observed.brought.asked.insert("dump-pod-0".into());
    assert_eq!(wanted(&plan(&observed, now())), ["dump-pod-0", "keep dump-pod-1"]);
}

#[test]
fn what_an_agent_has_brought_is_left_to_it_while_it_cannot_be_asked_for() {
    let mut observed = observed(running());
    observed.repository = Some(Arc::new(repository("NotReady")));
    observed.brought = brought(&["dump-pod-0"], &["dump-pod-1"], Some(MORE));
    let actions = plan(&observed, now());
    assert_eq!((wanted(&actions), status(&actions)), (vec!["keep dump-pod-0".to_owned(), "keep dump-pod-1".into()], None));
    // The pod of what runs is gone: it must let go, and nobody has told it. What has ended holds nothing.
    let mut observed = self::observed(running());
    observed.brought = brought(&["dump-pod-0"], &["dump-pod-1"], Some(MORE));
    for name in ["dump-pod-0", "dump-pod-1"] {
        observed.reaches.insert(name.into(), Reach::Waiting("pod web-1 is not running".into()));
    }
    assert_eq!(wanted(&plan(&observed, now())), ["keep dump-pod-1"]);
    // A pod of ours stays that holds what is read.
    let wish = Wish { namespace: "demo".into(), claims: ["data".to_owned()].into(), purpose: Purpose::Backup, placement: Placement::default() };
    let Reach::Ready(access) = reach() else { panic!() };
    observed.reaches.insert("dump-pod-0".into(), Reach::Ready(Access { held: Some(Box::new(wish)), ..access }));
    observed.repository = Some(Arc::new(repository("NotReady")));
    assert_eq!(wanted(&plan(&observed, now())), ["hold data", "keep dump-pod-0", "keep dump-pod-1"]);
}

#[test]
fn one_that_is_paused_stops_nothing_that_runs_since_another_led() {
    let mut observed = observed(running());
    let mut paused = observed.snapshot.as_ref().clone();
    paused.spec.paused = Some(true);
    observed.snapshot = Arc::new(paused);
    assert!(wanted(&plan(&observed, now())).is_empty());
    observed.brought = brought(&["dump-pod-0"], &["dump-pod-1"], None);
    assert_eq!(wanted(&plan(&observed, now())), ["keep dump-pod-0", "keep dump-pod-1"]);
    observed.brought = brought(&[], &[], Some(MORE));
    assert_eq!(wanted(&plan(&observed, now())), ["keep dump-pod-0", "keep dump-pod-1"], "it may come");
    observed.brought = brought(&["dump-pod-0"], &[], None);
    observed.reaches.insert("dump-pod-0".into(), Reach::Waiting("pod web-0 is not running".into()));
    assert!(wanted(&plan(&observed, now())).is_empty(), "it must let go");
}
