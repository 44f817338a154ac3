//! From a Function and what it is used for to the pod that does it: parameters, variables, volumes and settings put together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, PodSpec, Volume, VolumeMount};
use serde_json::json;
use thiserror::Error;

use super::Function;
use super::settings::{self, harden, lay_over, merge};
use super::variables::{DB_VERSION, Fill, Variables, escaped};
use super::version::nearest;
use crate::addon::{Task, VolumeTemplate};
use crate::addon_info::{AddonInfo, AddonVolume, TaskReference};
use crate::offshoot::volume::{self, VolumeSource};
use crate::offshoot::{ContainerRuntimeSettings, PodRuntimeSettings, PodTemplateSpec, RuntimeSettings};

/// The container that does the work.
pub const CONTAINER: &str = "function";
/// Scratch space that KubeStash's functions find in every pod.
const TMP_VOLUME: &str = "kubestash-tmp-volume";
const TMP_PATH: &str = "/kubestash-tmp";
/// What addons call the volumes that a user may replace, where their templates leave the name open.
const VOLUME_NAMES: [(&str, &str); 2] = [("RESTIC_CACHE_VOLUME", TMP_VOLUME), ("INTERIM_VOLUME", "kubestash-interim-volume")];
/// Problems that are told of at once.
const PROBLEMS_MAX: usize = 10;
/// Labels and annotations that are ours to set.
const OURS: &str = "holdfast.dev/";

/// What a Function is used for: everything about its pod that it does not say itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Use {
    /// What `${name}` stands for in the Function, and in [`Part`]s that are templates.
    pub variables: Variables,
    /// Run instead of the Function's own command and arguments, word for word; empty to run those.
    pub command: Vec<String>,
    /// What is added to its environment and its volumes; of two with one name the later counts.
    pub parts: Vec<Part>,
    /// Volumes of an addon's task.
    pub task_volumes: Vec<VolumeTemplate>,
    /// What replaces them.
    pub addon_volumes: Vec<AddonVolume>,
    /// Settings of the container, over the Function's own.
    pub container: Option<ContainerRuntimeSettings>,
    /// Settings of the pod.
    pub pod: Option<PodRuntimeSettings>,
    /// Settings of both, over the others.
    pub template: Option<PodTemplateSpec>,
}

/// Environment and volumes from one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The field that it stands in, for messages.
    pub field: String,
    /// Whether `${name}` in its strings is a variable. What users write for one pod only is taken as it stands.
    pub is_template: bool,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Volumes of the pod.
    pub volumes: Vec<volume::Volume>,
    /// Mounts of the container.
    pub volume_mounts: Vec<VolumeMount>,
}

/// A pod, but for its name and its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionPod {
    /// Labels that were asked for.
    pub labels: BTreeMap<String, String>,
    /// Annotations that were asked for.
    pub annotations: BTreeMap<String, String>,
    /// The pod.
    pub spec: PodSpec,
}

/// Why a Function cannot run: all of it, so that a user mends it in one go.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Function {function}: {}", problems.join("; "))]
pub struct FunctionError {
    /// Name of the Function.
    pub function: String,
    /// Each with its field.
    pub problems: Vec<String>,
}

impl Use {
    /// Of a task of an addon: its volumes and mounts, its parameters over `variables`, and the session's own settings.
    ///
    /// `parameters` are those that [`Task::parameters`] has checked.
    pub fn of_task(mut variables: Variables, task: &Task, parameters: BTreeMap<String, String>, reference: &TaskReference, info: &AddonInfo) -> Self {
        for (name, volume) in VOLUME_NAMES {
            variables.set(name, volume);
        }
        parameters.into_iter().for_each(|(name, value)| variables.set(&name, value));
        variables.add(&reference.variables);
        let of_task = Part {
            field: "task.volumeMounts".to_owned(),
            is_template: true,
            volume_mounts: task.volume_mounts.clone(),
            ..Part::default()
        };
        let targets = reference.target_volumes.as_ref();
        let of_user = Part {
            field: "targetVolumes".to_owned(),
            volumes: targets.map(|targets| targets.volumes.clone()).unwrap_or_default(),
            volume_mounts: targets.map(|targets| targets.volume_mounts.clone()).unwrap_or_default(),
            ..Part::default()
        };
        Self {
            variables,
            parts: vec![of_task, of_user],
            task_volumes: task.volume_template.clone(),
            addon_volumes: reference.addon_volumes.clone(),
            container: info.container_runtime_settings.clone(),
            template: info.job_template.clone(),
            ..Self::default()
        }
    }

    /// With the settings that hooks and verifiers have.
    pub fn with_settings(self, settings: Option<&RuntimeSettings>) -> Self {
        let settings = settings.cloned().unwrap_or_default();
        Self { container: settings.container, pod: settings.pod, ..self }
    }
}

