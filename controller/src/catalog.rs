//! What there is to choose from: Addons, and the Functions that do their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::addon::Task;
use holdfast_api::addon::tasks::{MANIFEST_BACKUP, MANIFEST_RESTORE, TaskPurpose, is_of_manifests};
use holdfast_api::addon_info::{AddonInfo, TaskReference};
use holdfast_api::function::{AGENT_TASK, AgentTask};
use holdfast_api::{Addon, Function};

use crate::caches::Caches;

/// Addons of our own catalog.
const OURS: [&str; 3] = ["pvc-addon", "workload-addon", "kubedump-addon"];

/// Who does a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doer {
    /// Our agents.
    Agents(AgentTask),
    /// A pod of the image that its Function names.
    Pod,
}

/// Addons and Functions, by their names.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The Addons.
    pub addons: BTreeMap<String, Arc<Addon>>,
    /// The Functions.
    pub functions: BTreeMap<String, Arc<Function>>,
}

impl Catalog {
    /// What there is of what these name.
    pub fn concerning<'a>(caches: &Caches, infos: impl IntoIterator<Item = &'a AddonInfo>) -> Self {
        let mut catalog = Self::default();
        for name in infos.into_iter().filter_map(|info| info.name.as_deref()) {
            let Some(addon) = caches.addons.get("", name) else { continue };
            for task in addon.spec.backup_tasks.iter().chain(&addon.spec.restore_tasks) {
                let function = task.function.as_deref().and_then(|name| Some((name.to_owned(), caches.functions.get("", name)?)));
                catalog.functions.extend(function);
            }
            catalog.addons.insert(name.to_owned(), addon);
        }
        catalog
    }

    /// The Addon of a name.
    pub fn addon(&self, name: &str) -> Result<&Addon, String> {
        self.addons.get(name).map(AsRef::as_ref).ok_or_else(|| format!("Addon {name} does not exist"))
    }

    /// Whether a pod may come to do a task: of all that is not known to be our agents', since an Addon or a Function may come later.
    pub fn may_be_pod(&self, purpose: TaskPurpose, info: &AddonInfo, task: &TaskReference) -> bool {
        let name = info.name.as_deref().unwrap_or_default();
        let Some(addon) = self.addons.get(name) else { return !OURS.contains(&name) };
        let doer = addon.task(purpose, task.name.as_deref().unwrap_or_default()).ok().map(|task| self.doer(purpose, task));
        !matches!(doer, Some(Ok(Doer::Agents(_))))
    }

    /// Who does a task, as its Function says; or why nobody does.
    pub fn doer(&self, purpose: TaskPurpose, task: &Task) -> Result<Doer, String> {
        let title = task.name.as_deref().unwrap_or_default();
        let Some(name) = task.function.as_deref().filter(|name| !name.is_empty()) else {
            return Err(format!("task {title} names no Function"));
        };
        let function = match self.functions.get(name) {
            Some(function) => function.as_ref().clone(),
            // Those of KubeStash's catalog are known by their names alone.
            None => {
                let named = Function::new(name, holdfast_api::function::FunctionSpec::default());
                if named.agent_task().is_none() {
                    return Err(format!("Function {name} does not exist"));
                }
                named
            }
        };
        match function.agent_task() {
            // Who may have what done as which account was asked for by the tasks' names.
            Some(done) if done.is_of_manifests() && !is_of_manifests(title) => {
                Err(format!("task {title}: Function {name} is for tasks that are called {MANIFEST_BACKUP} or {MANIFEST_RESTORE}"))
            }
            Some(done) if done.is_backup() == (purpose == TaskPurpose::Backup) => Ok(Doer::Agents(done)),
            Some(_) => Err(format!("task {title}: Function {name} is for the other way")),
            // Its image is not what its author means to be done.
            None if names_agent_task(&function) => Err(format!("task {title}: what Function {name} stands for is not supported yet")),
            None if function.spec.image.is_some() => Ok(Doer::Pod),
            None => Err(format!("task {title}: Function {name} names no image to run")),
        }
    }
}

