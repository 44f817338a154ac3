//! A task whose Function names an image: what the pod that does it is given. KubeStash's contract, with a pod for its Job.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::addon::Task;
use holdfast_api::addon::tasks::canonical_name;
use holdfast_api::addon_info::{AddonInfo, TaskReference};
use holdfast_api::driver::Driver;
use holdfast_api::function::pod::{Part, Use};
use holdfast_api::function::variables::Variables;
use holdfast_api::names::component;
use holdfast_api::{TypedObjectReference, duration};
use k8s_openapi::api::core::v1::EnvVar;

use super::{Job, Step};
use crate::dispatch::task::Wanted;
use crate::function::Run;
use crate::runs::Standing;

/// In the environment of its container: the component that it is to fill.
const COMPONENT_NAME: &str = "COMPONENT_NAME";
/// A variable: the claim that is backed up or restored for itself.
const PVC_NAME: &str = "PVC_NAME";
/// What KubeStash's plugins call what they store, by the task. Any other task's component has the name of the task.
const KNOWN: [(&str, &str); 10] = [
    ("logical-backup", component::DUMP),
    ("logical-backup-restore", component::DUMP),
    ("physical-backup", component::DUMP),
    ("physical-backup-restore", component::DUMP),
    ("manifest-backup", component::MANIFEST),
    ("manifest-restore", component::MANIFEST),
    ("volume-snapshot", component::VOLUME_SNAPSHOT),
    ("volume-snapshot-restore", component::VOLUME_SNAPSHOT),
    ("dashboard-backup", "dashboard"),
    ("dashboard-restore", "dashboard"),
];
/// Components of agents begin so: `dump`, `dump-pod-0`, `dump-<node>`.
const OF_VOLUMES: &str = "dump";
/// How long a pod may take whose session says nothing: one that hangs ends some day.
const TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A component's pod, as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The pod.
    pub run: Run,
    /// How it stands; none that was not begun here.
    pub standing: Option<Standing>,
    /// Of a backup: the Snapshot whose pod is to end before.
    pub before: Option<String>,
}

/// Pods by their components.
pub type Pods = BTreeMap<String, Seen>;

impl Seen {
    /// That it runs, or stays where it has ended.
    pub fn wanted(&self) -> Wanted {
        Wanted::Function(Box::new(self.run.clone()))
    }

    /// Whether it has ended, and nobody has been told yet.
    pub fn has_ended(&self) -> bool {
        matches!(self.standing, Some(Standing::Ended(_)))
    }
}

/// Whether a pod has ended whose component is not written as ended yet. What the pod has written there itself came before its end.
pub fn has_unwritten_end(pods: &Pods, is_written: impl Fn(&str) -> bool) -> bool {
    pods.iter().any(|(component, pod)| pod.has_ended() && !is_written(component))
}

/// How long a pod may take where its session says this.
pub fn timeout(said: Option<&str>) -> Duration {
    said.and_then(|text| duration::parse(text).ok()).map_or(TIMEOUT_MAX, |timeout| timeout.min(TIMEOUT_MAX))
}

/// A task that a pod does.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTask {
    /// Name of the task.
    pub name: String,
    /// The component that it fills.
    pub component: String,
    /// Its Function.
    pub function: String,
    /// The tool that it stores with, as its Addon says.
    pub driver: Option<Driver>,
    task: Task,
    reference: TaskReference,
    info: AddonInfo,
    parameters: BTreeMap<String, String>,
}

impl PodTask {
    /// Of a task with these parameters, which [`Task::parameters`] has checked.
    pub fn new(task: &Task, reference: &TaskReference, info: &AddonInfo, parameters: BTreeMap<String, String>) -> Result<Self, String> {
        let name = task.name.clone().unwrap_or_default();
        if reference.target_volumes.as_ref().is_some_and(|volumes| !volumes.volume_claim_templates.is_empty()) {
            return Err(format!("task {name} is a pod, and of targetVolumes a pod has volumes and volumeMounts, no volumeClaimTemplates"));
        }
        let known = KNOWN.into_iter().find(|(task, _)| *task == canonical_name(&name));
        Ok(Self {
            component: known.map_or(name.clone(), |(_, component)| component.to_owned()),
            name,
            function: task.function.clone().unwrap_or_default(),
            // Nobody else stores as Holdfast does.
            driver: task.driver.clone().filter(|driver| *driver != Driver::Holdfast),
            task: task.clone(),
            reference: reference.clone(),
            info: info.clone(),
            parameters,
        })
    }

