//! The pod that holds claims: it does nothing, may do nothing, and passes the `restricted` profile of the pod security standards.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::{LABEL, Wish};

/// Nobody's, and root's even less.
const USER_ID: i64 = 65_532;

/// What holder pods are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The agent's image: it is on every node already.
    pub name: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
}

impl Wish {
    /// The pod. It sets no fsGroup: a kubelet would change the owner and the time of change of every file.
    pub fn pod(&self, image: &Image) -> Pod {
        let names: Vec<(String, &String)> = self.claims.iter().enumerate().map(|(number, claim)| (format!("claim-{number}"), claim)).collect();
        let volumes = names.iter().map(|(name, claim)| Volume {
            name: name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: (*claim).clone(), read_only: None }),
            ..Volume::default()
        });
        // The agent has its own way to the volume; this container needs none that writes.
        let mounts = names.iter().map(|(name, _)| VolumeMount {
            name: name.clone(),
            mount_path: format!("/held/{name}"),
            read_only: Some(true),
            ..VolumeMount::default()
        });
        let quantity = |text: &str| Quantity(text.to_owned());
        let memory = |text: &str| BTreeMap::from([("memory".to_owned(), quantity(text)), ("cpu".to_owned(), quantity("10m"))]);
        let container = Container {
            name: "holder".into(),
            image: Some(image.name.clone()),
            image_pull_policy: Some(image.pull_policy.clone()),
            args: Some(vec!["hold".into()]),
            volume_mounts: Some(mounts.collect()),
            resources: Some(ResourceRequirements { requests: Some(memory("16Mi")), limits: Some(memory("64Mi")), ..ResourceRequirements::default() }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        };
        let everywhere = || vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }];
        Pod {
            metadata: ObjectMeta {
                name: Some(self.pod_name()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([
                    (LABEL.to_owned(), "true".to_owned()),
                    ("app.kubernetes.io/name".to_owned(), "holdfast".to_owned()),
                    ("app.kubernetes.io/component".to_owned(), "holder".to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: vec![container],
                volumes: Some(volumes.collect()),
                node_selector: self.placement.node_selector.clone(),
                affinity: self.placement.affinity.clone(),
                tolerations: Some(self.placement.tolerations.clone().unwrap_or_else(everywhere)),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                termination_grace_period_seconds: Some(1),
                security_context: Some(PodSecurityContext {
                    run_as_non_root: Some(true),
                    run_as_user: Some(USER_ID),
                    run_as_group: Some(USER_ID),
                    seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
                    ..PodSecurityContext::default()
                }),
                ..PodSpec::default()
            }),
            status: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Placement, Purpose, is_holder};
    use super::*;

    fn wish(claims: &[&str]) -> Wish {
        let claims: BTreeSet<String> = claims.iter().map(|claim| (*claim).to_owned()).collect();
        Wish { namespace: "demo".into(), claims, purpose: Purpose::Backup, placement: Placement::default() }
    }

    #[test]
    fn it_holds_the_claims_and_may_do_nothing() {
        let image = Image { name: "holdfast-agent:1".into(), pull_policy: "IfNotPresent".into() };
        let pod = wish(&["a", "b"]).pod(&image);
        assert!(is_holder(&pod) && pod.metadata.namespace.as_deref() == Some("demo"));
        let spec = pod.spec.unwrap();
        let claims: Vec<_> = spec.volumes.iter().flatten().map(|volume| volume.persistent_volume_claim.as_ref().unwrap().claim_name.as_str()).collect();
        assert_eq!(claims, ["a", "b"]);
        assert_eq!((spec.automount_service_account_token, spec.service_account_name), (Some(false), None));
        let pod_context = spec.security_context.unwrap();
        assert_eq!((pod_context.fs_group, pod_context.run_as_non_root), (None, Some(true)));
        let context = spec.containers[0].security_context.clone().unwrap();
        assert_eq!((context.allow_privilege_escalation, context.read_only_root_filesystem), (Some(false), Some(true)));
        assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
        assert!(spec.containers[0].volume_mounts.iter().flatten().all(|mount| mount.read_only == Some(true)));
    }

    #[test]
    fn the_same_claims_have_one_holder() {
        let restore = Wish { purpose: Purpose::Restore, ..wish(&["b", "a"]) };
        assert_eq!(wish(&["a", "b"]).pod_name(), restore.pod_name());
        assert_ne!(wish(&["a"]).pod_name(), restore.pod_name());
    }
}