impl Function {
    /// The pod that does what this Function is used for.
    pub fn pod(&self, wanted: &Use) -> Result<FunctionPod, FunctionError> {
        let mut variables = wanted.variables.clone();
        let version = wanted.variables.get(DB_VERSION).and_then(|version| nearest(version, &self.spec.available_versions));
        if let Some(version) = version {
            variables.set(DB_VERSION, version);
        }
        let mut assembly = Assembly { fill: Fill::new(&variables), volumes: Vec::new(), mounts: Vec::new(), env: Vec::new() };
        let pod = assembly.pod(self, wanted);
        let (needed, mut problems) = assembly.fill.finish();
        if problems.is_empty() {
            return Ok(with_environment(pod, needed));
        }
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        Err(FunctionError { function: self.metadata.name.clone().unwrap_or_default(), problems })
    }
}

/// Variables that others refer to come first: a kubelet knows only those before.
fn with_environment(mut pod: FunctionPod, needed: Vec<EnvVar>) -> FunctionPod {
    for container in pod.spec.containers.iter_mut().filter(|_| !needed.is_empty()) {
        let others = container.env.take().unwrap_or_default();
        let others = others.into_iter().filter(|other| needed.iter().all(|needed| needed.name != other.name));
        container.env = Some(needed.iter().cloned().chain(others).collect());
    }
    pod
}

struct Assembly<'a> {
    fill: Fill<'a>,
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
    env: Vec<EnvVar>,
}

