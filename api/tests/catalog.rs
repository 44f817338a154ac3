//! The catalog in `deploy/catalog`: KubeStash's tasks and parameters, and nothing our types would lose.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expected"
)]

use std::collections::BTreeMap;

use holdfast_api::addon::Task;
use holdfast_api::function::AgentTask;
use holdfast_api::{Addon, Driver, Function};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn documents(file: &str) -> Vec<Value> {
    let path = format!("{}/../deploy/catalog/{file}", env!("CARGO_MANIFEST_DIR"));
    let yaml = std::fs::read_to_string(path).expect("a file of the catalog");
    serde_saphyr::from_multiple(&yaml).expect("YAML")
}

/// Reads an object, and checks that writing it again loses and adds nothing.
fn object<K: DeserializeOwned + Serialize>(document: &Value) -> K {
    let object: K = serde_json::from_value(document.clone()).expect("an object of the kind");
    assert_eq!(serde_json::to_value(&object).expect("JSON"), *document);
    object
}

fn addon(file: &str) -> Addon {
    let documents = documents(file);
    assert_eq!(documents.len(), 1);
    object(&documents[0])
}

fn functions() -> BTreeMap<String, Function> {
    let functions = documents("functions.yaml")
        .iter()
        .map(object::<Function>)
        .collect::<Vec<_>>();
    functions
        .into_iter()
        .map(|function| (function.metadata.name.clone().expect("a name"), function))
        .collect()
}

/// A task in one line: name, function, driver, whether it is a singleton, parameters (`*` required, `=` default).
fn line(task: &Task) -> String {
    let parameters = task.parameters.iter().map(|parameter| {
        let name = parameter.name.as_deref().expect("a name");
        let required = if parameter.required == Some(true) {
            "*"
        } else {
            ""
        };
        let default = parameter
            .default
            .as_ref()
            .map(|default| format!("={default}"))
            .unwrap_or_default();
        format!("{name}{required}{default}")
    });
    format!(
        "{} {} {} {} {}",
        task.name.as_deref().expect("a name"),
        task.function.as_deref().expect("a function"),
        task.driver.as_ref().expect("a driver"),
        if task.singleton == Some(true) {
            "one"
        } else {
            "each"
        },
        parameters.collect::<Vec<_>>().join(" "),
    )
    .trim_end()
    .to_owned()
}

fn lines(tasks: &[Task]) -> Vec<String> {
    tasks.iter().map(line).collect()
}

#[test]
fn the_pvc_addon_has_kubestash_s_tasks() {
    let addon = addon("pvc-addon.yaml");
    assert_eq!(addon.metadata.name.as_deref(), Some("pvc-addon"));
    assert_eq!(
        lines(&addon.spec.backup_tasks),
        [
            "logical-backup pvc-backup Holdfast one paths=/kubestash-data exclude enableCache=true scratchDir=/kubestash-tmp",
            "volume-snapshot volumesnapshot-backup VolumeSnapshotter one volumeSnapshotClassName",
        ]
    );
    assert_eq!(
        lines(&addon.spec.restore_tasks),
        [
            "logical-backup-restore pvc-restore Holdfast one enableCache=true scratchDir=/kubestash-tmp",
            "volume-clone pvc-restore Holdfast each enableCache=true scratchDir=/kubestash-tmp",
            "volume-snapshot-restore volumesnapshot-restore VolumeSnapshotter one",
        ]
    );
}

#[test]
fn the_workload_addon_has_kubestash_s_tasks() {
    let addon = addon("workload-addon.yaml");
    assert_eq!(addon.metadata.name.as_deref(), Some("workload-addon"));
    assert_eq!(
        lines(&addon.spec.backup_tasks),
        [
            "logical-backup workload-backup Holdfast each paths* exclude enableCache=true scratchDir=/kubestash-tmp",
            "volume-snapshot volumesnapshot-backup VolumeSnapshotter one volumeSnapshotClassName",
            "manifest-backup manifest-backup Holdfast one enableCache=true scratchDir=/kubestash-tmp \
             includeRBACResources=false",
        ]
    );
    assert_eq!(
        lines(&addon.spec.restore_tasks),
        [
            "logical-backup-restore workload-restore Holdfast each exclude include enableCache=true \
             scratchDir=/kubestash-tmp",
            "manifest-restore manifest-restore Holdfast one enableCache=true scratchDir=/kubestash-tmp \
             includeRBACResources=false overrideResources=false",
        ]
    );
}

#[test]
fn the_kubedump_addon_has_kubestash_s_tasks() {
    let addon = addon("kubedump-addon.yaml");
    assert_eq!(addon.metadata.name.as_deref(), Some("kubedump-addon"));
    let selection = "ANDedLabelSelectors ORedLabelSelectors IncludeClusterResources=false IncludeNamespaces ExcludeNamespaces \
                     IncludeResources ExcludeResources enableCache=true scratchDir=/kubestash-tmp";
    let backup = format!("manifest-backup kubedump-backup Holdfast one {selection}");
    assert_eq!(lines(&addon.spec.backup_tasks), [backup]);
    let restore = "OverrideResources=false StorageClassMappings RestorePVs=false";
    let restore = format!("manifest-restore kubedump-restore Holdfast one {selection} {restore}");
    assert_eq!(lines(&addon.spec.restore_tasks), [restore]);
}

#[test]
fn every_task_has_its_function_and_a_driver_we_know() {
    let functions = functions();
    for file in ["pvc-addon.yaml", "workload-addon.yaml", "kubedump-addon.yaml"] {
        let addon = addon(file);
        for task in addon
            .spec
            .backup_tasks
            .iter()
            .chain(&addon.spec.restore_tasks)
        {
            let function = task.function.as_deref().expect("a function");
            assert!(functions.contains_key(function), "{file} needs {function}");
            assert!(
                !matches!(task.driver, None | Some(Driver::Other(_))),
                "{file}: {:?}",
                task.driver
            );
            for mount in &task.volume_mounts {
                let volume = task
                    .volume_template
                    .iter()
                    .find(|volume| volume.name.as_deref() == Some(&mount.name));
                assert!(
                    volume.is_some(),
                    "{file}: nothing to mount as {}",
                    mount.name
                );
            }
        }
    }
}

#[test]
fn functions_say_what_agents_do() {
    let functions = functions();
    for (name, task) in [
        ("pvc-backup", Some(AgentTask::Backup)),
        ("workload-backup", Some(AgentTask::Backup)),
        ("pvc-restore", Some(AgentTask::Restore)),
        ("workload-restore", Some(AgentTask::Restore)),
        ("volumesnapshot-backup", None),
        ("manifest-backup", Some(AgentTask::ManifestBackup)),
        ("manifest-restore", Some(AgentTask::ManifestRestore)),
        ("kubedump-backup", Some(AgentTask::ClusterManifestBackup)),
        ("kubedump-restore", Some(AgentTask::ClusterManifestRestore)),
    ] {
        assert_eq!(functions[name].agent_task(), task, "{name}");
        // KubeStash's own function of that name has no annotation, and an image.
        let mut kubestash = functions[name].clone();
        kubestash.metadata.annotations = None;
        kubestash.spec.image = Some("ghcr.io/kubestash/any:v1".into());
        assert_eq!(kubestash.agent_task(), task, "{name}");
    }
    let mut unknown = functions["pvc-backup"].clone();
    unknown
        .metadata
        .annotations
        .as_mut()
        .expect("annotations")
        .insert("holdfast.dev/agent-task".into(), "dance".into());
    assert_eq!(
        unknown.agent_task(),
        None,
        "an annotation we do not know is not guessed at"
    );
}
