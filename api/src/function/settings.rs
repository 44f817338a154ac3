//! Settings of a Function's pod and of its container: the Function's own, those of a session, and safe ones for what nobody has set.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, EnvVar, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

use crate::offshoot::{ContainerRuntimeSettings, PodRuntimeSettings, PodTemplateSpec};

/// Sets what `more` says over what was said before; environment variables by their names.
pub(super) fn lay_over(settings: &mut ContainerRuntimeSettings, more: &ContainerRuntimeSettings) {
    fn set<T: Clone>(before: &mut Option<T>, more: &Option<T>) {
        if more.is_some() {
            before.clone_from(more);
        }
    }
    set(&mut settings.resources, &more.resources);
    set(&mut settings.liveness_probe, &more.liveness_probe);
    set(&mut settings.readiness_probe, &more.readiness_probe);
    set(&mut settings.lifecycle, &more.lifecycle);
    set(&mut settings.security_context, &more.security_context);
    set(&mut settings.nice, &more.nice);
    set(&mut settings.ionice, &more.ionice);
    settings.env_from.extend(more.env_from.iter().cloned());
    merge(&mut settings.env, &more.env, |variable| &variable.name);
}

/// Adds to a list; what has the name of an earlier one takes its place.
pub(super) fn merge<T: Clone>(list: &mut Vec<T>, more: &[T], name: impl Fn(&T) -> &String) {
    for item in more {
        match list.iter_mut().find(|known| name(known) == name(item)) {
            Some(known) => *known = item.clone(),
            None => list.push(item.clone()),
        }
    }
}

/// What a jobTemplate says of the container.
pub(super) fn of_container(template: &PodTemplateSpec) -> ContainerRuntimeSettings {
    let spec = template.spec.clone().unwrap_or_default();
    ContainerRuntimeSettings {
        resources: spec.resources,
        liveness_probe: spec.liveness_probe,
        readiness_probe: spec.readiness_probe,
        lifecycle: spec.lifecycle,
        security_context: spec.container_security_context,
        env: spec.env,
        ..ContainerRuntimeSettings::default()
    }
}

/// What the niceness of KubeStash's workers is read from.
pub(super) fn niceness(settings: &ContainerRuntimeSettings) -> Vec<EnvVar> {
    let ionice = settings.ionice.as_ref();
    let values = [
        ("NICE_ADJUSTMENT", settings.nice.as_ref().and_then(|nice| nice.adjustment)),
        ("IONICE_CLASS", ionice.and_then(|ionice| ionice.class)),
        ("IONICE_CLASS_DATA", ionice.and_then(|ionice| ionice.class_data)),
    ];
    let set = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value.to_string()), ..EnvVar::default() }).collect()
}

fn list<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn map(items: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!items.is_empty()).then(|| items.clone())
}

/// The pod as `runtimeSettings` have it.
pub(super) fn runtime(settings: &PodRuntimeSettings) -> PodSpec {
    PodSpec {
        node_selector: map(&settings.node_selector),
        service_account_name: settings.service_account_name.clone(),
        automount_service_account_token: settings.automount_service_account_token,
        node_name: settings.node_name.clone(),
        security_context: settings.security_context.clone(),
        image_pull_secrets: list(&settings.image_pull_secrets),
        affinity: settings.affinity.clone(),
        scheduler_name: settings.scheduler_name.clone(),
        tolerations: list(&settings.tolerations),
        priority_class_name: settings.priority_class_name.clone(),
        priority: settings.priority,
        readiness_gates: list(&settings.readiness_gates),
        runtime_class_name: settings.runtime_class_name.clone(),
        enable_service_links: settings.enable_service_links,
        topology_spread_constraints: list(&settings.topology_spread_constraints),
        ..PodSpec::default()
    }
}

/// The pod as a jobTemplate has it.
pub(super) fn template(template: &PodTemplateSpec) -> PodSpec {
    let spec = template.spec.clone().unwrap_or_default();
    PodSpec {
        service_account_name: spec.service_account_name,
        node_selector: map(&spec.node_selector),
        affinity: spec.affinity,
        scheduler_name: spec.scheduler_name,
        tolerations: list(&spec.tolerations),
        image_pull_secrets: list(&spec.image_pull_secrets),
        priority_class_name: spec.priority_class_name,
        priority: spec.priority,
        host_network: spec.host_network,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        share_process_namespace: spec.share_process_namespace,
        security_context: spec.security_context,
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        dns_policy: spec.dns_policy,
        dns_config: spec.dns_config,
        topology_spread_constraints: list(&spec.topology_spread_constraints),
        runtime_class_name: spec.runtime_class_name,
        enable_service_links: spec.enable_service_links,
        init_containers: list(&spec.init_containers),
        ..PodSpec::default()
    }
}

/// Safe values for what nobody has set. A token is mounted only of a ServiceAccount that somebody has named.
pub(super) fn harden(pod: &mut PodSpec) {
    pod.restart_policy = Some("Never".to_owned());
    let has_account = pod.service_account_name.as_deref().is_some_and(|name| !name.is_empty());
    pod.automount_service_account_token = Some(has_account && pod.automount_service_account_token != Some(false));
    pod.enable_service_links.get_or_insert(false);
    let context = pod.security_context.get_or_insert_with(PodSecurityContext::default);
    let default = || SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    context.seccomp_profile.get_or_insert_with(default);
    for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
        harden_container(container.security_context.get_or_insert_default());
    }
}

/// The user stays the image's: many images know only root, and without capabilities that is not much.
fn harden_container(context: &mut SecurityContext) {
    let may_gain = context.privileged == Some(true) || adds_sys_admin(context);
    context.allow_privilege_escalation.get_or_insert(may_gain);
    let none = || Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None };
    if context.privileged != Some(true) {
        context.capabilities.get_or_insert_with(none);
    }
}

/// The API server takes no such container without the privilege to escalate.
fn adds_sys_admin(context: &SecurityContext) -> bool {
    let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    added.into_iter().any(|capability| capability.trim_start_matches("CAP_") == "SYS_ADMIN")
}
