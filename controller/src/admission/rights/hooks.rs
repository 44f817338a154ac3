//! Of hooks: what their templates have done, and what those may come to.

use holdfast_api::HookTemplate;
use holdfast_api::hook::HookInfo;
use holdfast_api::hook_template::{HookExecutorType, HookTemplateSpec};

use super::{Right, Templates};

/// Namespaces that the hooks of an object have to do with.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The object's, where Functions run.
    pub(super) own: &'a str,
    /// The one that is meant where a template's is not named.
    pub(super) home: &'a str,
    /// That of the pods in which commands run.
    pub(super) pods: &'a str,
}

/// What somebody must be allowed for a template.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Command,
    Function,
}

fn doing(spec: &HookTemplateSpec) -> Option<Doing> {
    let is_command = spec.action.as_ref().is_some_and(|action| action.exec.is_some());
    match spec.executor.as_ref()?.type_? {
        HookExecutorType::Function => Some(Doing::Function),
        HookExecutorType::Pod if is_command => Some(Doing::Command),
        HookExecutorType::Pod | HookExecutorType::Operator => None,
    }
}

/// Of a hook's template: whoever changes what is run must be allowed to run it.
pub fn hook_template(template: &HookTemplate, own: &str) -> Vec<Right> {
    let spec = &template.spec;
    let right = match doing(spec) {
        Some(Doing::Command) => Right::exec("spec.action.exec", own),
        Some(Doing::Function) => Right::pods("spec.executor", own),
        None => return Vec::new(),
    };
    // A parameter's default is a part of the command.
    vec![right.with(&(&spec.params, &spec.action, &spec.executor))]
}

/// Whoever changes a template later is asked in the template's own namespace alone. So whoever names one that is there is asked for what
/// it could have done anywhere else: for anything if it is of another namespace, for a command if the pods are. One that does not
/// exist yet is asked for anything, too: nobody has seen what it will do with this hook's parameters, volumes and ServiceAccount.
pub(super) fn of(rights: &mut Vec<Right>, path: &str, hooks: &[HookInfo], around: Around<'_>, templates: &Templates<'_>) {
    let Around { own, home, pods } = around;
    for (index, hook) in hooks.iter().enumerate() {
        let Some(reference) = &hook.hook_template else { continue };
        let owner = reference.namespace_or(home);
        let template = templates(owner, &reference.name);
        let may_be_anything = owner != own || template.is_none();
        let doing = template.as_ref().and_then(doing);
        let path = format!("{path}[{index}].hookTemplate");
        if may_be_anything || pods != own || doing == Some(Doing::Command) {
            rights.push(Right::exec(path.clone(), pods).with(hook));
        }
        if may_be_anything || doing == Some(Doing::Function) {
            rights.push(Right::pods(path, own).with(hook));
        }
    }
}

#[cfg(test)]
mod tests;
