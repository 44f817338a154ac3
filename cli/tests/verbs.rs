//! The real binary: what it does, what it says, and how it exits.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[path = "place/work.rs"]
mod place;
use place::Place;

impl Place {
    /// With a repository, and some data.
    fn filled() -> Self {
        let place = Self::new();
        holdfast_mover::fidelity::torture::torture(&place.path("data")).unwrap();
        assert_eq!(place.ok(&["repo", "init"]).lines().count(), 1);
        place
    }
}

/// The one line of a verb that failed with exit code 1.
fn failure(output: &Output) -> String {
    place::failure(&[], output)
}

#[test]
fn from_a_directory_to_a_repository_and_back() {
    let place = Place::filled();
    let made = place.json(&["--json", "backup", "data"]);
    assert_eq!(made["unreadable"], 0);
    let restored = place.json(&["--json", "restore", "latest", "restored"]);
    assert_eq!((&restored["failed"], &restored["warnings"]), (&Value::from(0), &Value::from(0)), "{restored}");
    place.ok(&["compare", "--holes", "data", "restored"]);
    place.ok(&["check"]);
    place.ok(&["check", "--read-data"]);

    // By short id, into a place that is there, over itself.
    place.ok(&["restore", made["short_id"].as_str().unwrap(), "restored"]);
    place.ok(&["compare", "data", "restored"]);
    std::fs::write(place.path("restored/contents/one byte"), "y").unwrap();
    let compared = place.run(&["compare", "data", "restored"]);
    assert_eq!(compared.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&compared.stdout).contains("contents/one byte: Content"));

    // Only files from the future are read again: their times cannot tell whether they change now.
    let again = place.json(&["backup", "--json", "data"]);
    assert!(again["files_read"].as_u64().unwrap() * 4 < again["files"].as_u64().unwrap(), "{again}");
    let listed = place.json(&["--json", "snapshots"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(listed["snapshots"][1]["paths"][0], Value::from(place.text("data")));
    assert!(place.ok(&["repo", "info"]).contains("snapshots   2"));
}

#[test]
fn parts_are_listed_restored_and_left_out() {
    let place = Place::filled();
    place.ok(&["backup", "data", "--exclude", "noise", "--exclude", "/nowhere"]);
    let names = place.ok(&["ls", "latest", &place.text("data/contents"), "--names"]);
    assert!(names.contains("contents/one byte") && !names.contains("noise"), "{names}");
    assert!(place.ok(&["ls", "latest", "-r"]).contains("dangling -> nowhere"));
    let missing = failure(&place.run(&["ls", "latest", "/nowhere/at/all"]));
    assert!(missing.contains("/nowhere/at/all"), "{missing}");
    place.ok(&["restore", "latest", "some", "--include", "contents", "--exclude", "small*"]);
    assert!(place.path("some/contents/one byte").exists() && !place.path("some/contents/small 1").exists());
    assert!(!place.path("some/links").exists());
}

#[test]
fn several_paths_go_below_the_target_and_latest_obeys_its_filter() {
    let place = Place::new();
    place.ok(&["repo", "init"]);
    for name in ["one", "two"] {
        std::fs::create_dir(place.path(name)).unwrap();
        std::fs::write(place.path(name).join("file"), name).unwrap();
    }
    place.ok(&["backup", "one", "two", "--host", "first"]);
    std::fs::write(place.path("one/file"), "newer").unwrap();
    place.ok(&["backup", "one", "--host", "second"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    place.ok(&["backup", "two", "--host", "third"]);
    let again = place.json(&["--json", "backup", "two", "--host", "third"]);
    assert_eq!((&again["files_read"], &again["bytes_added"]), (&Value::from(0), &Value::from(0)), "{again}");
    place.ok(&["restore", "latest", "all", "--host", "first"]);
    assert_eq!(std::fs::read_to_string(format!("{}{}", place.text("all"), place.text("two/file"))).unwrap(), "two");
    place.ok(&["restore", "latest", "single", "--path", &place.text("two")]);
    assert_eq!(std::fs::read_to_string(place.path("single/file")).unwrap(), "two");
    place.ok(&["restore", "latest", "newest", "--host", "second"]);
    assert_eq!(std::fs::read_to_string(place.path("newest/file")).unwrap(), "newer");
    let none = failure(&place.run(&["restore", "latest", "x", "--host", "fourth"]));
    assert!(none.contains("holdfast snapshots"), "{none}");
}

#[test]
fn what_cannot_be_opened_is_one_line() {
    let place = Place::filled();
    let wrong = failure(&place.command(&["snapshots"]).env("HOLDFAST_PASSWORD", "wrong").output().unwrap());
    assert!(wrong.contains("password") && wrong.contains("--password-file"), "{wrong}");
    let none = failure(&place.run(&["--repo", &place.text("data"), "snapshots"]));
    assert!(none.contains("not a Holdfast repository") && none.contains("repo init"), "{none}");
    let form = failure(&place.run(&["--repo", "http://x/y", "snapshots"]));
    assert!(form.contains("s3://bucket/prefix"), "{form}");
    let unset = failure(&place.command(&["snapshots"]).env_remove("HOLDFAST_REPO").output().unwrap());
    assert!(unset.contains("HOLDFAST_REPO"), "{unset}");
    let secretless = failure(&place.command(&["snapshots"]).env_remove("HOLDFAST_PASSWORD").output().unwrap());
    assert!(secretless.contains("HOLDFAST_PASSWORD"), "{secretless}");
    let flag = failure(&place.run(&["backup", "--frobnicate", "data"]));
    assert!(flag.contains("usage: holdfast backup"), "{flag}");
    let nothing = failure(&place.run(&["backup", "nothing"]));
    assert!(nothing.contains("nothing"), "{nothing}");
    let pattern = failure(&place.run(&["backup", "data", "--exclude", "[a"]));
    assert!(pattern.contains("[a"), "{pattern}");
    let unknown = failure(&place.run(&["restore", "deadbeef", "x"]));
    assert!(unknown.contains("deadbeef"), "{unknown}");
}

#[test]
fn a_password_file_is_read_and_a_password_never_shown() {
    let place = Place::filled();
    std::fs::write(place.path("password"), "correct horse\n").unwrap();
    let with = |file: &str| place.command(&["snapshots", "--password-file", file]).env_remove("HOLDFAST_PASSWORD").output().unwrap();
    assert!(with("password").status.success());
    assert!(failure(&with("no such file")).contains("no such file"));
    let wrong = place.command(&["snapshots"]).env("HOLDFAST_PASSWORD", "hunter22").output().unwrap();
    assert!(!failure(&wrong).contains("hunter22"));
}

#[test]
fn an_unreachable_backend_is_one_line() {
    let place = Place::new();
    let mut command = place.command(&["--repo", "s3://bucket/prefix", "snapshots"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
    let line = failure(&command.output().unwrap());
    assert!(line.contains("could not be reached") && line.contains("AWS_ENDPOINT_URL"), "{line}");
}

#[test]
fn a_newer_format_is_named() {
    let place = Place::filled();
    let config = place.path("repository/holdfast/v1/config");
    let mut bytes = std::fs::read(&config).unwrap();
    // The version stands after the magic of eight bytes; whatever exactly changes, this is not a repository that we can use.
    for byte in bytes.iter_mut().skip(8).take(2) {
        *byte = byte.wrapping_add(1);
    }
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&config, bytes).unwrap();
    let line = failure(&place.run(&["snapshots"]));
    assert!(line.contains("config"), "{line}");
}

fn unprivileged(command: &mut Command) -> bool {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    command.uid(65_534).gid(65_534);
    true
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn unreadable_files_are_named_and_the_exit_code_is_three() {
    let place = Place::new();
    open_to_all(&place.path(""));
    std::fs::write(place.path("data/readable"), "x").unwrap();
    std::fs::write(place.path("data/secret"), "x").unwrap();
    std::fs::set_permissions(place.path("data/secret"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut init = place.command(&["repo", "init"]);
    let mut backup = place.command(&["backup", "data"]);
    if !(unprivileged(&mut init) && unprivileged(&mut backup)) {
        eprintln!("skipped: needs root");
        return;
    }
    // The binary must be reachable by nobody too.
    match init.output() {
        Ok(output) if output.status.success() => {}
        other => {
            eprintln!("skipped: nobody cannot run the binary here: {other:?}");
            return;
        }
    }
    let output = backup.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("secret"), "{said}");
}

#[test]
fn a_read_only_repository_says_so() {
    let place = Place::filled();
    place.ok(&["backup", "data"]);
    let repository = place.path("repository");
    let target = place.path("restored");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let flags = rustix::mount::MountFlags::RDONLY | rustix::mount::MountFlags::BIND;
    rustix::mount::mount_bind(&repository, &repository).unwrap();
    let read_only = rustix::mount::mount_remount(&repository, flags, c"");
    let backup = place.run(&["backup", "data"]);
    let restore = place.run(&["restore", "latest", "restored"]);
    rustix::mount::unmount(&repository, rustix::mount::UnmountFlags::DETACH).unwrap();
    read_only.unwrap();
    let line = failure(&backup);
    assert!(line.contains("takes no writes"), "{line}");
    assert!(restore.status.success(), "a restore needs no writes: {}", String::from_utf8_lossy(&restore.stderr));
    assert!(target.join("contents/one byte").exists());
}

#[test]
fn an_interrupt_ends_cleanly() {
    let place = Place::new();
    place.ok(&["repo", "init"]);
    let noise: Vec<u8> = (0..(64 << 20) / 8_u64).flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(17).to_le_bytes()).collect();
    for number in 0..4 {
        std::fs::write(place.path(&format!("data/{number}")), &noise[number..]).unwrap();
    }
    let mut child = place.command(&["backup", "data"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let leases = place.path("repository/holdfast/v1/leases");
    while std::fs::read_dir(&leases).map_or(0, Iterator::count) == 0 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::sleep(std::time::Duration::from_millis(30));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    // The lease has ended: its name stands among the snapshots, as a tombstone.
    assert_eq!(std::fs::read_dir(place.path("repository/holdfast/v1/snapshots")).unwrap().count(), 1);
    assert_eq!(place.json(&["--json", "snapshots"])["snapshots"].as_array().unwrap().len(), 0);
    place.ok(&["backup", "data"]);
}

#[test]
fn snapshots_are_forgotten_by_name_and_by_policy() {
    let place = Place::new();
    place.ok(&["repo", "init"]);
    let mut ids = Vec::new();
    for turn in 0..4 {
        std::fs::write(place.path("data/file"), turn.to_string()).unwrap();
        ids.push(place.json(&["--json", "backup", "data"])["snapshot"].as_str().unwrap().to_owned());
    }
    let left = |place: &Place| -> Vec<String> {
        let listed = place.json(&["--json", "snapshots"]);
        listed["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(failure(&place.run(&["forget"])).contains("--keep-daily"));
    assert!(place.run(&["forget", &ids[0], "--keep-last", "1"]).status.code() == Some(1), "either names or a policy");
    assert_eq!(place.json(&["--json", "forget", &ids[1]])["forgotten"], 1);
    assert_eq!(left(&place), [ids[0].clone(), ids[2].clone(), ids[3].clone()]);
    assert!(failure(&place.run(&["forget", &ids[1]])).contains(&ids[1]));

    assert_eq!(place.json(&["--json", "forget", "--keep-last", "1", "--dry-run"])["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(left(&place).len(), 3, "a dry run forgets nothing");
    assert_eq!(place.json(&["--json", "forget", "--keep-last", "1"])["forgotten"], 2);
    assert_eq!(left(&place), [ids[3].clone()]);
    place.ok(&["restore", "latest", "back"]);
    assert_eq!(std::fs::read(place.path("back/file")).unwrap(), b"3");
    place.ok(&["check", "--read-data"]);
}

#[test]
fn passwords_come_and_go_and_one_always_opens() {
    let place = Place::new();
    place.ok(&["repo", "init"]);
    let with = |password: &str, arguments: &[&str]| place.command(arguments).env("HOLDFAST_PASSWORD", password).env("HOLDFAST_NEW_PASSWORD", "second").output().unwrap();
    let ids = |password: &str| -> Vec<String> {
        let output = with(password, &["--json", "key", "list"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        listed["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = ids("correct horse").remove(0);
    assert!(failure(&place.run(&["key", "add"])).contains("HOLDFAST_NEW_PASSWORD"));
    assert!(failure(&with("correct horse", &["key", "remove", &first])).contains("another password"));
    assert!(failure(&with("correct horse", &["key", "remove", "x"])).contains("key list"));

    assert!(with("correct horse", &["key", "add"]).status.success());
    assert_eq!(ids("second").len(), 2);
    assert!(with("second", &["key", "remove", &first]).status.success());
    assert!(failure(&with("correct horse", &["snapshots"])).contains("password"));
    assert!(with("second", &["snapshots"]).status.success());

    let output = place.command(&["key", "passwd"]).env("HOLDFAST_PASSWORD", "second").env("HOLDFAST_NEW_PASSWORD", "third").output().unwrap();
    assert!(output.status.success());
    assert!(!with("second", &["snapshots"]).status.success());
    assert_eq!(ids("third").len(), 1);
}
