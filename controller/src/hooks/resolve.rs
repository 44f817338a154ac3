//! From a hook and its template to what is done: pure. Values are put into single strings, each for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::handler::{Handler, HttpPostAction};
use holdfast_api::hook::HookInfo;
use holdfast_api::hook_template::{HookExecutorType, HookTemplateSpec, PodHookStrategy};
use holdfast_api::{duration, go_template, template};
use k8s_openapi::api::core::v1::{HTTPGetAction, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::summary::Summary;
use crate::function::Run;

mod function;

/// A hook that names no time may take so long for one try, as KubeStash's own default of a Job's wait.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// And none longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(6 * 3600);
/// Tries of one hook.
const RETRIES_MAX: u32 = 20;
/// Pods that one hook runs in.
const PODS_MAX: usize = 200;

/// One hook, ready to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Concrete {
    /// Its name.
    pub name: String,
    /// Steps, one after the other: one for each pod.
    pub steps: Vec<Step>,
    /// How often it is tried again.
    pub retries: u32,
    /// How long one try may take.
    pub timeout: Duration,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A command in a container.
    Exec {
        /// The pod's namespace.
        namespace: String,
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The command with its arguments.
        command: Vec<String>,
    },
    /// A request.
    Http(Request),
    /// A connection that must open.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whether the address is that of a pod, and so inside the cluster.
        of_pod: bool,
    },
    /// A Function as a pod of its own.
    Function(Box<Run>),
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Whether it is a POST, with this body.
    pub body: Option<Body>,
    /// Whether over TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Whether the address is that of a pod, and so inside the cluster.
    pub of_pod: bool,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// As it stands.
    Text(String),
    /// Form fields.
    Form(Vec<(String, String)>),
}

/// What there is around a hook.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// Namespace of the target.
    pub target_namespace: &'a str,
    /// The pods there.
    pub pods: &'a [Pod],
    /// What templates speak of.
    pub summary: &'a Summary,
    /// The session, as what is made for it names it.
    pub owner: &'a OwnerReference,
    /// Which of the session's hooks it is.
    pub run_id: String,
}

/// Makes a hook concrete.
pub fn resolve(hook: &HookInfo, template: &HookTemplateSpec, around: &Around<'_>) -> Result<Concrete, String> {
    let values = values(hook, template)?;
    let summary = around.summary.data();
    let fill = Fill { values: &values, summary: &summary };
    let timeout = match hook.timeout.as_deref() {
        Some(text) => duration::parse(text).map_err(|error| format!("timeout {text:?}: {error}"))?,
        None => TIMEOUT_DEFAULT,
    };
    let timeout = timeout.min(TIMEOUT_MAX);
    let executor = template.executor.as_ref().and_then(|executor| executor.type_);
    if executor != Some(HookExecutorType::Function) {
        values_are_known(hook)?;
    }
    let steps = match executor {
        Some(HookExecutorType::Pod) => {
            let chosen = chosen(template, around.target_namespace, around.pods)?;
            let action = template.action.as_ref().ok_or("the HookTemplate has no action")?;
            chosen.into_iter().map(|pod| in_pod(action, pod, &fill)).collect::<Result<_, _>>()?
        }
        Some(HookExecutorType::Operator) => {
            let action = template.action.as_ref().ok_or("the HookTemplate has no action")?;
            vec![by_controller(action, &fill)?]
        }
        Some(HookExecutorType::Function) => {
            let executor = template.executor.as_ref().and_then(|executor| executor.function.as_ref());
            let executor = executor.ok_or("the HookTemplate's executor says no Function")?;
            vec![Step::Function(Box::new(function::run(hook, executor, values.clone(), around, timeout)?))]
        }
        None => return Err("the HookTemplate has no executor".to_owned()),
    };
    Ok(Concrete {
        name: hook.name.clone().unwrap_or_default(),
        steps,
        retries: u32::try_from(hook.max_retry.unwrap_or(0)).unwrap_or(0).min(RETRIES_MAX),
        timeout,
    })
}

/// Only a container of its own sees what is in a Secret: elsewhere it would be in our hands, and in what we send.
fn values_are_known(hook: &HookInfo) -> Result<(), String> {
    match hook.variables.iter().find(|variable| variable.value_from.is_some()) {
        Some(variable) => Err(format!("variable {:?}: valueFrom is for hooks that are Functions; give its value", variable.name)),
        None => Ok(()),
    }
}

