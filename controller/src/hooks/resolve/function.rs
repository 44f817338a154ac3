//! A hook that is a Function: what its pod is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_api::function::pod::{Part, Use};
use holdfast_api::function::variables::{Variables, escaped};
use holdfast_api::hook::HookInfo;
use holdfast_api::hook_template::FunctionHookExecutor;
use holdfast_api::{BackupSession, go_template, labels};
use k8s_openapi::api::core::v1::EnvVar;
use kube::Resource as _;
use serde_json::Value;

use super::Around;
use crate::function::Run;

/// The run. `values` are the hook's parameters, which the template's own strings and the Function's may hold.
pub(super) fn run(
    hook: &HookInfo,
    executor: &FunctionHookExecutor,
    values: BTreeMap<String, String>,
    around: &Around<'_>,
    timeout: Duration,
) -> Result<Run, String> {
    let function = executor.name.clone().filter(|name| !name.is_empty());
    let function = function.ok_or("the HookTemplate's executor names no Function")?;
    let mut variables = session(around);
    values.into_iter().for_each(|(name, value)| variables.set(&name, value));
    variables.add(&hook.variables);
    let (rendered, env) = rendered(&executor.env, &around.summary.data())?;
    let field = "executor.function".to_owned();
    let of_template = Part {
        field: field.clone(),
        is_template: true,
        env,
        volumes: executor.volumes.clone(),
        volume_mounts: executor.volume_mounts.clone(),
    };
    // What was rendered holds what others have said: it is not looked at again.
    let of_session = Part { field, env: rendered, ..Part::default() };
    let of_hook = Part {
        field: "hook".to_owned(),
        volumes: hook.volumes.clone(),
        volume_mounts: hook.volume_mounts.clone(),
        ..Part::default()
    };
    let wanted = Use { variables, parts: vec![of_template, of_session, of_hook], ..Use::default() };
    let invoker = &around.summary.invoker;
    Ok(Run {
        namespace: around.summary.namespace.clone(),
        owner: around.owner.clone(),
        id: around.run_id.clone(),
        component: labels::COMPONENT_HOOK,
        labels: labels::of_invoker(
            invoker.kind.as_deref().unwrap_or_default(),
            invoker.namespace.as_deref().unwrap_or_default(),
            &invoker.name,
        ),
        function,
        wanted: wanted.with_settings(hook.runtime_settings.as_ref()),
        timeout,
        stays: false,
    })
}

/// What KubeStash's operator fills in.
fn session(around: &Around<'_>) -> Variables {
    let summary = around.summary;
    let mut variables = Variables::default();
    let is_backup = around.owner.kind == BackupSession::kind(&());
    variables.set(if is_backup { "backupSession" } else { "restoreSession" }, &summary.name);
    variables.set("namespace", &summary.namespace);
    variables.set("invokerKind", summary.invoker.kind.clone().unwrap_or_default());
    variables.set("invokerName", &summary.invoker.name);
    variables
}

/// Variables that are templates over the session, carried out, and the others.
fn rendered(env: &[EnvVar], summary: &Value) -> Result<(Vec<EnvVar>, Vec<EnvVar>), String> {
    let (mut rendered, mut others) = (Vec::new(), Vec::new());
    for variable in env {
        match variable.value.as_deref().filter(|value| go_template::is_template(value)) {
            Some(template) => {
                let text = go_template::render(template, summary).map_err(|error| format!("{}: {error}", variable.name))?;
                rendered.push(EnvVar { value: Some(escaped(&text)), ..variable.clone() });
            }
            None => others.push(variable.clone()),
        }
    }
    Ok((rendered, others))
}

#[cfg(test)]
mod tests {
    use holdfast_api::Function;
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::json;

    use super::super::tests::{around, hook, template};
    use super::super::{Concrete, Step, resolve};
    use super::*;

    fn executor(function: Value) -> Value {
        let parameters = json!([{"name": "table", "required": true}]);
        json!({"params": parameters, "executor": {"type": "Function", "function": function}})
    }

