//! Every verb on everything that can be wrong around it: one clear line with the right form, the right exit code, nothing to clean.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast_repository::testing::{Place as FeaturePlace, require};
use holdfast_repository::{Environment, Repository, SecretBytes, store};

use crate::place::{Place, failure, said};

/// What a verb does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It needs no repository of ours.
    Elsewhere,
    /// It looks at what no state describes.
    Looks,
    /// It reads.
    Reads,
    /// It writes.
    Writes,
}

/// One way to call each verb that does work on the repository of [`Place::filled`]. A verb that is missing here fails a test.
const CALLS: [(&[&str], Effect); 24] = [
    (&["repo", "init"], Effect::Looks),
    (&["repo", "info"], Effect::Reads),
    (&["backup", "data"], Effect::Writes),
    (&["snapshots"], Effect::Reads),
    (&["ls", "latest"], Effect::Reads),
    (&["restore", "latest", "restored"], Effect::Reads),
    (&["dump", "latest", "@data/file"], Effect::Reads),
    (&["forget", "--keep-last", "1"], Effect::Writes),
    (&["prune"], Effect::Writes),
    (&["key", "list"], Effect::Looks),
    (&["key", "add"], Effect::Writes),
    (&["key", "remove", "00000000000000000000000000000000"], Effect::Writes),
    (&["key", "passwd"], Effect::Writes),
    (&["check"], Effect::Reads),
    (&["check", "--read-data"], Effect::Reads),
    (&["repair"], Effect::Writes),
    (&["stats"], Effect::Reads),
    (&["cache"], Effect::Looks),
    (&["compare", "data", "data"], Effect::Elsewhere),
    (&["demo"], Effect::Elsewhere),
    (&["takeover"], Effect::Elsewhere),
    // On restic's repositories: `tests/restic.rs`.
    (&["restic", "snapshots"], Effect::Elsewhere),
    (&["restic", "restore", "latest", "restored"], Effect::Elsewhere),
    (&["restic", "dump", "latest", "@data/file"], Effect::Elsewhere),
];

/// The verbs of this binary, from its own help, with those that it hides.
fn verbs(place: &Place) -> Vec<String> {
    let help = place.ok(&["--help"]);
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
    let mut verbs: Vec<String> = commands.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").map(str::to_owned).collect();
    assert!(verbs.len() > 8, "{help}");
    verbs.push("compare".into());
    verbs
}

/// The calls that this binary knows.
fn calls(place: &Place) -> Vec<(&'static [&'static str], Effect)> {
    let verbs = verbs(place);
    for verb in &verbs {
        assert!(CALLS.iter().any(|(call, _)| call[0] == verb), "a new verb: add a call of {verb} to CALLS");
    }
    let is_known = |call: &[&str]| {
        let head: Vec<&str> = call.iter().copied().take_while(|word| !word.starts_with('-')).collect();
        let is_group = matches!(head[0], "repo" | "key") && head.len() > 1;
        let with_help = if is_group { vec![head[0], head[1], "--help"] } else { vec![head[0], "--help"] };
        verbs.iter().any(|verb| verb == call[0]) && place.run(&with_help).status.success()
    };
    CALLS.into_iter().filter(|(call, _)| is_known(call)).collect()
}

pub(crate) fn on_repositories(place: &Place) -> Vec<(&'static [&'static str], Effect)> {
    calls(place).into_iter().filter(|(_, effect)| *effect != Effect::Elsewhere).collect()
}