impl Assembly<'_> {
    fn pod(&mut self, function: &Function, wanted: &Use) -> FunctionPod {
        let spec = &function.spec;
        let image = self.fill.text("spec.image", spec.image.as_deref().unwrap_or_default());
        if spec.image.as_deref().unwrap_or_default().trim().is_empty() {
            self.fill.problem("spec.image", "it names no image to run");
        }
        let (command, mut args) = self.command(function, &wanted.command);
        let mut container = self.settings(function, wanted);
        self.mounts = self.fill.object("spec.volumeMounts", &spec.volume_mounts).unwrap_or_default();
        self.task_volumes(wanted);
        wanted.parts.iter().for_each(|part| self.part(part));
        if let Some(template) = wanted.template.as_ref().and_then(|template| template.spec.as_ref()) {
            args.extend(template.args.iter().cloned());
            let part = Part {
                field: "jobTemplate.spec".to_owned(),
                volumes: template.volumes.clone(),
                volume_mounts: template.volume_mounts.clone(),
                ..Part::default()
            };
            self.part(&part);
        }
        self.scratch_space();
        self.mounts_have_volumes();
        merge(&mut self.env, &container.env, |variable| &variable.name);
        let niceness = settings::niceness(&container);
        merge(&mut self.env, &niceness, |variable| &variable.name);
        let working_dir = spec.working_dir.as_ref().map(|directory| self.fill.text("spec.workingDir", directory));
        let mut pod = self.pod_settings(wanted);
        pod.spec.containers = vec![Container {
            name: CONTAINER.to_owned(),
            image: Some(image),
            command: some(command),
            args: some(args),
            working_dir,
            ports: some(self.fill.object("spec.ports", &spec.ports).unwrap_or_default()),
            volume_devices: some(self.fill.object("spec.volumeDevices", &spec.volume_devices).unwrap_or_default()),
            volume_mounts: some(std::mem::take(&mut self.mounts)),
            env: some(std::mem::take(&mut self.env)),
            env_from: some(std::mem::take(&mut container.env_from)),
            resources: container.resources,
            lifecycle: container.lifecycle,
            liveness_probe: container.liveness_probe,
            readiness_probe: container.readiness_probe,
            security_context: container.security_context,
            // What it says last is how one learns why it failed.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }];
        pod.spec.volumes = some(std::mem::take(&mut self.volumes));
        harden(&mut pod.spec);
        pod
    }

    fn command(&mut self, function: &Function, instead: &[String]) -> (Vec<String>, Vec<String>) {
        if instead.is_empty() {
            return (self.fill.words("spec.command", &function.spec.command), self.fill.words("spec.args", &function.spec.args));
        }
        (instead.iter().map(|word| escaped(word)).collect(), Vec::new())
    }

    /// The Function's own settings, and over them those of the session.
    fn settings(&mut self, function: &Function, wanted: &Use) -> ContainerRuntimeSettings {
        let own = function.spec.runtime_settings.clone().unwrap_or_default();
        let env = self.fill.environment("spec.runtimeSettings.env", &own.env);
        let own = self.fill.object("spec.runtimeSettings", &ContainerRuntimeSettings { env: Vec::new(), ..own });
        let mut settings = ContainerRuntimeSettings { env, ..own.unwrap_or_default() };
        if let Some(template) = &wanted.template {
            lay_over(&mut settings, &settings::of_container(template));
        }
        if let Some(more) = &wanted.container {
            lay_over(&mut settings, more);
        }
        settings
    }

    fn pod_settings(&mut self, wanted: &Use) -> FunctionPod {
        let mut pod = FunctionPod::default();
        if let Some(settings) = &wanted.pod {
            pod.spec = settings::runtime(settings);
            pod.labels.extend(theirs(&settings.pod_labels));
            pod.annotations.extend(theirs(&settings.pod_annotations));
        }
        if let Some(template) = &wanted.template {
            pod.spec = settings::template(template);
            let metadata = template.metadata.clone().unwrap_or_default();
            pod.labels.extend(theirs(&metadata.labels));
            pod.annotations.extend(theirs(&metadata.annotations));
        }
        pod
    }

    fn part(&mut self, part: &Part) {
        let field = &part.field;
        let mut part = part.clone();
        if part.is_template {
            part.env = self.fill.environment(&format!("{field}.env"), &part.env);
            part.volumes = self.fill.object(&format!("{field}.volumes"), &part.volumes).unwrap_or_default();
            part.volume_mounts = self.fill.object(&format!("{field}.volumeMounts"), &part.volume_mounts).unwrap_or_default();
        }
        for volume in &part.volumes {
            self.volume(&format!("{field}.volumes"), &volume.name, &volume.source);
        }
        merge(&mut self.env, &part.env, |variable| &variable.name);
        merge(&mut self.mounts, &part.volume_mounts, |mount| &mount.mount_path);
    }

    /// The volumes of a task, each from the source that its user gives instead, if any. Names are compared once they are filled in.
    fn task_volumes(&mut self, wanted: &Use) {
        let templates = self.fill.object("task.volumeTemplate", &wanted.task_volumes).unwrap_or_default();
        let given = self.fill.object("addonVolumes", &wanted.addon_volumes).unwrap_or_default();
        for template in &templates {
            let name = template.name.clone().unwrap_or_default();
            let replaced = given.iter().find(|given| given.name.as_ref() == Some(&name)).and_then(|given| given.source.as_ref());
            let Some(source) = replaced.or(template.source.as_ref()) else {
                self.fill.problem("task.volumeTemplate", format!("volume {name:?} has no source"));
                continue;
            };
            match &source.volume_claim_template {
                None => self.volume("task.volumeTemplate", &name, &source.source),
                // It lives as long as the pod.
                Some(template) => {
                    let ephemeral = volume::EphemeralVolumeSource { volume_claim_template: Some(template.clone()) };
                    let source = VolumeSource { ephemeral: Some(ephemeral), ..source.source.clone() };
                    self.volume("task.volumeTemplate", &name, &source);
                }
            }
        }
        let unknown = |given: &&AddonVolume| templates.iter().all(|template| template.name != given.name);
        if let Some(unknown) = given.iter().find(unknown) {
            self.fill.problem("addonVolumes", format!("the task has no volume {:?}", unknown.name.as_deref().unwrap_or_default()));
        }
    }

    /// A volume of the pod; the fields of its source are Kubernetes' own.
    fn volume(&mut self, field: &str, name: &str, source: &VolumeSource) {
        let volume = serde_json::to_value(source).and_then(|mut volume| {
            volume["name"] = json!(name);
            serde_json::from_value::<Volume>(volume)
        });
        match volume {
            Ok(volume) => merge(&mut self.volumes, &[volume], |volume| &volume.name),
            Err(error) => self.fill.problem(field, error),
        }
    }

    fn scratch_space(&mut self) {
        if self.mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == TMP_PATH) {
            return;
        }
        if self.volumes.iter().all(|volume| volume.name != TMP_VOLUME) {
            let empty = Some(EmptyDirVolumeSource::default());
            self.volumes.push(Volume { name: TMP_VOLUME.to_owned(), empty_dir: empty, ..Volume::default() });
        }
        self.mounts.push(VolumeMount { name: TMP_VOLUME.to_owned(), mount_path: TMP_PATH.to_owned(), ..VolumeMount::default() });
    }

    fn mounts_have_volumes(&mut self) {
        let known: BTreeSet<&str> = self.volumes.iter().map(|volume| volume.name.as_str()).collect();
        let missing = self.mounts.iter().filter(|mount| !known.contains(mount.name.as_str()));
        let say = |mount: &VolumeMount| format!("{} names volume {:?}, which the pod has not", mount.mount_path, mount.name);
        let missing: Vec<String> = missing.map(say).collect();
        missing.iter().for_each(|missing| self.fill.problem("volumeMounts", missing));
    }
}

/// Labels and annotations as they are asked for, but for those that say what we think of a pod.
fn theirs(asked: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    asked.iter().filter(|(name, _)| !name.starts_with(OURS)).map(|(name, value)| (name.clone(), value.clone()))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests;