    fn run_of(concrete: Result<Concrete, String>) -> Run {
        match concrete.expect("a hook").steps.remove(0) {
            Step::Function(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn pod(run: &Run, function: Value) -> PodSpec {
        let function: Function = serde_json::from_value(json!({"metadata": {"name": "f"}, "spec": function})).expect("a Function");
        function.pod(&run.wanted).expect("a pod").spec
    }

    fn env(spec: &PodSpec) -> Vec<(String, Option<String>)> {
        spec.containers[0].env.iter().flatten().map(|variable| (variable.name.clone(), variable.value.clone())).collect()
    }

    #[test]
    fn a_function_runs_with_the_hooks_parameters_and_the_session() {
        let info = json!({
            "params": {"table": "users"}, "timeout": "40s", "maxRetry": 2,
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "runtimeSettings": {"pod": {"serviceAccountName": "flusher"}},
        });
        let environment = json!([{"name": "TABLE", "value": "${table}"}, {"name": "PHASE", "value": "{{ .Status.Phase }}"}]);
        let spec = executor(json!({"name": "flush", "env": environment}));
        let concrete = resolve(&hook(info), &template(spec), &around(&[])).expect("a hook");
        assert_eq!((concrete.retries, concrete.timeout), (2, Duration::from_secs(40)));
        let run = run_of(Ok(concrete));
        assert_eq!((run.function.as_str(), run.namespace.as_str(), run.id.as_str()), ("flush", "demo", "posthook-1"));
        assert_eq!((run.timeout, run.component), (Duration::from_secs(40), "kubestash-hook"));
        assert_eq!(run.labels["kubestash.com/invoker-name"], "bc");
        let args = ["--namespace=${namespace:=}", "--backup=${backupSession:=none}", "--restore=${restoreSession:=no}", "${invokerKind}/${invokerName}"];
        let spec = pod(&run, json!({"image": "i", "args": args}));
        let expected = ["--namespace=demo", "--backup=s", "--restore=no", "BackupConfiguration/bc"].map(str::to_owned);
        assert_eq!(spec.containers[0].args.as_deref(), Some(expected.as_slice()));
        assert_eq!(env(&spec), [("TABLE".into(), Some("users".into())), ("PHASE".into(), Some("Failed".into()))]);
        assert_eq!(spec.service_account_name.as_deref(), Some("flusher"));
        assert_eq!(spec.volumes.expect("volumes")[0].name, "data");
    }

    #[test]
    fn what_a_session_says_is_not_looked_at_again() {
        let spec = executor(json!({"name": "f", "env": [{"name": "ERROR", "value": "{{ .Status.Error }}"}]}));
        let mut around = around(&[]);
        let summary = crate::hooks::summary::Summary { error: "$(TOKEN) ${table} {{ .Name }}".into(), ..around.summary.clone() };
        around.summary = &summary;
        let run = run_of(resolve(&hook(json!({"params": {"table": "x"}})), &template(spec), &around));
        let spec = pod(&run, json!({"image": "i"}));
        assert_eq!(env(&spec), [("ERROR".into(), Some("$$(TOKEN) $${table} {{ .Name }}".into()))]);
    }

    #[test]
    fn a_value_from_a_secret_goes_from_the_kubelet_to_the_container_only() {
        let from = json!({"secretKeyRef": {"name": "db", "key": "password"}});
        let info = json!({"params": {"table": "x"}, "variables": [{"name": "password", "valueFrom": from}]});
        let run = run_of(resolve(&hook(info.clone()), &template(executor(json!({"name": "f"}))), &around(&[])));
        let spec = pod(&run, json!({"image": "i", "args": ["--password=${password}"]}));
        assert_eq!(spec.containers[0].args.as_deref(), Some(["--password=$(password)".to_owned()].as_slice()));
        assert_eq!(spec.containers[0].env.as_ref().expect("env")[0].value_from, serde_json::from_value(from).ok());
        let in_pod = json!({"action": {"exec": {"command": ["true"]}}, "params": [{"name": "table"}],
            "executor": {"type": "Pod", "pod": {"selector": "app=db"}}});
        let refused = resolve(&hook(info), &template(in_pod), &around(&[])).expect_err("a refusal");
        assert!(refused.contains("variable \"password\": valueFrom"), "{refused}");
    }
}