/// The hook's parameters and variables, with the template's defaults.
fn values(hook: &HookInfo, template: &HookTemplateSpec) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for parameter in &template.params {
        let name = parameter.name.clone().unwrap_or_default();
        let value = hook.params.get(&name).map(text).or_else(|| parameter.default.clone());
        match value {
            Some(value) => _ = values.insert(name, value),
            None if parameter.required == Some(true) => return Err(format!("parameter {name:?} is required")),
            None => {}
        }
    }
    if let Some(unknown) = hook.params.keys().find(|name| !template.params.iter().any(|known| known.name.as_ref() == Some(name))) {
        return Err(format!("parameter {unknown:?} is not one of the HookTemplate"));
    }
    for variable in &hook.variables {
        if variable.value_from.is_none() {
            values.insert(variable.name.clone(), variable.value.clone().unwrap_or_default());
        }
    }
    Ok(values)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Puts values into strings: first the template over the summary, then parameters. What is no parameter stays, since a shell's own
/// variables look the same.
struct Fill<'a> {
    values: &'a BTreeMap<String, String>,
    summary: &'a Value,
}

impl Fill<'_> {
    fn of(&self, text: &str) -> Result<String, String> {
        let rendered = match go_template::is_template(text) {
            true => go_template::render(text, self.summary).map_err(|error| error.to_string())?,
            false => text.to_owned(),
        };
        let known = |name: &str| self.values.get(name).cloned().or_else(|| Some(format!("${{{name}}}")));
        if !self.values.keys().any(|name| rendered.contains(&format!("${{{name}"))) {
            return Ok(rendered);
        }
        template::expand(&rendered, known).map_err(|error| error.to_string())
    }
}

/// Of the pods that the executor's selector selects: one that is ready, by name, or all.
fn chosen<'a>(template: &HookTemplateSpec, namespace: &str, pods: &'a [Pod]) -> Result<Vec<&'a Pod>, String> {
    let executor = template.executor.as_ref().and_then(|executor| executor.pod.as_ref());
    let executor = executor.ok_or("the HookTemplate's executor says no pod")?;
    let selector = executor.selector.as_deref().unwrap_or_default();
    let owner = executor.owner.as_ref();
    if selector.trim().is_empty() && owner.is_none() {
        return Err(format!("the selector {selector:?} selects nothing"));
    }
    let selected = |pod: &&Pod| {
        let owned = owner.is_none_or(|owner| {
            pod.metadata.owner_references.iter().flatten().any(|found| found.kind == owner.kind && found.name == owner.name)
        });
        let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        owned && runs && pod.metadata.deletion_timestamp.is_none()
    };
    let mut found: Vec<&Pod> = pods.iter().filter(selected).collect();
    found.sort_by_key(|pod| (!is_ready(pod), pod.metadata.name.clone()));
    if found.is_empty() {
        return Err(format!("no running pod in namespace {namespace:?} has the labels {selector:?}"));
    }
    let count = if executor.strategy == Some(PodHookStrategy::ExecuteOnAll) { PODS_MAX } else { 1 };
    if found.len() > PODS_MAX && count == PODS_MAX {
        return Err(format!("{} pods have the labels {selector:?}; at most {PODS_MAX}", found.len()));
    }
    found.truncate(count);
    Ok(found)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn in_pod(action: &Handler, pod: &Pod, fill: &Fill<'_>) -> Result<Step, String> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    let container = match action.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => containers.iter().find(|container| container.name == name),
        None => containers.first(),
    };
    let container =
        container.ok_or_else(|| format!("pod {pod_name} has no container {:?}", action.container_name.as_deref().unwrap_or_default()))?;
    if let Some(exec) = &action.exec {
        let command = exec.command.iter().flatten().map(|word| fill.of(word)).collect::<Result<Vec<_>, _>>()?;
        if command.is_empty() {
            return Err("the command is empty".to_owned());
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        return Ok(Step::Exec { namespace, pod: pod_name, container: container.name.clone(), command });
    }
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let port = |port: &IntOrString| match port {
        IntOrString::String(name) if name.parse::<u16>().is_err() => {
            let ports = container.ports.iter().flatten();
            let named = ports.into_iter().find(|port| port.name.as_deref() == Some(name));
            let found = named.and_then(|port| u16::try_from(port.container_port).ok());
            found.ok_or_else(|| format!("container {} has no port {name:?}", container.name))
        }
        other => number(other),
    };
    request(action, address.as_deref(), &port, fill)
}