    /// What its Function is used for. `known` is what the session fills in, for an object of this namespace.
    pub fn wanted(&self, known: &[(&str, Option<&str>)], target: Option<&TypedObjectReference>, namespace: &str) -> Use {
        let mut variables = Variables::default();
        for (name, value) in known {
            variables.set(name, value.unwrap_or_default());
        }
        variables.set("taskName", &self.name);
        // A claim of another namespace is in no pod of this one.
        let is_claim = |target: &&TypedObjectReference| target.kind.as_deref() == Some("PersistentVolumeClaim") && target.namespace_or(namespace) == namespace;
        if let Some(claim) = target.filter(is_claim) {
            variables.set(PVC_NAME, &claim.name);
        }
        let mut wanted = Use::of_task(variables, &self.task, self.parameters.clone(), &self.reference, &self.info);
        let env = vec![EnvVar { name: COMPONENT_NAME.into(), value: Some(self.component.clone()), value_from: None }];
        wanted.parts.push(Part { field: "component".into(), env, ..Part::default() });
        wanted
    }
}

/// What is wrong where two tasks would fill the same component.
pub(super) fn told_apart(job: &Job) -> Result<(), String> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let is_of_agents = |name: &str| {
        let of_volumes = name.strip_prefix(OF_VOLUMES).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        of_volumes && job.has_volumes() || name == component::MANIFEST && job.has_manifests()
    };
    for step in &job.tasks {
        let Step::Pod(task) = step else { continue };
        let (name, component) = (task.name.as_str(), task.component.as_str());
        if let Some(other) = taken.insert(component, name) {
            return Err(format!("tasks {other} and {name} both fill component {component:?}: only one of them can be in a session"));
        }
        if is_of_agents(component) {
            return Err(format!("task {name} is a pod that fills component {component:?}, as a task of our agents does: give it another name in its Addon"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_api::Function;
    use serde_json::{Value, json};

    use super::super::{Step, backup};
    use super::*;
    use crate::catalog::Catalog;

    /// An addon with a task of our agents' and several of pods.
    fn catalog() -> Catalog {
        let volume = json!([{"name": "scratch", "source": {"emptyDir": {}}}, {"name": "claim", "source": {"persistentVolumeClaim": {"claimName": "${PVC_NAME}"}}}]);
        let task = |name: &str, function: &str, more: Value| {
            let mut task = json!({"name": name, "function": function});
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            task
        };
        let tasks = json!([
            task("files", "files", json!({"parameters": [{"name": "paths", "default": "/data"}]})),
            task("logical-backup", "dump", json!({"driver": "Restic", "parameters": [{"name": "args", "default": ""}, {"name": "db", "required": true}]})),
            task("physical-backup", "dump", json!({"driver": "Restic"})),
            task("copy", "dump", json!({"volumeTemplate": volume, "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}], "driver": "Holdfast"})),
        ]);
        let addon = json!({"metadata": {"name": "db"}, "spec": {"backupTasks": tasks}});
        let files = json!({"metadata": {"name": "files", "annotations": {"holdfast.dev/agent-task": "backup"}}, "spec": {}});
        let mut catalog = Catalog::default();
        catalog.addons.insert("db".into(), Arc::new(serde_json::from_value(addon).unwrap()));
        catalog.functions.insert("files".into(), Arc::new(serde_json::from_value(files).unwrap()));
        catalog.functions.insert("dump".into(), Arc::new(function()));
        catalog
    }

    fn function() -> Function {
        let args = json!(["backup", "--session=${backupSession}", "--args=${args:=none}", "--task=${taskName}", "--claim=${PVC_NAME:=none}"]);
        serde_json::from_value(json!({"metadata": {"name": "dump"}, "spec": {"image": "dump:1", "args": args}})).unwrap()
    }

    fn job(info: Value) -> Result<Job, String> {
        backup(Some(&serde_json::from_value(info).unwrap()), &catalog())
    }

    fn tasks(names: &[&str]) -> Value {
        let tasks: Vec<Value> = names.iter().map(|name| json!({"name": name, "params": {"db": "shop"}})).collect();
        json!({"name": "db", "tasks": tasks})
    }

    #[test]
    fn a_task_is_given_what_kubestash_gives_its_job() {
        let mut info = tasks(&["logical-backup"]);
        info["tasks"][0]["params"] = json!({"db": "shop", "args": "--clean $(TOKEN)"});
        info["jobTemplate"] = json!({"spec": {"serviceAccountName": "dumper"}});
        let job = job(info).unwrap();
        let task = job.pod("dump").unwrap();
        assert_eq!((task.function.as_str(), &task.driver), ("dump", &Some(Driver::Restic)));
        assert!(job.has_pods() && !job.has_volumes() && !job.reads_target());
        let claim = |namespace: &str| TypedObjectReference {
            kind: Some("PersistentVolumeClaim".into()),
            name: "data".into(),
            namespace: Some(namespace.into()),
            ..TypedObjectReference::default()
        };
        let known = [("backupSession", Some("s")), ("namespace", Some("demo"))];
        let args = |target: &TypedObjectReference| {
            let pod = function().pod(&task.wanted(&known, Some(target), "demo")).unwrap().spec;
            assert_eq!(pod.service_account_name.as_deref(), Some("dumper"));
            let env = pod.containers[0].env.clone().unwrap();
            assert!(env.iter().any(|env| env.name == "COMPONENT_NAME" && env.value.as_deref() == Some("dump")), "{env:?}");
            pod.containers[0].args.clone().unwrap()
        };
        assert_eq!(args(&claim("demo")), ["backup", "--session=s", "--args=--clean $$(TOKEN)", "--task=logical-backup", "--claim=data"]);
        assert_eq!(args(&claim("other"))[4], "--claim=none", "no pod of this namespace can mount it");
    }

    #[test]
    fn a_tasks_volumes_are_replaced_by_those_of_the_session() {
        let mut info = tasks(&["copy"]);
        info["tasks"][0]["params"] = json!({});
        info["tasks"][0]["addonVolumes"] = json!([{"name": "scratch", "source": {"persistentVolumeClaim": {"claimName": "mine"}}}]);
        let job = job(info).unwrap();
        let task = job.pod("copy").unwrap();
        assert_eq!(task.driver, None, "nobody else stores as we do");
        let target = TypedObjectReference { kind: Some("PersistentVolumeClaim".into()), name: "data".into(), ..TypedObjectReference::default() };
        let volumes = function().pod(&task.wanted(&[("backupSession", Some("s"))], Some(&target), "demo")).unwrap().spec.volumes.unwrap();
        let claims: Vec<_> = volumes.iter().filter_map(|volume| Some((volume.name.as_str(), volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))).collect();
        assert_eq!(claims, [("scratch", "mine"), ("claim", "data")]);
    }

    #[test]
    fn tasks_of_one_component_are_told_apart_or_refused() {
        let mut mixed = tasks(&["files", "copy"]);
        mixed["tasks"][0]["params"] = json!({});
        mixed["tasks"][1]["params"] = json!({});
        let both = job(mixed).unwrap();
        assert!(both.has_volumes() && both.reads_target() && both.pod("copy").is_some());
        assert!(matches!(both.tasks[..], [Step::Agents(_), Step::Pod(_)]));
        assert_eq!((both.turn("dump"), both.turn("dump-pod-3"), both.turn("copy")), (0, 0, 1));
        for (names, words) in [
            (["logical-backup", "physical-backup"], "both fill component \"dump\""),
            (["files", "logical-backup"], "as a task of our agents does"),
        ] {
            let mut info = tasks(&names);
            for (index, name) in names.iter().enumerate().filter(|(_, name)| **name != "logical-backup") {
                info["tasks"][index] = json!({"name": name});
            }
            let refused = job(info).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        let mut claims = tasks(&["copy"]);
        claims["tasks"][0] = json!({"name": "copy", "targetVolumes": {"volumeClaimTemplates": [{"metadata": {"name": "new"}, "spec": {}}]}});
        assert!(job(claims).unwrap_err().contains("no volumeClaimTemplates"));
    }
}
