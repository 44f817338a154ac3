//! The arrows of the house, as Cargo resolves each crate by itself.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// What `cargo tree` prints for the crate: one `name vVERSION ...` a line, the crate itself first.
fn tree(name: &str, arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "tree",
            "--locked",
            "--package",
            name,
            "--edges=normal",
            "--prefix=none",
            "--no-dedupe",
        ])
        .args(["--target=x86_64-unknown-linux-gnu", "--format={p}"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

fn names(lines: &[String]) -> BTreeSet<&str> {
    lines
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// Members of the workspace, by folder.
fn ours() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .unwrap();
    members
        .trim_matches(['[', ']'])
        .split(',')
        .map(|member| format!("holdfast-{}", member.trim().trim_matches('"').replace('/', "-")))
        .collect()
}

/// Which of our crates each of our crates may need. Arrows point one way.
const ARROWS: [(&str, &[&str]); 10] = [
    ("holdfast-proto", &[]),
    ("holdfast-api", &[]),
    ("holdfast-repository", &[]),
    ("holdfast-mover", &["holdfast-repository"]),
    (
        "holdfast-restic",
        &["holdfast-mover", "holdfast-repository"],
    ),
    (
        "holdfast-agent",
        &[
            "holdfast-mover",
            "holdfast-restic",
            "holdfast-repository",
            "holdfast-proto",
        ],
    ),
    ("holdfast-controller", &["holdfast-api", "holdfast-proto"]),
    ("holdfast-standalone", &["holdfast-api"]),
    ("holdfast-tests", &[]),
    ("holdfast-tests-csi", &[]),
];

#[test]
fn arrows_between_our_crates_point_one_way() {
    let ours = ours();
    for (name, allowed) in ARROWS {
        let all = tree(name, &["--all-features"]);
        let needed: Vec<_> = names(&all)
            .into_iter()
            .filter(|dep| ours.contains(*dep))
            .collect();
        let refused: Vec<_> = needed.iter().filter(|dep| !allowed.contains(dep)).collect();
        assert!(refused.is_empty(), "{name} must not need {refused:?}");
    }
    let described: BTreeSet<_> = ARROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(["holdfast-cli"])
        .map(str::to_owned)
        .collect();
    assert_eq!(ours, described, "a new crate needs its arrows here");
}

#[test]
fn only_those_who_speak_to_kubernetes_have_a_client() {
    for name in [
        "holdfast-proto",
        "holdfast-api",
        "holdfast-repository",
        "holdfast-mover",
        "holdfast-restic",
        "holdfast-agent",
    ] {
        let all = tree(name, &["--all-features"]);
        assert!(
            !names(&all).contains("kube-client"),
            "{name} must not speak to Kubernetes"
        );
    }
    for name in ["holdfast-repository", "holdfast-mover", "holdfast-restic"] {
        let all = tree(name, &["--all-features"]);
        for foreign in ["kube-core", "k8s-openapi", "tonic", "prost"] {
            assert!(
                !names(&all).contains(foreign),
                "{name} must know nothing of {foreign}"
            );
        }
    }
    let controller = tree("holdfast-controller", &[]);
    assert!(
        names(&controller).contains("kube-client"),
        "the check would not see a client"
    );
}

#[test]
fn only_agent_and_mover_touch_the_files_of_volumes() {
    for name in [
        "holdfast-api",
        "holdfast-controller",
        "holdfast-proto",
        "holdfast-standalone",
    ] {
        let direct = tree(name, &["--depth=1"]);
        for file_access in ["nix", "libc", "walkdir", "object_store", "tempfile"] {
            assert!(
                !names(&direct).contains(file_access),
                "{name} must not need {file_access}"
            );
        }
    }
    for folder in ["api", "controller", "proto", "standalone"] {
        for (path, text) in crate::files::texts(&format!("{folder}/src")) {
            for call in ["rustix::fs", "rustix::mount", "read_dir("] {
                assert!(!text.contains(call), "{} calls {call}", path.display());
            }
        }
    }
}

#[test]
fn there_is_one_crypto_provider() {
    for name in ours() {
        let all = tree(&name, &["--all-features"]);
        for refused in ["ring", "openssl", "openssl-sys", "native-tls", "serde_yaml"] {
            assert!(!names(&all).contains(refused), "{name} brings in {refused}");
        }
    }
}

#[test]
fn one_version_of_what_must_be_one() {
    let all: Vec<String> = ours()
        .iter()
        .flat_map(|name| tree(name, &["--all-features"]))
        .collect();
    for name in [
        "kube",
        "kube-client",
        "k8s-openapi",
        "tonic",
        "prost",
        "rustls",
        "aws-lc-rs",
        "tokio",
    ] {
        let versions: BTreeSet<_> = all
            .iter()
            .filter_map(|line| line.split_once(' ').filter(|(found, _)| *found == name))
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

#[test]
fn the_demo_is_left_out_of_what_is_shipped() {
    let shipped = tree("holdfast-cli", &[]);
    assert!(
        !names(&shipped).contains("holdfast-standalone"),
        "the standalone API is in the command as it is shipped"
    );
}
