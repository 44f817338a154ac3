//! From a session's addon to what is to be done: which paths, what is left out.

use std::collections::BTreeMap;

use holdfast_api::addon::Task;
use holdfast_api::addon::parameters::{comma_separated, name};
use holdfast_api::addon::tasks::{TaskPurpose, canonical_name};
use holdfast_api::addon_info::{AddonInfo, TaskReference};
use holdfast_api::function::AgentTask;
use holdfast_api::names::component;
use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};
use serde_json::Value;

use crate::catalog::{Catalog, Doer};
use crate::manifests::identity::DEFAULT;
use crate::manifests::{Choice, Identity};
use crate::manifests::selection::{Selection, mappings, name as manifest, truth};
use crate::target::CLAIM_PATH;

pub mod pod;

use pod::PodTask;

/// A restore into claims of its own.
const CLONE_TASK: &str = "volume-clone";

/// What one run does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// Its tasks, in the order in which a restore does them. None is the same as one for volumes.
    pub tasks: Vec<Step>,
    /// What it does with manifests, if one of its tasks is about them.
    pub manifests: Manifests,
    /// Paths in the application's container.
    pub paths: Vec<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Patterns of what is brought back; all if there is none.
    pub include: Vec<String>,
    /// Whose eyes and hands the worker has.
    pub run_as: RunAs,
    /// Claims to make and to restore into, instead of the target's: one for each path of a component, in their order.
    pub claim_templates: Vec<holdfast_api::offshoot::volume::PersistentVolumeClaim>,
}

/// One task, by who does it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Our agents.
    Agents(AgentTask),
    /// A pod of its Function's.
    Pod(Box<PodTask>),
}

/// What a task for manifests is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The ServiceAccount, of the namespace of whoever asks.
    pub account: String,
    /// Which objects, and how.
    pub choice: Choice,
}

impl Job {
    fn of_agents(&self) -> impl Iterator<Item = AgentTask> {
        self.tasks.iter().filter_map(|step| match step {
            Step::Agents(task) => Some(*task),
            Step::Pod(_) => None,
        })
    }

    /// Its tasks that pods do.
    pub fn pods(&self) -> impl Iterator<Item = &PodTask> {
        self.tasks.iter().filter_map(|step| match step {
            Step::Agents(_) => None,
            Step::Pod(task) => Some(task.as_ref()),
        })
    }

    /// The task of this component, if a pod does it.
    pub fn pod(&self, name: &str) -> Option<&PodTask> {
        self.pods().find(|task| task.component == name)
    }

    /// Whether pods do any of it.
    pub fn has_pods(&self) -> bool {
        self.pods().next().is_some()
    }

    /// Whether it does anything with volumes.
    pub fn has_volumes(&self) -> bool {
        self.tasks.is_empty() || self.of_agents().any(|task| !task.is_of_manifests())
    }

    /// Whether it does anything with manifests.
    pub fn has_manifests(&self) -> bool {
        self.of_agents().any(AgentTask::is_of_manifests)
    }

    /// Whether it does anything with objects of the cluster, which belong to no target.
    pub fn is_of_the_cluster(&self) -> bool {
        self.of_agents().any(AgentTask::is_of_the_cluster)
    }

    /// Whether a target is looked at for it: pods, and manifests of the cluster, need none that we understand.
    pub fn reads_target(&self) -> bool {
        self.tasks.is_empty() || self.of_agents().any(|task| !task.is_of_the_cluster())
    }

    /// Whether its target may be made by itself.
    pub fn begins_with_manifests(&self) -> bool {
        matches!(self.tasks.first(), Some(Step::Agents(task)) if task.is_of_manifests())
    }

    /// When the turn of a component is: that of its task.
    pub fn turn(&self, name: &str) -> usize {
        let is_a_pods = self.pod(name).is_some();
        let is_its = |step: &Step| match step {
            Step::Pod(task) => task.component == name,
            Step::Agents(task) => !is_a_pods && task.is_of_manifests() == (name == component::MANIFEST),
        };
        self.tasks.iter().position(is_its).unwrap_or(0)
    }
}

impl Manifests {
    /// As whom objects are read or made for somebody in `namespace`.
    pub fn identity(&self, namespace: &str) -> Result<Identity, String> {
        Identity::new(namespace, &self.account).ok_or_else(|| format!("{:?} is no name of a ServiceAccount", self.account))
    }

