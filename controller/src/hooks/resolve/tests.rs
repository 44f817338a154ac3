use std::sync::LazyLock;

use serde_json::json;

use super::*;

pub(super) fn template(spec: Value) -> HookTemplateSpec {
    serde_json::from_value(spec).expect("a template")
}

pub(super) fn hook(spec: Value) -> HookInfo {
    serde_json::from_value(spec).expect("a hook")
}

fn pod(name: &str, ready: bool, labels: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "demo", "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u"}]},
        "spec": {"containers": [
            {"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}, {"name": "side"},
        ]},
        "status": {"phase": "Running", "podIP": "10.1.2.3",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    }))
    .expect("a pod")
}

/// As the API server has selected them.
fn pods() -> Vec<Pod> {
    vec![pod("db-0", false, json!({"app": "db"})), pod("db-1", true, json!({"app": "db"}))]
}

static SUMMARY: LazyLock<Summary> = LazyLock::new(|| Summary {
    name: "s".into(),
    namespace: "demo".into(),
    invoker: serde_json::from_value(json!({"kind": "BackupConfiguration", "name": "bc", "namespace": "demo"})).expect("a reference"),
    phase: "Failed".into(),
    error: "disk \"full\"".into(),
    ..Summary::default()
});
static OWNER: LazyLock<OwnerReference> = LazyLock::new(|| {
    let owner = json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "name": "s", "uid": "u"});
    serde_json::from_value(owner).expect("a reference")
});

pub(super) fn around(pods: &[Pod]) -> Around<'_> {
    Around { target_namespace: "demo", pods, summary: &SUMMARY, owner: &OWNER, run_id: "posthook-1".into() }
}

fn resolved(info: Value, spec: Value) -> Result<Concrete, String> {
    resolve(&hook(info), &template(spec), &around(&pods()))
}

fn exec(command: Value) -> Value {
    json!({
        "params": [{"name": "message", "default": "hello"}, {"name": "needed", "required": true}],
        "action": {"exec": {"command": command}},
        "executor": {"type": "Pod", "pod": {"selector": "app=db"}},
    })
}

