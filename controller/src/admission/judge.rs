//! One object, judged: defaults first, then the rules of its kind, then whether its user may have done what it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::addon::tasks::TaskPurpose;
use holdfast_api::addon_info::{AddonInfo, TaskReference};
use holdfast_api::hook_template::HookTemplateSpec;
use holdfast_api::usage_policy::Namespace;
use holdfast_api::validation::backup_configuration::Surroundings;
use holdfast_api::validation::{
    FieldErrors, backup_batch, backup_blueprint, backup_configuration, backup_session, backup_storage,
    backup_verification_session, backup_verifier, hook_template, repository, restore_session, retention_policy,
};
use holdfast_api::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, BackupVerificationSession,
    BackupVerifier, HookTemplate, Repository, RestoreSession, RetentionPolicy, defaults,
};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access;
use super::review::{Answer, Request};
use super::rights::{self, Known, RIGHTS_MAX, Right};
use crate::caches::Caches;
use crate::catalog::Catalog;
use crate::hooks::templates;
use crate::object::Named;

/// Judges what the API server shows us.
#[derive(Clone)]
pub struct Judge {
    client: kube::Client,
    caches: Arc<Caches>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The object cannot be read as its kind.
    #[error("the object cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The API server could not be asked.
    #[error("the API server could not be asked: {}", crate::api::said(.0))]
    Api(#[from] kube::Error),
}

/// Everything that an object of a namespace may refer to or collide with.
struct Around {
    namespace: String,
    labels: BTreeMap<String, String>,
    storages: Vec<Arc<BackupStorage>>,
    policies: Vec<Arc<RetentionPolicy>>,
    repositories: Vec<Arc<Repository>>,
    templates: Vec<HookTemplate>,
}

impl Judge {
    /// A judge that knows what `caches` show.
    pub fn new(client: kube::Client, caches: Arc<Caches>) -> Self {
        Self { client, caches }
    }

    /// What is filled in.
    pub async fn defaulted(&self, request: &Request) -> Answer {
        answered(self.fill(request).await)
    }

    /// Whether the object may be.
    pub async fn judged(&self, request: &Request) -> Answer {
        match request.operation.as_str() {
            // Nothing may keep an object from going.
            "CREATE" | "UPDATE" => answered(self.judge(request).await),
            _ => Answer::Allowed,
        }
    }

    async fn fill(&self, request: &Request) -> Result<Answer, Unanswered> {
        match request.kind.kind.as_str() {
            "BackupStorage" => filled(request, defaults::backup_storage),
            "RetentionPolicy" => filled(request, defaults::retention_policy),
            "HookTemplate" => filled(request, defaults::hook_template),
            "BackupBlueprint" => filled(request, defaults::backup_blueprint),
            "BackupConfiguration" => {
                let around = self.around(request).await?;
                filled(request, |object: &mut BackupConfiguration| around.fill_configuration(object))
            }
            "BackupBatch" => {
                let around = self.around(request).await?;
                filled(request, |object: &mut BackupBatch| around.fill_batch(object))
            }
            _ => Ok(Answer::Allowed),
        }
    }