    fn of(task: AgentTask, info: &AddonInfo, parameters: &BTreeMap<String, String>) -> Result<Self, String> {
        let account = info.job_template.as_ref().and_then(|template| template.spec.as_ref()).and_then(|spec| spec.service_account_name.clone());
        let is_of_the_cluster = task.is_of_the_cluster();
        let overrides = if is_of_the_cluster { manifest::OVERRIDES } else { manifest::WORKLOAD_OVERRIDES };
        let choice = Choice {
            selection: if is_of_the_cluster { Selection::of(parameters)? } else { Selection::everything() },
            // A cluster's are taken like all other objects.
            rbac: is_of_the_cluster || truth(parameters, manifest::RBAC)?,
            overrides: truth(parameters, overrides)?,
            volumes: truth(parameters, manifest::VOLUMES)?,
            storage_classes: mappings(parameters)?,
        };
        Ok(Self { account: account.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT.to_owned()), choice })
    }
}

/// User and group of the worker, where the addon's pod would have had others than root: servers that look at ids (NFS with
/// `root_squash`) let no other in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub user: Option<i64>,
    /// Group id.
    pub group: Option<i64>,
}

impl RunAs {
    /// As a kubelet decides it: the container's own context before the pod's; a volume's group is the pod's `fsGroup`.
    fn of(info: &AddonInfo) -> Self {
        let pod: Option<&PodSecurityContext> =
            info.job_template.as_ref().and_then(|template| template.spec.as_ref()).and_then(|spec| spec.security_context.as_ref());
        let container: Option<&SecurityContext> =
            info.container_runtime_settings.as_ref().and_then(|settings| settings.security_context.as_ref());
        let user = container.and_then(|context| context.run_as_user).or_else(|| pod.and_then(|context| context.run_as_user));
        let group = pod
            .and_then(|context| context.fs_group)
            .or_else(|| container.and_then(|context| context.run_as_group))
            .or_else(|| pod.and_then(|context| context.run_as_group));
        Self { user, group }
    }

    /// As a task carries them: -1 is the agent's own.
    pub fn ids(self) -> (i64, i64) {
        (self.user.unwrap_or(-1), self.group.unwrap_or(-1))
    }
}

/// What an addon says is to be backed up.
pub fn backup(addon: Option<&AddonInfo>, catalog: &Catalog) -> Result<Job, String> {
    job(TaskPurpose::Backup, addon, catalog)
}

/// What an addon says is to be restored.
pub fn restore(addon: Option<&AddonInfo>, catalog: &Catalog) -> Result<Job, String> {
    job(TaskPurpose::Restore, addon, catalog)
}

/// Whether what is wrong with a job may heal by itself: what is not there yet may come.
pub fn may_come(problem: &str) -> bool {
    problem.ends_with("does not exist")
}

/// What of a backup this version cannot do, if anything. A missing Addon or Function is not that.
pub fn unsupported_backup(addon: Option<&AddonInfo>, catalog: &Catalog) -> Option<String> {
    backup(Some(addon?), catalog).err().filter(|problem| !may_come(problem))
}

fn unsupported_volumes(purpose: TaskPurpose, task: &TaskReference) -> Option<String> {
    let volumes = task.target_volumes.as_ref();
    if volumes.is_some_and(|volumes| purpose == TaskPurpose::Backup || !volumes.volumes.is_empty() || !volumes.volume_mounts.is_empty()) {
        return Some("of targetVolumes only the volumeClaimTemplates of a restore are supported yet".into());
    }
    let makes_none = volumes.is_none_or(|volumes| volumes.volume_claim_templates.is_empty());
    let clones = canonical_name(task.name.as_deref().unwrap_or_default()) == CLONE_TASK;
    (clones && makes_none).then(|| format!("task {CLONE_TASK} needs targetVolumes.volumeClaimTemplates"))
}