fn names_agent_task(function: &Function) -> bool {
    function.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(AGENT_TASK))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn catalog(functions: &[(&str, Value)]) -> Catalog {
        let function = |(name, more): &(&str, Value)| {
            let annotations = more["annotation"].as_str().map(|task| json!({"holdfast.dev/agent-task": task}));
            let object = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"image": more["image"]}});
            ((*name).to_owned(), Arc::new(serde_json::from_value(object).unwrap()))
        };
        Catalog { functions: functions.iter().map(function).collect(), ..Catalog::default() }
    }

    #[test]
    fn a_function_decides_who_does_a_task_whatever_the_task_is_called() {
        let catalog = catalog(&[
            ("custom", json!({"annotation": "backup"})),
            ("dance", json!({"annotation": "dance", "image": "dance:1"})),
            ("empty", json!({})),
            ("later", json!({"annotation": "volume-snapshot"})),
            ("postgres-backup", json!({"image": "postgres-restic-plugin:1"})),
            ("pvc-backup", json!({"image": "ghcr.io/kubestash/pvc:1"})),
        ]);
        let called = |purpose, name: &str, function: &str| {
            let task = json!({"name": name, "function": function});
            catalog.doer(purpose, &serde_json::from_value(task).unwrap())
        };
        let done = |purpose, function: &str| called(purpose, "logical-backup", function);
        assert_eq!(done(TaskPurpose::Backup, "custom"), Ok(Doer::Agents(AgentTask::Backup)));
        assert_eq!(done(TaskPurpose::Backup, "pvc-backup"), Ok(Doer::Agents(AgentTask::Backup)), "KubeStash's own, image or not");
        assert_eq!(done(TaskPurpose::Restore, "pvc-restore"), Ok(Doer::Agents(AgentTask::Restore)), "and without its Function in the cluster");
        assert_eq!(called(TaskPurpose::Backup, "manifest-backup", "kubedump-backup"), Ok(Doer::Agents(AgentTask::ClusterManifestBackup)));
        assert_eq!(called(TaskPurpose::Restore, "manifest-restore", "manifest-restore"), Ok(Doer::Agents(AgentTask::ManifestRestore)));
        assert_eq!(done(TaskPurpose::Backup, "postgres-backup"), Ok(Doer::Pod));
        for (purpose, function, words) in [
            (TaskPurpose::Backup, "empty", "names no image"),
            (TaskPurpose::Backup, "dance", "not supported yet"),
            (TaskPurpose::Backup, "later", "not supported yet"),
            (TaskPurpose::Restore, "custom", "the other way"),
            (TaskPurpose::Backup, "manifest-backup", "for tasks that are called"),
            (TaskPurpose::Backup, "ghost", "Function ghost does not exist"),
            (TaskPurpose::Backup, "", "names no Function"),
        ] {
            let refused = done(purpose, function).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn what_is_not_known_to_be_our_agents_may_be_a_pod() {
        let mut catalog = catalog(&[("files", json!({"annotation": "backup"})), ("dump", json!({"image": "dump:1"}))]);
        let tasks = json!([{"name": "files", "function": "files"}, {"name": "dump", "function": "dump"}, {"name": "later", "function": "ghost"}]);
        let addon = json!({"metadata": {"name": "db"}, "spec": {"backupTasks": tasks}});
        catalog.addons.insert("db".into(), Arc::new(serde_json::from_value(addon).unwrap()));
        let may_be = |addon: &str, task: &str| {
            let info: AddonInfo = serde_json::from_value(json!({"name": addon})).unwrap();
            catalog.may_be_pod(TaskPurpose::Backup, &info, &serde_json::from_value(json!({"name": task})).unwrap())
        };
        assert!(!may_be("db", "files"));
        assert!(may_be("db", "dump") && may_be("db", "later") && may_be("db", "unheard-of") && may_be("later", "files"));
        assert!(!may_be("pvc-addon", "logical-backup"), "ours may come after what names them");
    }
}