    async fn judge(&self, request: &Request) -> Result<Answer, Unanswered> {
        // An object that names more than are read is refused. Parameters may hold what only looks like a name, and takes the place of one:
        // that template counts as one that does not exist, of which more is asked, not less.
        let templates = templates::read(&self.client, templates_of(&request.object, &request.namespace)).await?;
        let around = Around { templates, ..self.around(request).await? };
        let own = around.namespace.as_str();
        let templates = |namespace: &str, name: &str| around.template(namespace, name);
        let may_be_pod = |purpose: TaskPurpose, info: &AddonInfo, task: &TaskReference| {
            Catalog::concerning(&self.caches, [info]).may_be_pod(purpose, info, task)
        };
        let known = Known { templates: &templates, may_be_pod: &may_be_pod };
        // The old object of an UPDATE; what it was granted is not asked for again.
        let is_update = request.operation == "UPDATE";
        macro_rules! read {
            ($kind:ty) => {{
                let new: $kind = serde_json::from_value(request.object.clone())?;
                let old: Option<$kind> =
                    is_update.then(|| serde_json::from_value(request.old_object.clone())).transpose()?;
                (new, old)
            }};
        }
        // An object on its way out is only let go of; what is wrong with it matters to nobody.
        if request.object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
            return Ok(Answer::Allowed);
        }
        let (checked, wanted) = match request.kind.kind.as_str() {
            "BackupStorage" => {
                let (mut new, old) = read!(BackupStorage);
                defaults::backup_storage(&mut new);
                let others = around.storages();
                let stays = old.as_ref().map_or(Ok(()), |old| backup_storage::validate_update(old, &new));
                let wanted = wanted(&new, old.as_ref(), |object| rights::backup_storage(object, own));
                (stays.and_then(|()| backup_storage::validate(&new, &others)), wanted)
            }
            "RetentionPolicy" => {
                let (mut new, _) = read!(RetentionPolicy);
                defaults::retention_policy(&mut new);
                (retention_policy::validate(&new, &around.policies()), Vec::new())
            }
            "Repository" => {
                let (new, old) = read!(Repository);
                let wanted = wanted(&new, old.as_ref(), |object| rights::repository(object, own));
                (old.map_or(Ok(()), |old| repository::validate_update(&old, &new)), wanted)
            }
            "BackupConfiguration" => {
                let (mut new, old) = read!(BackupConfiguration);
                around.fill_configuration(&mut new);
                let checked = around.check(|surroundings| backup_configuration::validate(&new, surroundings));
                let rights = |object: &_| rights::backup_configuration(object, own, &known);
                (checked, wanted(&new, old.as_ref(), rights))
            }
            "BackupBatch" => {
                let (mut new, old) = read!(BackupBatch);
                around.fill_batch(&mut new);
                let checked = around.check(|surroundings| backup_batch::validate(&new, surroundings));
                (checked, wanted(&new, old.as_ref(), |object| rights::backup_batch(object, own, &known)))
            }
            "BackupBlueprint" => {
                let (mut new, old) = read!(BackupBlueprint);
                defaults::backup_blueprint(&mut new);
                let checked = around.check(|surroundings| backup_blueprint::validate(&new, surroundings));
                (checked, wanted(&new, old.as_ref(), |object| rights::backup_blueprint(object, own, &known)))
            }
            "HookTemplate" => {
                let (mut new, old) = read!(HookTemplate);
                defaults::hook_template(&mut new);
                let wanted = wanted(&new, old.as_ref(), |object| rights::hook_template(object, own));
                (hook_template::validate(&new), wanted)
            }
            "BackupVerifier" => {
                let (new, old) = read!(BackupVerifier);
                let wanted = wanted(&new, old.as_ref(), |object| rights::backup_verifier(object, own, &known));
                (backup_verifier::validate(&new), wanted)
            }
            "RestoreSession" => {
                let (new, old) = read!(RestoreSession);
                let hook_templates: Vec<&HookTemplate> = around.templates.iter().collect();
                let checked = restore_session::validate(&new, around.namespace(), &hook_templates);
                (checked, wanted(&new, old.as_ref(), |object| rights::restore_session(object, own, &known)))
            }
            "BackupSession" => {
                let (new, old) = read!(BackupSession);
                let stays = old.map_or(Ok(()), |old| backup_session::validate_update(&old, &new));
                (stays.and_then(|()| backup_session::validate(&new)), Vec::new())
            }
            "BackupVerificationSession" => {
                let (new, old) = read!(BackupVerificationSession);
                let stays = old.as_ref().map_or(Ok(()), |old| backup_verification_session::validate_update(old, &new));
                (stays, wanted(&new, old.as_ref(), |object| rights::backup_verification_session(object, own)))
            }
            _ => (Ok(()), Vec::new()),
        };
        self.decide(request, checked, wanted).await
    }

    async fn decide(
        &self,
        request: &Request,
        checked: Result<(), FieldErrors>,
        wanted: Vec<Right>,
    ) -> Result<Answer, Unanswered> {
        if let Err(errors) = checked {
            return Ok(Answer::Invalid(errors.to_string()));
        }
        if wanted.len() > RIGHTS_MAX {
            let count = wanted.len();
            return Ok(Answer::Invalid(format!("{count} Secrets, hooks and pods in one object; at most {RIGHTS_MAX}")));
        }
        let missing = access::first_missing(&self.client, &request.user_info, &wanted).await?;
        Ok(missing.map_or(Answer::Allowed, |right| Answer::Forbidden(access::refusal(&request.user_info, &right))))
    }

    async fn around(&self, request: &Request) -> Result<Around, Unanswered> {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(&request.namespace).await?;
        let mut around = Around {
            namespace: request.namespace.clone(),
            labels: found.map(|mut found| std::mem::take(found.labels_mut())).unwrap_or_default(),
            storages: self.caches.storages.select(|_| true),
            policies: self.caches.policies.select(|_| true),
            repositories: self.caches.repositories.select(|_| true),
            templates: Vec::new(),
        };
        // The cache may be a moment behind what was applied in the same breath.
        if is_decided_by_all(request) {
            let all = ListParams::default();
            let storages = Api::<BackupStorage>::all(self.client.clone()).list(&all).await?;
            let policies = Api::<RetentionPolicy>::all(self.client.clone()).list(&all).await?;
            around.storages = storages.items.into_iter().map(Arc::new).collect();
            around.policies = policies.items.into_iter().map(Arc::new).collect();
        }
        Ok(around)
    }
}

