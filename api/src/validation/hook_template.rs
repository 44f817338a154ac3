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
                    "it is a label selector, such as key=value,other in (a,b),!absent",
                ),
                Some(_) => {}
            }
        }
    }
    kind
}

/// A label selector as the API server reads one: requirements with commas between, those in parentheses aside.
fn is_selector(text: &str) -> bool {
    let mut depth = 0_u32;
    let is_border = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(is_border).all(|part| is_requirement(part.trim()))
}

fn is_requirement(text: &str) -> bool {
    let fits = |text: &str, others: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let is_key = |text: &str| !text.is_empty() && fits(text, "-_./");
    let is_value = |text: &str| fits(text, "-_.");
    if let Some((key, values)) = text.split_once('(') {
        let (key, word) = key.trim().rsplit_once(' ').unwrap_or_default();
        let values = values.strip_suffix(')').unwrap_or("(");
        return is_key(key.trim())
            && ["in", "notin"].contains(&word)
            && values.split(',').all(|value| is_value(value.trim()));
    }
    let operator = ["!=", "==", "=", ">", "<"]
        .into_iter()
        .find_map(|operator| text.split_once(operator));
    match operator {
        Some((key, value)) => is_key(key.trim()) && is_value(value.trim()),
        None => is_key(text.strip_prefix('!').unwrap_or(text).trim()),
    }
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