fn job(purpose: TaskPurpose, info: Option<&AddonInfo>, catalog: &Catalog) -> Result<Job, String> {
    let info = info.ok_or("no addon is named")?;
    let addon_name = info.name.as_deref().ok_or("no addon is named")?;
    let addon = catalog.addon(addon_name)?;
    let mut job = Job { run_as: RunAs::of(info), ..Job::default() };
    for reference in &info.tasks {
        let task =
            addon.task(purpose, reference.name.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
        let done = match catalog.doer(purpose, task)? {
            Doer::Agents(done) => done,
            Doer::Pod => {
                let parameters = task.parameters(&reference.params).map_err(|error| error.to_string())?;
                job.tasks.push(Step::Pod(Box::new(PodTask::new(task, reference, info, parameters)?)));
                continue;
            }
        };
        if let Some(problem) = unsupported_volumes(purpose, reference) {
            return Err(problem);
        }
        let parameters = task.parameters(&given(task, reference)?).map_err(|error| error.to_string())?;
        if done.is_of_manifests() {
            if job.has_manifests() {
                return Err("of several tasks for manifests nobody can tell which component is whose".into());
            }
            job.manifests = Manifests::of(done, info, &parameters)?;
        }
        job.tasks.push(Step::Agents(done));
        let list = |name: &str| parameters.get(name).map(|text| comma_separated(text)).unwrap_or_default();
        job.paths.extend(list(name::PATHS));
        job.exclude.extend(list(name::EXCLUDE));
        job.include.extend(list(name::INCLUDE));
        job.claim_templates.extend(reference.target_volumes.iter().flat_map(|volumes| volumes.volume_claim_templates.clone()));
    }
    pod::told_apart(&job)?;
    // The pvc-addon has this as its default; an older catalog may lack it.
    if job.paths.is_empty() && addon_name == "pvc-addon" {
        job.paths.push(CLAIM_PATH.to_owned());
    }
    Ok(job)
}

/// What a user gives for a task's parameters. Its `variables` stand over its `params`, as in a Function's pod; those that the task does not
/// declare mean nothing to an agent.
fn given(task: &Task, reference: &TaskReference) -> Result<BTreeMap<String, Value>, String> {
    let mut given = reference.params.clone();
    for variable in reference.variables.iter().filter(|variable| task.parameters.iter().any(|declared| declared.name.as_ref() == Some(&variable.name))) {
        if variable.value_from.is_some() {
            let title = task.name.as_deref().unwrap_or_default();
            return Err(format!("task {title}: variable {} has a valueFrom, which only a container can read; write its value", variable.name));
        }
        given.insert(variable.name.clone(), Value::String(variable.value.clone().unwrap_or_default()));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run_as(info: serde_json::Value) -> (i64, i64) {
        RunAs::of(&serde_json::from_value(info).unwrap()).ids()
    }

    #[test]
    fn variables_stand_over_parameters_where_agents_do_the_task() {
        let task: Task = serde_json::from_value(json!({"name": "logical-backup", "parameters": [
            {"name": "paths", "required": true}, {"name": "exclude", "default": "*.tmp"}, {"name": "scratchDir"}]}))
        .unwrap();
        let parameters = |reference: serde_json::Value| {
            let given = given(&task, &serde_json::from_value(reference).unwrap())?;
            task.parameters(&given).map_err(|error| error.to_string())
        };
        let both = json!({"params": {"paths": "/a", "scratchDir": "/s"}, "variables": [{"name": "paths", "value": "/b"}, {"name": "other", "value": "x"}]});
        let expected = [("exclude", "*.tmp"), ("paths", "/b"), ("scratchDir", "/s")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters(both), Ok(expected.into()));
        let alone = parameters(json!({"variables": [{"name": "paths", "value": "/b"}, {"name": "exclude", "value": "*.log"}]})).unwrap();
        assert_eq!((alone["paths"].as_str(), alone["exclude"].as_str()), ("/b", "*.log"));
        assert!(parameters(json!({"variables": [{"name": "paths"}]})).unwrap_err().contains("missing: paths"), "an empty one is none");
        let hidden = json!({"params": {"paths": "/a"}, "variables": [{"name": "paths", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
        assert!(parameters(hidden).unwrap_err().contains("variable paths has a valueFrom"));
    }

    #[test]
    fn the_worker_has_the_ids_that_the_pod_would_have_had() {
        assert_eq!(run_as(json!({"name": "pvc-addon"})), (-1, -1));
        let pod = json!({"spec": {"securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000}}});
        assert_eq!(run_as(json!({"jobTemplate": pod})), (1000, 2000), "the volume's group before the process's");
        let container = json!({"securityContext": {"runAsUser": 7, "runAsGroup": 8}});
        assert_eq!(run_as(json!({"containerRuntimeSettings": container})), (7, 8));
        assert_eq!(run_as(json!({"containerRuntimeSettings": container, "jobTemplate": pod})), (7, 2000));
    }
}