/// Everything in the repository, by name; the lock-free protocol leaves objects that end what began, so a run may add some.
fn objects(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![place.path("repository")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_wrong_password_is_one_line_and_changes_nothing() {
    let place = Place::filled();
    let before = objects(&place);
    for (call, _) in on_repositories(&place) {
        let output = place.command(call).env("HOLDFAST_PASSWORD", "hunter22").output().unwrap();
        let line = failure(call, &output);
        assert!(line.contains("password") && !line.contains("hunter22"), "{call:?}: {line}");
        let output = place.command(call).env_remove("HOLDFAST_PASSWORD").output().unwrap();
        assert!(failure(call, &output).contains("HOLDFAST_PASSWORD"), "{call:?}");
        let output = place.command(call).env_remove("HOLDFAST_PASSWORD").args(["--password-file", "nowhere"]).output().unwrap();
        assert!(failure(call, &output).contains("nowhere"), "{call:?}");
    }
    assert_eq!(objects(&place), before);
}

#[test]
fn what_is_no_repository_is_one_line_and_stays_none() {
    let place = Place::filled();
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for (call, _) in on_repositories(&place).into_iter().filter(|(call, _)| *call != ["repo", "init"]) {
        for url in [format!("file://{}", empty.display()), format!("file://{}/never/made", empty.display())] {
            let line = failure(call, &place.command(call).env("HOLDFAST_REPO", &url).output().unwrap());
            assert!(line.contains("not a Holdfast repository") && line.contains("repo init"), "{call:?}: {line}");
        }
        for url in ["http://x/y", "s3://", "ftp://bucket/prefix", ""] {
            let line = failure(call, &place.command(call).env("HOLDFAST_REPO", url).output().unwrap());
            assert!(line.contains("file:///path") || line.contains("s3://bucket/prefix"), "{call:?} on {url:?}: {line}");
        }
        let line = failure(call, &place.command(call).env_remove("HOLDFAST_REPO").output().unwrap());
        assert!(line.contains("HOLDFAST_REPO"), "{call:?}: {line}");
    }
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "something was made there");
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let place = Place::filled();
    let config = place.path("repository/holdfast/v1/config");
    let mut bytes = std::fs::read(&config).unwrap();
    bytes[8..10].copy_from_slice(&9_u16.to_le_bytes());
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&config, bytes).unwrap();
    let before = objects(&place);
    for (call, _) in on_repositories(&place) {
        let line = failure(call, &place.run(call));
        assert!(line.contains("format 9"), "{call:?}: {line}");
    }
    assert_eq!(objects(&place), before);
}

/// Two versions on one repository: the older one does what it can do safely, and refuses the rest with the version that is needed.
#[test]
fn an_unknown_feature_stops_what_it_must() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for feature_place in [FeaturePlace::State, FeaturePlace::Config] {
        for need in 0..=2 {
            let place = Place::filled();
            let calls = on_repositories(&place);
            let password = SecretBytes::new(b"correct horse".to_vec());
            let open = Repository::open(store::local(&place.path("repository")).unwrap(), &password, Environment::system());
            let repository = runtime.block_on(open).unwrap();
            runtime.block_on(require(&repository, feature_place, need)).unwrap();
            let before = objects(&place);
            for (call, effect) in calls {
                // It would change the password that the other calls come with.
                if need == 0 && call == ["key", "passwd"] {
                    continue;
                }
                let is_refused = match (effect, need) {
                    (_, 0) => false,
                    (Effect::Writes, _) => true,
                    (Effect::Reads, 2) => true,
                    // What states say is not looked at, what `config` says is.
                    (Effect::Looks, 2) => feature_place == FeaturePlace::Config,
                    _ => false,
                };
                let output = place.run(call);
                let context = format!("{call:?}, need {need} in {feature_place:?}: {}", said(&output));
                if is_refused {
                    let line = failure(call, &output);
                    assert!(line.contains("9.9") && line.contains("future"), "{context}");
                } else if !call.starts_with(&["key", "remove"]) && call != ["cache"] {
                    assert!(output.status.success(), "{context}");
                }
                if need > 0 {
                    assert_eq!(objects(&place), before, "something was written: {context}");
                }
            }
        }
    }
}

