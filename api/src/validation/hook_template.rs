//! What makes a HookTemplate invalid.

use std::collections::BTreeSet;

use super::{FieldErrors, Findings, Problem, set};
use crate::handler::Handler;
use crate::hook_template::{HookExecutor, HookExecutorType, HookTemplate};

/// Checks a template against the rules.
pub fn validate(template: &HookTemplate) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    let spec = &template.spec;
    findings.usage_policy(spec.usage_policy.as_ref());
    let mut seen = BTreeSet::new();
    for (index, parameter) in spec.params.iter().enumerate() {
        let path = format!("spec.params[{index}].name");
        findings.unique_name(path, parameter.name.as_deref(), &mut seen);
    }
    let kind = match &spec.executor {
        None => {
            findings.required("spec.executor", "it says where the action is done");
            None
        }
        Some(executor) => check_executor(&mut findings, executor),
    };
    match &spec.action {
        None if kind == Some(HookExecutorType::Function) => {}
        None => findings.required("spec.action", "it says what is done"),
        Some(action) => check_action(&mut findings, action, kind),
    }
    findings.result()
}

fn check_executor(findings: &mut Findings, executor: &HookExecutor) -> Option<HookExecutorType> {
    let kind = executor.type_;
    match kind {
        None => findings.required("spec.executor.type", "one of Function, Pod, Operator"),
        Some(HookExecutorType::Operator) => {}
        Some(HookExecutorType::Function) => {
            let name = executor
                .function
                .as_ref()
                .and_then(|function| function.name.as_deref());
            if set(name).is_none() {
                findings.required("spec.executor.function.name", "the type is Function");
            }
        }
        Some(HookExecutorType::Pod) => {
            let pod = executor.pod.as_ref();
            let selector = pod.and_then(|pod| set(pod.selector.as_deref()));
            match selector {
                None if pod.is_some_and(|pod| pod.owner.is_some()) => {}
                None => findings.required("spec.executor.pod.selector", "the type is Pod"),
                Some(selector) if !is_selector(selector) => findings.malformed(
                    "spec.executor.pod.selector",
                    selector,
                    "labels are written key=value,key=value",
                ),
                Some(_) => {}
            }
        }
    }
    kind
}

fn is_selector(text: &str) -> bool {
    text.split(',').all(|part| {
        part.split_once('=')
            .is_some_and(|(key, value)| !key.trim().is_empty() && !value.contains('='))
    })
}

/// Exactly one action; a command needs a container.
fn check_action(findings: &mut Findings, action: &Handler, executor: Option<HookExecutorType>) {
    let given: Vec<&str> = [
        ("exec", action.exec.is_some()),
        ("httpGet", action.http_get.is_some()),
        ("httpPost", action.http_post.is_some()),
        ("tcpSocket", action.tcp_socket.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_given)| is_given.then_some(name))
    .collect();
    match given.as_slice() {
        [] => findings.required("spec.action", "one of exec, httpGet, httpPost, tcpSocket"),
        [_] => {}
        several => findings.malformed("spec.action", &several.join(", "), "it is one action only"),
    }
    if action.exec.is_some() && executor == Some(HookExecutorType::Operator) {
        findings.add(
            "spec.action",
            Problem::NotAllowed {
                found: "exec".to_owned(),
                allowed: ["httpGet", "httpPost", "tcpSocket"].map(str::to_owned).to_vec(),
            },
        );
    }
}
