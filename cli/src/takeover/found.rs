//! What of KubeStash is in a cluster.

use std::fmt;

use holdfast_api::labels;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, TypeMeta};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::asked;
use crate::outcome::Failure;

/// The end of its API groups.
const GROUPS: &str = "kubestash.com";
/// Our own webhooks' Service: they are about the same groups.
const OUR_SERVICE: &str = "holdfast-webhook";
/// Objects that are asked for at once.
const PAGE: u32 = 500;

/// An object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Name {
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        Self { namespace: metadata.namespace.clone().unwrap_or_default(), name: metadata.name.clone().unwrap_or_default() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

pub(super) struct Operator {
    pub(super) name: Name,
    /// How many are wanted.
    pub(super) replicas: i32,
    /// How many there are.
    pub(super) pods: i32,
}

impl Operator {
    pub(super) fn is_wanted(&self) -> bool {
        self.replicas > 0
    }
}

pub(super) struct Scheduled {
    pub(super) name: Name,
    pub(super) is_suspended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WebhookKind {
    Mutating,
    Validating,
}

impl WebhookKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::Mutating => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        }
    }

    /// Those of this kind.
    pub(super) fn all(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// What one of a list does not say itself.
    pub(super) fn types(self) -> TypeMeta {
        let resource = self.resource();
        TypeMeta { api_version: resource.api_version, kind: resource.kind }
    }
}

/// A webhook configuration that is about KubeStash's kinds alone, and not ours.
pub(super) struct Webhooks {
    pub(super) kind: WebhookKind,
    pub(super) name: String,
    /// The object as it is.
    pub(super) object: DynamicObject,
}

/// What both kinds say of one webhook.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    client_config: WebhookClientConfig,
    #[serde(default)]
    rules: Vec<RuleWithOperations>,
}

pub(super) struct Found {
    pub(super) operators: Vec<Operator>,
    pub(super) cron_jobs: Vec<Scheduled>,
    /// Those that run.
    pub(super) jobs: Vec<Name>,
    pub(super) webhooks: Vec<Webhooks>,
}

impl Found {
    pub(super) async fn look(client: &Client) -> Result<Self, Failure> {
        let cron_jobs = cron_jobs(client).await?;
        let jobs = running_jobs(client, &cron_jobs).await?;
        Ok(Self { operators: operators(client).await?, cron_jobs, jobs, webhooks: webhooks(client).await? })
    }

    pub(super) fn is_nothing(&self) -> bool {
        let asleep = |operator: &Operator| !operator.is_wanted() && operator.pods == 0;
        self.operators.iter().all(asleep) && self.cron_jobs.iter().all(|cron_job| cron_job.is_suspended) && self.jobs.is_empty() && self.webhooks.is_empty()
    }
}

pub(super) async fn operators(client: &Client) -> Result<Vec<Operator>, Failure> {
    let all: Api<Deployment> = Api::all(client.clone());
    let found = all.list(&ListParams::default().labels(labels::KUBESTASH_OPERATOR)).await.map_err(asked("the Deployments cannot be listed"))?;
    let operator = |deployment: Deployment| Operator {
        name: Name::of(&deployment.metadata),
        replicas: deployment.spec.as_ref().map_or(0, |spec| spec.replicas.unwrap_or(1)),
        pods: deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
    };
    Ok(found.into_iter().map(operator).collect())
}

async fn cron_jobs(client: &Client) -> Result<Vec<Scheduled>, Failure> {
    let scheduled = |cron_job: CronJob| {
        let is_suspended = cron_job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
        is_theirs(&cron_job.metadata).then(|| Scheduled { name: Name::of(&cron_job.metadata), is_suspended })
    };
    pages(Api::all(client.clone()), "the CronJobs cannot be listed", scheduled).await
}

/// Jobs of KubeStash, also by its CronJobs, that have not ended.
pub(super) async fn running_jobs(client: &Client, cron_jobs: &[Scheduled]) -> Result<Vec<Name>, Failure> {
    let running = |job: Job| {
        let ends = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let has_ended = ends.into_iter().any(|condition| condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed"));
        let is_scheduled = job.owner_references().iter().any(|owner| {
            owner.kind == "CronJob" && cron_jobs.iter().any(|cron_job| cron_job.name.name == owner.name && Some(&cron_job.name.namespace) == job.metadata.namespace.as_ref())
        });
        let is_suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
        (!has_ended && !is_suspended && (is_scheduled || is_theirs(&job.metadata))).then(|| Name::of(&job.metadata))
    };
    pages(Api::all(client.clone()), "the Jobs cannot be listed", running).await
}

/// What `wanted` makes of every object of a kind.
pub(super) async fn pages<K, T>(all: Api<K>, problem: &str, wanted: impl Fn(K) -> Option<T>) -> Result<Vec<T>, Failure>
where
    K: Clone + DeserializeOwned + fmt::Debug,
{
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = all.list(&page).await.map_err(asked(problem))?;
        let more = listed.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(listed.into_iter().filter_map(&wanted));
        match more {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(found),
        }
    }
}

fn is_theirs(metadata: &ObjectMeta) -> bool {
    let made_by = metadata.labels.as_ref().and_then(|labels| labels.get(labels::MANAGED_BY));
    let labelled = made_by.is_some_and(|made_by| made_by == labels::MANAGED_BY_KUBESTASH);
    labelled || metadata.owner_references.iter().flatten().any(|owner| is_group(owner.api_version.split('/').next().unwrap_or_default()))
}

fn is_group(group: &str) -> bool {
    group.strip_suffix(GROUPS).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

async fn webhooks(client: &Client) -> Result<Vec<Webhooks>, Failure> {
    let mut found = Vec::new();
    for kind in [WebhookKind::Mutating, WebhookKind::Validating] {
        let theirs = |object: DynamicObject| {
            let webhooks: Vec<Webhook> = serde_json::from_value(object.data.get("webhooks")?.clone()).ok()?;
            concern(&webhooks).then(|| Webhooks { kind, name: object.name_any(), object })
        };
        found.extend(pages(kind.all(client), "the webhook configurations cannot be listed", theirs).await?);
    }
    Ok(found)
}

/// Whether webhooks are about KubeStash's kinds and nothing else, and are not ours. One that is about others too stays: what it does
/// beside KubeStash nobody here knows.
fn concern(webhooks: &[Webhook]) -> bool {
    let is_theirs = |webhook: &Webhook| {
        let mut groups = webhook.rules.iter().flat_map(|rule| rule.api_groups.iter().flatten()).peekable();
        let is_ours = webhook.client_config.service.as_ref().is_some_and(|service| service.name == OUR_SERVICE);
        !is_ours && groups.peek().is_some() && groups.all(|group| is_group(group))
    };
    !webhooks.is_empty() && webhooks.iter().all(is_theirs)
}
