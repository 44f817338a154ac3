//! What makes an object invalid, said field by field.
//!
//! The rules are those of KubeStash's webhooks, and a few of our own where it would take an object that can only
//! fail later. An object that something refers to and that does not exist yet is no error here: it may come.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::addon_info::AddonInfo;
use crate::duration;
use crate::hook::HookInfo;
use crate::hook_template::HookTemplate;
use crate::reference::ObjectReference;
use crate::usage_policy::{FromNamespaces, Namespace, UsagePolicy};

pub mod backup_batch;
pub mod backup_blueprint;
pub mod backup_configuration;
pub mod backup_session;
pub mod backup_storage;
pub mod backup_verification_session;
pub mod backup_verifier;
pub mod hook_template;
mod invoker;
pub mod repository;
pub mod restore_session;
pub mod retention_policy;

/// How many errors [`FieldErrors`] writes out; a condition's message has no room for more.
const SHOWN: usize = 10;

/// HookTemplates that one object may name: whoever judges it looks each of them up, while its user waits.
pub const HOOK_TEMPLATES_MAX: usize = 64;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// The field, such as `spec.sessions[1].name`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What may be wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is empty.
    #[error("is required: {why}")]
    Required {
        /// What it is needed for.
        why: String,
    },
    /// It is none of the allowed values.
    #[error("{found:?} is not allowed; use one of {}", allowed.join(", "))]
    NotAllowed {
        /// Its value.
        found: String,
        /// The values that are.
        allowed: Vec<String>,
    },
    /// Its value is not in the form it needs.
    #[error("{found:?} cannot be used: {why}")]
    Malformed {
        /// Its value.
        found: String,
        /// What the form is.
        why: String,
    },
    /// Its value is taken.
    #[error("{found:?} is taken: {by}")]
    Taken {
        /// Its value.
        found: String,
        /// By what.
        by: String,
    },
    /// The object it names may not be used from here.
    #[error(
        "{found:?} may not be used from namespace {namespace:?}: its usagePolicy does not allow it"
    )]
    Forbidden {
        /// The object, as `namespace/name`.
        found: String,
        /// The namespace of the object with the field.
        namespace: String,
    },
    /// It may not change any more.
    #[error("cannot change from {was:?} to {found:?}: {why}")]
    Immutable {
        /// Its new value.
        found: String,
        /// Its old value.
        was: String,
        /// Why it may not.
        why: String,
    },
}

/// Everything that is wrong with an object: at least one error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.summary())]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// The errors, in the order of the fields.
    pub fn errors(&self) -> &[FieldError] {
        &self.0
    }

    fn summary(&self) -> String {
        let shown: Vec<_> = self.0.iter().take(SHOWN).map(ToString::to_string).collect();
        match self.0.len().saturating_sub(SHOWN) {
            0 => shown.join("; "),
            more => format!("{}; and {more} more", shown.join("; ")),
        }
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<FieldError>,
    /// HookTemplates that the object names, each once.
    hook_templates: BTreeSet<ObjectReference>,
}

impl Findings {
    fn add(&mut self, path: impl Into<String>, problem: Problem) {
        self.errors.push(FieldError {
            path: path.into(),
            problem,
        });
    }

    fn required(&mut self, path: impl Into<String>, why: &str) {
        self.add(
            path,
            Problem::Required {
                why: why.to_owned(),
            },
        );
    }

    fn malformed(&mut self, path: impl Into<String>, found: &str, why: impl ToString) {
        self.add(
            path,
            Problem::Malformed {
                found: found.to_owned(),
                why: why.to_string(),
            },
        );
    }

    fn taken(&mut self, path: impl Into<String>, found: &str, by: impl Into<String>) {
        self.add(
            path,
            Problem::Taken {
                found: found.to_owned(),
                by: by.into(),
            },
        );
    }

    /// Something that may not change any more, and has.
    fn immutable(
        &mut self,
        path: &str,
        was: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
    ) {
        let (was, found, why) = (was.into(), found.into(), why.into());
        self.add(path, Problem::Immutable { found, was, why });
    }

