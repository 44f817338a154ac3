//! From a plan's wish to a hook that runs: its template and pods are looked up, the template's usage policy is asked again.

use holdfast_api::HookTemplate;
use holdfast_api::hook::HookInfo;
use holdfast_api::usage_policy::{Namespace, UsagePolicy};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::HookId;
use super::resolve::{Around, Concrete, resolve};
use super::summary::Summary;
use crate::context::{Context, Subject};

/// Pods of a namespace that are looked at for one hook.
const PODS_MAX: u32 = 5_000;

/// One hook that is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which one.
    pub id: HookId,
    /// The hook.
    pub hook: HookInfo,
    /// Namespace of the object with the hook.
    pub namespace: String,
    /// Namespace of the target, whose pods the executor selects among.
    pub target_namespace: String,
    /// What templates speak of.
    pub summary: Summary,
}

impl Call {
    /// The hook made concrete, or why it cannot be done; an error if the API server could not be asked.
    pub async fn prepare(&self, context: &Context, session: &Subject) -> Result<Result<Concrete, String>, kube::Error> {
        let Some(reference) = &self.hook.hook_template else { return Ok(Err("it names no HookTemplate".to_owned())) };
        let owner = reference.namespace_or(&self.namespace);
        let templates: Api<HookTemplate> = Api::namespaced(context.client.clone(), owner);
        let Some(template) = templates.get_opt(&reference.name).await? else {
            return Ok(Err(format!("HookTemplate {owner}/{} does not exist", reference.name)));
        };
        if owner != self.namespace {
            let labels = context.namespace_labels(&self.namespace).await?;
            let default = UsagePolicy::same_namespace();
            let policy = template.spec.usage_policy.as_ref().unwrap_or(&default);
            if !policy.allows(owner, Namespace { name: &self.namespace, labels: &labels }) {
                return Ok(Err(format!("the usagePolicy of HookTemplate {owner}/{} does not allow this namespace", template.name_any())));
            }
        }
        let executor = template.spec.executor.as_ref().and_then(|executor| executor.pod.as_ref());
        let pods = match executor {
            Some(executor) => {
                let mut wanted = ListParams::default().limit(PODS_MAX);
                if let Some(selector) = executor.selector.as_deref().filter(|selector| !selector.trim().is_empty()) {
                    wanted = wanted.labels(selector);
                }
                let pods: Api<Pod> = Api::namespaced(context.client.clone(), &self.target_namespace);
                pods.list(&wanted).await?.items
            }
            None => Vec::new(),
        };
        let around = Around {
            target_namespace: &self.target_namespace,
            pods: &pods,
            summary: &self.summary,
            owner: &session.as_owner(),
            run_id: self.id.run_id(),
        };
        Ok(resolve(&self.hook, &template.spec, &around))
    }
}