#[test]
fn a_wrong_flag_is_one_line_with_the_right_form() {
    let place = Place::ready();
    for verb in verbs(&place) {
        let line = failure(&[&verb], &place.run(&[&verb, "--frobnicate"]));
        assert!(line.contains("--frobnicate") && line.contains(&format!("usage: holdfast {verb}")), "{line}");
    }
    for (call, wanted) in [
        (&["backup"][..], "usage: holdfast backup"),
        (&["restore", "latest"][..], "<TARGET>"),
        (&["restore"][..], "<SNAPSHOT>"),
        (&["ls"][..], "<SNAPSHOT>"),
        (&["repo"][..], "usage: holdfast repo"),
        (&["key"][..], "usage: holdfast key"),
        (&["key", "frobnicate"][..], "usage: holdfast key"),
        (&["forget", "--keep-last", "many"][..], "--keep-last"),
        (&["backup", "data", "--cpus", "0"][..], "--cpus"),
        (&["backup", "data", "--compression", "99"][..], "--compression"),
        (&["--memory", "1MiB", "snapshots"][..], "16MiB"),
        (&["check", "--read-data=0%"][..], "N%"),
        (&["frobnicate"][..], "usage: holdfast"),
    ] {
        let line = failure(call, &place.run(call));
        assert!(line.contains(wanted), "{call:?}: {line}");
    }
}

#[test]
fn a_snapshot_that_is_not_there_is_one_line() {
    let place = Place::filled();
    let empty = Place::ready();
    empty.ok(&["repo", "init"]);
    for (call, _) in on_repositories(&place).into_iter().filter(|(call, _)| call.contains(&"latest")) {
        for name in ["deadbeef", "0000000000000001-00000000000000000000000000000000", "../../etc/passwd", ""] {
            let call: Vec<&str> = call.iter().map(|word| if *word == "latest" { name } else { *word }).collect();
            let line = failure(&call, &place.run(&call));
            assert!(line.contains(name) || line.contains("holdfast snapshots"), "{call:?}: {line}");
        }
        let line = failure(call, &empty.run(call));
        assert!(line.contains("no snapshot") || line.contains("holdfast snapshots"), "{call:?}: {line}");
    }
    let line = failure(&["forget"], &place.run(&["forget", "deadbeef"]));
    assert!(line.contains("deadbeef"), "{line}");
    assert!(!place.path("restored").exists(), "nothing is made for a snapshot that is not there");
}

#[test]
fn a_backend_that_cannot_be_reached_is_one_line_for_every_verb() {
    let place = Place::ready();
    // Reaching is tried again with patience: all at once.
    let began = Instant::now();
    let calls = on_repositories(&place);
    let children: Vec<_> = calls
        .iter()
        .map(|(call, _)| {
            let mut command = place.command(call);
            command.env("HOLDFAST_REPO", "s3://bucket/prefix").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
            command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").env("AWS_ALLOW_HTTP", "true");
            (call, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    for (call, child) in children {
        let line = failure(call, &child.wait_with_output().unwrap());
        assert!(line.contains("could not be reached") && line.contains("AWS_ENDPOINT_URL"), "{call:?}: {line}");
    }
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
}

#[test]
fn a_read_only_repository_is_read_and_takes_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let place = Place::filled();
    let repository = place.path("repository");
    rustix::mount::mount_bind(&repository, &repository).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY | rustix::mount::MountFlags::BIND;
    let read_only = rustix::mount::mount_remount(&repository, flags, c"");
    let outputs: Vec<_> = on_repositories(&place).into_iter().map(|(call, effect)| (call, effect, place.run(call))).collect();
    rustix::mount::unmount(&repository, rustix::mount::UnmountFlags::DETACH).unwrap();
    read_only.unwrap();
    for (call, effect, output) in outputs {
        // A forget that finds nothing to forget, and the removal of a key that is not there, write nothing.
        if effect == Effect::Writes && !matches!(call[0], "forget" | "repair" | "prune") && !call.starts_with(&["key", "remove"]) {
            let line = failure(call, &output);
            assert!(line.contains("takes no writes"), "{call:?}: {line}");
        } else if effect != Effect::Writes && call != ["cache"] {
            assert!(output.status.success(), "{call:?}: {}", said(&output));
        } else {
            assert!(said(&output).lines().count() <= 3, "{call:?}: {}", said(&output));
        }
    }
}