fn by_controller(action: &Handler, fill: &Fill<'_>) -> Result<Step, String> {
    if action.exec.is_some() {
        return Err("a command needs a pod: the executor is Operator".to_owned());
    }
    request(action, None, &number, fill)
}

fn number(port: &IntOrString) -> Result<u16, String> {
    let found = match port {
        IntOrString::Int(port) => u16::try_from(*port).ok(),
        IntOrString::String(text) => text.parse().ok(),
    };
    found.filter(|port| *port > 0).ok_or_else(|| format!("{port:?} is no port"))
}

fn request(
    action: &Handler,
    pod_address: Option<&str>,
    port: &dyn Fn(&IntOrString) -> Result<u16, String>,
    fill: &Fill<'_>,
) -> Result<Step, String> {
    let host = |asked: Option<&str>| match asked.filter(|host| !host.is_empty()) {
        Some(host) => fill.of(host).map(|host| (host, false)),
        None => pod_address.map(|address| (address.to_owned(), true)).ok_or_else(|| "no host is named".to_owned()),
    };
    if let Some(socket) = &action.tcp_socket {
        let (host, of_pod) = host(socket.host.as_deref())?;
        return Ok(Step::Tcp { host, port: port(&socket.port)?, of_pod });
    }
    let (parts, body) = match (&action.http_get, &action.http_post) {
        (Some(get), _) => (Parts::of_get(get), None),
        (None, Some(post)) => (Parts::of_post(post), Some(body(post, fill)?)),
        (None, None) => return Err("the action is none of exec, httpGet, httpPost, tcpSocket".to_owned()),
    };
    let tls = match parts.scheme.unwrap_or("HTTP").to_ascii_uppercase().as_str() {
        "HTTP" => false,
        "HTTPS" => true,
        other => return Err(format!("scheme {other:?} is neither HTTP nor HTTPS")),
    };
    let (host, of_pod) = host(parts.host)?;
    let path = fill.of(parts.path.unwrap_or("/"))?;
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let headers = parts
        .headers
        .iter()
        .map(|header| Ok((header.name.clone(), fill.of(&header.value)?)))
        .collect::<Result<_, String>>()?;
    Ok(Step::Http(Request { body, tls, host, port: port(parts.port)?, path, headers, of_pod }))
}

/// What GET and POST have in common.
struct Parts<'a> {
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: &'a IntOrString,
    path: Option<&'a str>,
    headers: &'a [k8s_openapi::api::core::v1::HTTPHeader],
}

impl<'a> Parts<'a> {
    fn of_get(get: &'a HTTPGetAction) -> Self {
        let headers = get.http_headers.as_deref().unwrap_or_default();
        Self { scheme: get.scheme.as_deref(), host: get.host.as_deref(), port: &get.port, path: get.path.as_deref(), headers }
    }

    fn of_post(post: &'a HttpPostAction) -> Self {
        let (scheme, host, path) = (post.scheme.as_deref(), post.host.as_deref(), post.path.as_deref());
        Self { scheme, host, port: &post.port, path, headers: &post.http_headers }
    }
}

fn body(post: &HttpPostAction, fill: &Fill<'_>) -> Result<Body, String> {
    if post.form.is_empty() {
        return post_body(post.body.as_deref().unwrap_or_default(), fill).map(Body::Text);
    }
    let mut fields = Vec::new();
    for entry in &post.form {
        for value in &entry.values {
            fields.push((entry.key.clone().unwrap_or_default(), fill.of(value)?));
        }
    }
    Ok(Body::Form(fields))
}

/// A body that is JSON stays JSON whatever the values hold: each of its strings is filled in for itself.
fn post_body(body: &str, fill: &Fill<'_>) -> Result<String, String> {
    match serde_json::from_str::<Value>(body) {
        Ok(mut json) => {
            fill_strings(&mut json, fill)?;
            Ok(json.to_string())
        }
        Err(_) => fill.of(body),
    }
}

fn fill_strings(json: &mut Value, fill: &Fill<'_>) -> Result<(), String> {
    match json {
        Value::String(text) => *text = fill.of(text)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_strings(item, fill))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill_strings(field, fill))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

#[cfg(test)]
#[path = "resolve/tests.rs"]
mod tests;