fn command_of(concrete: Result<Concrete, String>) -> Vec<String> {
    match concrete.expect("a hook").steps.remove(0) {
        Step::Exec { command, .. } => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_runs_in_a_ready_pod_with_its_parameters() {
    let spec = exec(json!(["sh", "-c", "echo ${message} ${needed} ${HOME}"]));
    let concrete = resolved(json!({"name": "h", "params": {"needed": 7}, "maxRetry": 3, "timeout": "30s"}), spec).expect("a hook");
    assert_eq!((concrete.retries, concrete.timeout), (3, Duration::from_secs(30)));
    let expected = Step::Exec {
        namespace: "demo".into(),
        pod: "db-1".into(),
        container: "main".into(),
        command: ["sh", "-c", "echo hello 7 ${HOME}"].map(str::to_owned).to_vec(),
    };
    assert_eq!(concrete.steps, [expected], "the first ready pod; what is no parameter is the shell's");
}

#[test]
fn on_all_pods_one_after_the_other() {
    let mut spec = exec(json!(["true"]));
    spec["executor"]["pod"]["strategy"] = json!("ExecuteOnAll");
    let steps = resolved(json!({"params": {"needed": "x"}}), spec).expect("a hook").steps;
    let names: Vec<_> = steps.iter().map(|step| match step { Step::Exec { pod, .. } => pod.as_str(), _ => "" }).collect();
    assert_eq!(names, ["db-1", "db-0"]);
}

#[test]
fn a_parameter_is_one_word_whatever_is_in_it() {
    let hostile = json!({"params": {"needed": "x\"; rm -rf / #", "message": "${needed}"}});
    let command = command_of(resolved(hostile, exec(json!(["echo", "${needed}", "${message}"]))));
    assert_eq!(command, ["echo", "x\"; rm -rf / #", "${needed}"], "a value is not looked at again, and adds no words");
}

#[test]
fn what_cannot_be_done_is_said() {
    for (info, pointer, value, words) in [
        (json!({}), "", Value::Null, "parameter \"needed\" is required"),
        (json!({"params": {"needed": 1, "other": 2}}), "", Value::Null, "parameter \"other\" is not one of"),
        (json!({"params": {"needed": 1}}), "/executor/pod/owner", json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "other"}), "no running pod"),
        (json!({"params": {"needed": 1}}), "/action/containerName", json!("ghost"), "has no container \"ghost\""),
        (json!({"params": {"needed": 1}}), "/action/exec/command", json!([]), "the command is empty"),
        (json!({"params": {"needed": 1}}), "/executor/type", json!("Operator"), "a command needs a pod"),
        (json!({"params": {"needed": 1}}), "/executor/type", json!("Function"), "executor says no Function"),
        (json!({"params": {"needed": 1}, "variables": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}), "", Value::Null, "variable \"V\": valueFrom"),
        (json!({"params": {"needed": 1}, "timeout": "soon"}), "", Value::Null, "timeout \"soon\""),
    ] {
        let mut spec = exec(json!(["true"]));
        if !pointer.is_empty() {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            spec.pointer_mut(parent).expect("the parent")[key] = value;
        }
        let error = resolved(info, spec).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn requests_go_to_the_pod_or_to_the_host_that_is_named() {
    let in_pod = json!({
        "action": {"httpGet": {"path": "flush", "port": "http", "httpHeaders": [{"name": "X-Phase", "value": "{{ .Status.Phase }}"}]}},
        "executor": {"type": "Pod", "pod": {"selector": "app=db"}},
    });
    let Step::Http(request) = resolved(json!({}), in_pod).expect("a hook").steps.remove(0) else { panic!("no request") };
    assert_eq!((request.host.as_str(), request.port, request.path.as_str(), request.of_pod), ("10.1.2.3", 8080, "/flush", true));
    assert_eq!(request.headers, [("X-Phase".to_owned(), "Failed".to_owned())]);

    let slack = json!({
        "action": {"httpPost": {"host": "hooks.slack.com", "port": 443, "path": "/x", "scheme": "HTTPS",
            "body": "{{ if eq .Status.Phase `Succeeded` }}ok{{ else }}failed: {{ .Status.Error }}{{ end }}"}},
        "executor": {"type": "Operator"},
    });
    let Step::Http(request) = resolved(json!({}), slack).expect("a hook").steps.remove(0) else { panic!("no request") };
    assert_eq!(request.body, Some(Body::Text("failed: disk \"full\"".to_owned())));
    assert!(request.tls && !request.of_pod);

    let as_json = json!({
        "action": {"httpPost": {"host": "h", "port": 80, "body": "{\"text\": \"{{ if eq .Status.Phase `Failed` }}{{ .Status.Error }}{{ end }}\"}"}},
        "executor": {"type": "Operator"},
    });
    let Step::Http(request) = resolved(json!({}), as_json).expect("a hook").steps.remove(0) else { panic!("no request") };
    assert_eq!(request.body, Some(Body::Text(r#"{"text":"disk \"full\""}"#.to_owned())), "a quote in a value stays in its string");

    let nowhere = json!({"action": {"tcpSocket": {"port": 80}}, "executor": {"type": "Operator"}});
    assert_eq!(resolved(json!({}), nowhere), Err("no host is named".to_owned()));
    let socket = json!({"action": {"tcpSocket": {"port": 80}}, "executor": {"type": "Pod", "pod": {"selector": "app=db"}}});
    let steps = resolved(json!({}), socket).expect("a hook").steps;
    assert_eq!(steps, [Step::Tcp { host: "10.1.2.3".into(), port: 80, of_pod: true }]);
}

#[test]
fn pods_are_selected_by_owner_too() {
    let mut spec = exec(json!(["true"]));
    spec["executor"]["pod"] = json!({"owner": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "other", "uid": "u"}});
    assert!(resolved(json!({"params": {"needed": 1}}), spec).is_err());
}

#[test]
fn a_form_is_sent_field_by_field_and_a_value_stays_in_its_field() {
    let spec = json!({
        "params": [{"name": "channel", "default": "ops"}],
        "action": {"httpPost": {"host": "h", "port": 80, "body": "not sent beside a form", "form": [
            {"key": "to", "values": ["${channel}", "all"]},
            {"key": "text", "values": ["{{ .Status.Error }}&admin=true"]},
            {"key": "nothing", "values": []},
        ]}},
        "executor": {"type": "Operator"},
    });
    let Step::Http(request) = resolved(json!({"params": {"channel": "a&b=c"}}), spec).expect("a hook").steps.remove(0) else { panic!("no request") };
    let fields = [("to", "a&b=c"), ("to", "all"), ("text", "disk \"full\"&admin=true")];
    assert_eq!(request.body, Some(Body::Form(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())));
}