impl Around {
    fn namespace(&self) -> Namespace<'_> {
        Namespace { name: &self.namespace, labels: &self.labels }
    }

    fn storages(&self) -> Vec<&BackupStorage> {
        self.storages.iter().map(AsRef::as_ref).collect()
    }

    fn policies(&self) -> Vec<&RetentionPolicy> {
        self.policies.iter().map(AsRef::as_ref).collect()
    }

    fn template(&self, namespace: &str, name: &str) -> Option<HookTemplateSpec> {
        let is_it = |template: &&HookTemplate| {
            template.metadata.namespace.as_deref() == Some(namespace) && template.metadata.name.as_deref() == Some(name)
        };
        self.templates.iter().find(is_it).map(|template| template.spec.clone())
    }

    fn fill_configuration(&self, object: &mut BackupConfiguration) {
        defaults::backup_configuration(object, self.namespace(), &self.storages(), &self.policies());
    }

    fn fill_batch(&self, object: &mut BackupBatch) {
        defaults::backup_batch(object, self.namespace(), &self.storages(), &self.policies());
    }

    fn check<R>(&self, check: impl FnOnce(Surroundings<'_>) -> R) -> R {
        let (storages, policies) = (self.storages(), self.policies());
        let repositories: Vec<&Repository> = self.repositories.iter().map(AsRef::as_ref).collect();
        let hook_templates: Vec<&HookTemplate> = self.templates.iter().collect();
        check(Surroundings {
            namespace: self.namespace(),
            storages: &storages,
            retention_policies: &policies,
            hook_templates: &hook_templates,
            repositories: &repositories,
        })
    }
}

/// Whether other storages and policies decide about the object: it may be one too many, or needs one that is the default.
fn is_decided_by_all(request: &Request) -> bool {
    match request.kind.kind.as_str() {
        "BackupStorage" | "RetentionPolicy" => true,
        "BackupConfiguration" | "BackupBatch" => {
            let backends = request.object.pointer("/spec/backends").and_then(Value::as_array);
            backends.is_none_or(|backends| {
                backends.is_empty() || backends.iter().any(|backend| backend.get("retentionPolicy").is_none_or(Value::is_null))
            })
        }
        _ => false,
    }
}

fn answered(answer: Result<Answer, Unanswered>) -> Answer {
    match answer {
        Ok(answer) => answer,
        Err(error @ Unanswered::Malformed(_)) => Answer::Invalid(error.to_string()),
        Err(error @ Unanswered::Api(_)) => {
            tracing::warn!(%error, "an object could not be judged; whoever applied it is told to try again");
            Answer::Unavailable(error.to_string())
        }
    }
}

/// Both are read with the HookTemplates of today. By that nothing counts as granted which nobody was asked for: whoever named a template
/// first was asked for all that it may become without its author being asked, and a hook with other parameters is another one.
fn wanted<K>(new: &K, old: Option<&K>, rights: impl Fn(&K) -> Vec<Right>) -> Vec<Right> {
    let had = old.map(&rights).unwrap_or_default();
    rights::changed(rights(new), &had)
}

/// The difference that `fill` makes; fields that our types do not know are not touched.
fn filled<K: Serialize + DeserializeOwned + Clone>(request: &Request, fill: impl FnOnce(&mut K)) -> Result<Answer, Unanswered> {
    let before: K = serde_json::from_value(request.object.clone())?;
    let mut after = before.clone();
    fill(&mut after);
    let patch = json_patch::diff(&serde_json::to_value(before)?, &serde_json::to_value(after)?);
    Ok(if patch.0.is_empty() { Answer::Allowed } else { Answer::Patched(patch) })
}

/// HookTemplates that the object names, wherever in it.
fn templates_of(object: &Value, own: &str) -> BTreeSet<Named> {
    let mut found = BTreeSet::new();
    let mut todo = vec![object.get("spec").unwrap_or(&Value::Null)];
    while let Some(value) = todo.pop() {
        match value {
            Value::Array(items) => todo.extend(items),
            Value::Object(fields) => {
                todo.extend(fields.values());
                let named = fields.get("hookTemplate").and_then(|reference| reference.get("name")).and_then(Value::as_str);
                if let Some(name) = named {
                    let namespace = fields["hookTemplate"].get("namespace").and_then(Value::as_str);
                    let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(own);
                    found.insert(Named::new(namespace, name));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