    fn result(self) -> Result<(), FieldErrors> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(FieldErrors(self.errors))
        }
    }

    /// Checks that a name is there and is the only one of its list.
    fn unique_name<'a>(
        &mut self,
        path: String,
        name: Option<&'a str>,
        seen: &mut BTreeSet<&'a str>,
    ) {
        match set(name) {
            None => self.required(path, "names tell the entries of the list apart"),
            Some(name) if !seen.insert(name) => {
                self.taken(path, name, "an entry before it has this name")
            }
            Some(_) => {}
        }
    }

    fn duration(&mut self, path: impl Into<String>, text: Option<&str>) {
        if let Some(text) = text
            && let Err(error) = duration::parse(text)
        {
            self.malformed(path, text, error);
        }
    }

    fn usage_policy(&mut self, policy: Option<&UsagePolicy>) {
        let allowed = policy.and_then(|policy| policy.allowed_namespaces.as_ref());
        if let Some(allowed) = allowed
            && allowed.from == Some(FromNamespaces::Selector)
            && allowed.selector.is_none()
        {
            self.required(
                "spec.usagePolicy.allowedNamespaces.selector",
                "`from` is Selector",
            );
        }
    }

    /// Checks that the object a field names may be used from `user`; an object without a policy has the default one.
    fn usage(
        &mut self,
        path: String,
        owner: &str,
        name: &str,
        policy: Option<&UsagePolicy>,
        user: Namespace<'_>,
    ) {
        let default = UsagePolicy::same_namespace();
        if !policy.unwrap_or(&default).allows(owner, user) {
            let found = format!("{owner}/{name}");
            self.add(
                path,
                Problem::Forbidden {
                    found,
                    namespace: user.name.to_owned(),
                },
            );
        }
    }

    fn addon(&mut self, path: &str, addon: Option<&AddonInfo>) {
        let Some(addon) = addon else {
            return self.required(path, "it says how the application is worked on");
        };
        if set(addon.name.as_deref()).is_none() {
            self.required(format!("{path}.name"), "it says which Addon is used");
        }
        if addon.tasks.is_empty() {
            self.required(format!("{path}.tasks"), "at least one task does the work");
        }
        let mut seen = BTreeSet::new();
        for (index, task) in addon.tasks.iter().enumerate() {
            self.unique_name(
                format!("{path}.tasks[{index}].name"),
                task.name.as_deref(),
                &mut seen,
            );
        }
    }

    fn hooks(
        &mut self,
        path: &str,
        hooks: &[HookInfo],
        templates: &[&HookTemplate],
        user: Namespace<'_>,
    ) {
        for (index, hook) in hooks.iter().enumerate() {
            self.duration(format!("{path}[{index}].timeout"), hook.timeout.as_deref());
            let Some(reference) = &hook.hook_template else {
                continue;
            };
            let owner = reference.namespace_or(user.name);
            let path = format!("{path}[{index}].hookTemplate");
            let is_new = self.hook_templates.insert(reference.absolute(user.name));
            if is_new && self.hook_templates.len() > HOOK_TEMPLATES_MAX {
                let found = format!("{owner}/{}", reference.name);
                let why = format!("an object may name at most {HOOK_TEMPLATES_MAX} different HookTemplates");
                self.malformed(path.clone(), &found, why);
            }
            if let Some(template) = find(templates, owner, &reference.name) {
                self.usage(
                    path,
                    owner,
                    &reference.name,
                    template.spec.usage_policy.as_ref(),
                    user,
                );
            }
        }
    }
}

/// Checks a change of what was started: what it does stays as it was. `text` says of which one it is.
fn started_stays<S: PartialEq>(
    old: &S,
    new: &S,
    text: impl Fn(&S) -> Option<String>,
) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    if old != new {
        let why = "a session that was started stays as it is; start another one";
        let text = |spec| text(spec).unwrap_or_default();
        findings.immutable("spec", text(old), text(new), why);
    }
    findings.result()
}

/// An optional text, where an empty one is as good as none.
fn set(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn find<'a, K: kube::Resource>(objects: &[&'a K], namespace: &str, name: &str) -> Option<&'a K> {
    objects
        .iter()
        .copied()
        .find(|object| is(*object, namespace, name))
}

fn is<K: kube::Resource>(object: &K, namespace: &str, name: &str) -> bool {
    object.meta().namespace.as_deref() == Some(namespace)
        && object.meta().name.as_deref() == Some(name)
}

fn same<K: kube::Resource>(one: &K, other: &K) -> bool {
    one.meta().namespace == other.meta().namespace && one.meta().name == other.meta().name
}

/// `namespace/name` of an object.
fn title<K: kube::Resource>(object: &K) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    format!(
        "{}/{name}",
        object.meta().namespace.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
