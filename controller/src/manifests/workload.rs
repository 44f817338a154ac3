//! One application: its object, and what its pods need to run.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde_json::Value;

use super::{RBAC, Refused};
use super::identity::DEFAULT;
use super::outflow::Outflow;
use super::read::{Missing, core, each, one, resource};

/// Which application.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) rbac: bool,
}

/// What a pod names.
#[derive(Debug, Default, PartialEq)]
struct Needs {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    claims: BTreeSet<String>,
    account: Option<String>,
}

/// Reads it all.
pub(super) async fn read(client: &kube::Client, workload: &Workload<'_>, out: &mut Outflow) -> Result<(), Refused> {
    let Workload { group, kind, namespace, name, rbac } = *workload;
    let api = match (group, kind) {
        ("apps", "Deployment") => resource("apps", kind, "deployments"),
        ("apps", "StatefulSet") => resource("apps", kind, "statefulsets"),
        ("apps", "DaemonSet") => resource("apps", kind, "daemonsets"),
        ("" | "v1", "PersistentVolumeClaim") => core(kind, "persistentvolumeclaims"),
        _ => return Err(Refused::for_good(format!("manifests of a target of kind {kind} ({group}) are not supported; use kubedump-addon"))),
    };
    let found = one(client, &api, Some(namespace), name, out, Missing::IsFatal).await?.unwrap_or_default();
    one(client, &core("Namespace", "namespaces"), None, namespace, out, Missing::IsFine).await?;
    let Ok(template) = serde_json::from_value::<PodTemplateSpec>(found["spec"]["template"].clone()) else { return Ok(()) };
    let needs = template.spec.as_ref().map(needs).unwrap_or_default();
    let kinds = [
        ("PersistentVolumeClaim", "persistentvolumeclaims", &needs.claims),
        ("ConfigMap", "configmaps", &needs.config_maps),
        ("Secret", "secrets", &needs.secrets),
    ];
    for (kind, plural, names) in kinds {
        for name in names {
            one(client, &core(kind, plural), Some(namespace), name, out, Missing::IsSaid).await?;
        }
    }
    let account = needs.account.as_deref().unwrap_or(DEFAULT);
    if account != DEFAULT {
        one(client, &core("ServiceAccount", "serviceaccounts"), Some(namespace), account, out, Missing::IsSaid).await?;
    }
    let labels = template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    let governing = found["spec"]["serviceName"].as_str().unwrap_or_default();
    each(client, &core("Service", "services"), Some(namespace), None, out, |service| {
        let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty());
        let fits = selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str()));
        fits || (!governing.is_empty() && service["metadata"]["name"] == governing)
    })
    .await?;
    if rbac { rights(client, namespace, account, out).await } else { Ok(()) }
}

/// What the account may do: the bindings that name it, and their roles.
async fn rights(client: &kube::Client, namespace: &str, account: &str, out: &mut Outflow) -> Result<(), Refused> {
    let mut roles = BTreeSet::new();
    let mut names_it = |binding: &Value| {
        let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let within = binding["metadata"]["namespace"].as_str();
        let names_it = subjects.iter().any(|subject| {
            let theirs = subject["namespace"].as_str().or(within);
            subject["kind"] == "ServiceAccount" && subject["name"] == account && theirs == Some(namespace)
        });
        if let (true, Some(kind), Some(name)) = (names_it, binding["roleRef"]["kind"].as_str(), binding["roleRef"]["name"].as_str()) {
            roles.insert((kind.to_owned(), name.to_owned()));
        }
        names_it
    };
    each(client, &resource(RBAC, "RoleBinding", "rolebindings"), Some(namespace), None, out, &mut names_it).await?;
    each(client, &resource(RBAC, "ClusterRoleBinding", "clusterrolebindings"), None, None, out, &mut names_it).await?;
    for (kind, name) in roles {
        let (api, within) = match kind.as_str() {
            "Role" => (resource(RBAC, "Role", "roles"), Some(namespace)),
            _ => (resource(RBAC, "ClusterRole", "clusterroles"), None),
        };
        one(client, &api, within, &name, out, Missing::IsSaid).await?;
    }
    Ok(())
}

fn needs(pod: &PodSpec) -> Needs {
    let mut needs = Needs { account: pod.service_account_name.clone().filter(|name| !name.is_empty()), ..Needs::default() };
    for volume in pod.volumes.iter().flatten() {
        needs.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        needs.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        needs.claims.extend(volume.persistent_volume_claim.iter().map(|source| source.claim_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            needs.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
            needs.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
        }
    }
    needs.secrets.extend(pod.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
    for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
        environment(&mut needs, container);
    }
    for names in [&mut needs.config_maps, &mut needs.secrets, &mut needs.claims] {
        names.remove("");
    }
    needs
}

fn environment(needs: &mut Needs, container: &Container) {
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        needs.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
        needs.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
    }
    for source in container.env_from.iter().flatten() {
        needs.config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
        needs.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_needs_whatever_it_names() {
        let pod = json!({
            "serviceAccountName": "web", "imagePullSecrets": [{"name": "registry"}],
            "volumes": [
                {"name": "a", "configMap": {"name": "conf"}}, {"name": "b", "secret": {"secretName": "tls"}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "d", "emptyDir": {}},
                {"name": "e", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "bit"}}]}},
            ],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "env"}}], "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}}, {"name": "C", "value": "plain"}]}],
        });
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected = Needs {
            config_maps: set(&["conf", "bit", "env", "map"]),
            secrets: set(&["registry", "tls", "part", "init", "key"]),
            claims: set(&["data"]),
            account: Some("web".into()),
        };
        assert_eq!(needs(&serde_json::from_value(pod).unwrap()), expected);
    }
}
