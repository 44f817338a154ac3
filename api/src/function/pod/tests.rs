use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::*;

/// What somebody writes into a parameter who wants more than a word of it.
const HOSTILE: &str = "x\", \"privileged\": true, \"y\": \"${other} $(TOKEN) $$(TOKEN)\n- --more; rm -rf /";
/// The same where a kubelet expands once more.
const HOSTILE_FOR_KUBELET: &str = "x\", \"privileged\": true, \"y\": \"$${other} $$(TOKEN) $$$$(TOKEN)\n- --more; rm -rf /";

fn function(spec: Value) -> Function {
    serde_json::from_value(json!({"metadata": {"name": "f"}, "spec": spec})).unwrap()
}

fn variables(values: &[(&str, &str)]) -> Variables {
    let mut variables = Variables::default();
    values.iter().for_each(|(name, value)| variables.set(name, *value));
    variables
}

fn pod(spec: Value, wanted: &Use) -> PodSpec {
    function(spec).pod(wanted).unwrap_or_else(|error| panic!("{error}")).spec
}

fn problems(spec: Value, wanted: &Use) -> Vec<String> {
    function(spec).pod(wanted).map(|_| ()).expect_err("problems").problems
}

/// A Function with `text` in every string that may hold a variable.
fn full(text: &str) -> Value {
    json!({
        "image": text,
        "command": ["run", text],
        "args": ["--a", text],
        "workingDir": text,
        "ports": [{"name": text, "containerPort": 80}],
        "volumeMounts": [{"name": "v", "mountPath": text, "subPathExpr": text}, {"name": "v", "mountPath": "/b", "subPath": text}],
        "volumeDevices": [{"name": text, "devicePath": text}],
        "runtimeSettings": {
            "env": [{"name": text, "value": text}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": text, "key": text}}}],
            "envFrom": [{"configMapRef": {"name": text}}],
            "lifecycle": {"preStop": {"exec": {"command": [text]}}},
            "livenessProbe": {"httpGet": {"path": text, "port": text}},
            "securityContext": {"seLinuxOptions": {"level": text}},
            "resources": {"limits": {"memory": text}},
        },
    })
}

/// What a template and a task bring, with `text` in every string.
fn around(text: &str, variables: Variables) -> Use {
    let part: Value = json!({
        "env": [{"name": "PART", "value": text}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": text, "secret": {"secretName": text}}],
        "mounts": [{"name": text, "mountPath": "/part", "subPath": text}],
    });
    let part = Part {
        field: "part".into(),
        is_template: true,
        env: serde_json::from_value(part["env"].clone()).unwrap(),
        volumes: serde_json::from_value(part["volumes"].clone()).unwrap(),
        volume_mounts: serde_json::from_value(part["mounts"].clone()).unwrap(),
    };
    let source = json!({"persistentVolumeClaim": {"claimName": text}});
    Use {
        variables,
        parts: vec![part],
        task_volumes: serde_json::from_value(json!([{"name": "claim", "source": source}, {"name": "given", "source": {"emptyDir": {}}}])).unwrap(),
        addon_volumes: serde_json::from_value(json!([{"name": "given", "source": {"hostPath": {"path": text}}}])).unwrap(),
        ..Use::default()
    }
}

/// Every string of a pod, by its place.
fn strings(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) => _ = found.insert(path.to_owned(), text.clone()),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| strings(item, &format!("{path}/{index}"), found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| strings(value, &format!("{path}/{name}"), found)),
        other => _ = found.insert(path.to_owned(), other.to_string()),
    }
}

fn strings_of(spec: &PodSpec) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    strings(&serde_json::to_value(spec).unwrap(), "", &mut found);
    found
}

#[test]
fn a_hostile_value_stays_in_its_string_in_every_field() {
    let with = |value: &str| strings_of(&pod(full("<${p}>"), &around("<${p}>", variables(&[("p", value), ("other", "LOOKED AT AGAIN")]))));
    let (harmless, hostile) = (with("word"), with(HOSTILE));
    // Of the kubelet are words of commands, values of variables, and the one field of a mount.
    let by_kubelet = |path: &str| {
        let of_container = path.strip_prefix("/containers/0/").unwrap_or_default();
        of_container.starts_with("command/")
            || of_container.starts_with("args/")
            || of_container.starts_with("env/") && of_container.ends_with("/value")
            || of_container.ends_with("/subPathExpr")
    };
    let expected: BTreeMap<String, String> = harmless
        .iter()
        .map(|(path, text)| (path.clone(), text.replace("<word>", &format!("<{}>", if by_kubelet(path) { HOSTILE_FOR_KUBELET } else { HOSTILE }))))
        .collect();
    assert_eq!(hostile, expected, "the same pod, but for the words");
    let filled: Vec<&str> = harmless.iter().filter(|(_, text)| *text == "<word>").map(|(path, _)| path.as_str()).collect();
    let fields = [
        "/containers/0/args/1",
        "/containers/0/command/1",
        "/containers/0/env/0/value",
        "/containers/0/env/1/name",
        "/containers/0/env/1/value",
        "/containers/0/env/2/valueFrom/secretKeyRef/key",
        "/containers/0/env/2/valueFrom/secretKeyRef/name",
        "/containers/0/envFrom/0/configMapRef/name",
        "/containers/0/image",
        "/containers/0/lifecycle/preStop/exec/command/0",
        "/containers/0/livenessProbe/httpGet/path",
        "/containers/0/livenessProbe/httpGet/port",
        "/containers/0/ports/0/name",
        "/containers/0/resources/limits/memory",
        "/containers/0/securityContext/seLinuxOptions/level",
        "/containers/0/volumeDevices/0/devicePath",
        "/containers/0/volumeDevices/0/name",
        "/containers/0/volumeMounts/0/mountPath",
        "/containers/0/volumeMounts/0/subPathExpr",
        "/containers/0/volumeMounts/1/subPath",
        "/containers/0/volumeMounts/2/name",
        "/containers/0/volumeMounts/2/subPath",
        "/containers/0/workingDir",
        "/volumes/0/persistentVolumeClaim/claimName",
        "/volumes/1/hostPath/path",
        "/volumes/3/name",
        "/volumes/3/secret/secretName",
    ];
    assert_eq!(filled, fields, "every field that may hold a variable is filled in");
}

#[test]
fn what_users_write_for_one_pod_is_taken_as_it_stands() {
    let settings: RuntimeSettings = serde_json::from_value(json!({
        "pod": {"serviceAccountName": "${p}"}, "container": {"env": [{"name": "A", "value": "${p}$(B)"}]},
    }))
    .unwrap();
    let wanted = Use { variables: variables(&[("p", "admin")]), ..Use::default() }.with_settings(Some(&settings));
    let spec = pod(json!({"image": "i"}), &wanted);
    assert_eq!(spec.service_account_name.as_deref(), Some("${p}"), "a variable never reaches a ServiceAccount");
    assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].value.as_deref(), Some("${p}$(B)"));
}

#[test]
fn what_has_no_value_is_named_with_its_field() {
    let wanted = around("${q}", variables(&[]));
    let found = problems(json!({"image": "i", "args": ["${a:=x}", "--b=${b}"], "volumeMounts": [{"name": "v", "mountPath": "${c"}]}), &wanted);
    for expected in [
        "spec.args[1]: variable \"b\" has no value",
        "spec.volumeMounts[0].mountPath: \"${c\" has a ${ without its }",
        "part.env[0].value: variable \"q\" has no value",
        "part.volumes[1].secret.secretName: variable \"q\" has no value",
        "addonVolumes[0].source.hostPath.path: variable \"q\" has no value",
    ] {
        assert!(found.iter().any(|problem| problem == expected), "{expected} is not among {found:#?}");
    }
    assert!(problems(json!({"args": []}), &Use::default())[0].starts_with("spec.image: "));
    let many: Vec<String> = (0..50).map(|index| format!("${{v{index}}}")).collect();
    let found = problems(json!({"image": "i", "args": many}), &Use::default());
    assert_eq!((found.len(), found.last().unwrap().as_str()), (PROBLEMS_MAX + 1, "and 40 more"));
    let long = variables(&[("long", &"x".repeat(1 << 20))]);
    assert!(problems(json!({"image": "${long}"}), &Use { variables: long, ..Use::default() })[0].contains("longer than"));
}

#[test]
fn defaults_and_what_the_author_leaves_to_the_kubelet() {
    let wanted = Use { variables: variables(&[("a", "$(SECRET)"), ("n", "(SECRET)")]), ..Use::default() };
    let args = ["${b:=two}", "${c:=$(POD)}", "$(POD) $$ ${a}", "$${n}", "$$${n}", "${d:=}"];
    let spec = pod(json!({"image": "i", "args": args}), &wanted);
    let expected = ["two", "$(POD)", "$(POD) $$ $$(SECRET)", "$$(SECRET)", "$$(SECRET)", ""];
    // An author's single `$` before a value stays one: no value becomes an expression by what stands before it.
    assert_eq!(spec.containers[0].args.as_ref().unwrap(), &expected);
}

#[test]
fn a_value_that_only_the_kubelet_knows_stands_in_no_other_field() {
    let mut of_secret = Variables::default();
    of_secret.add(&serde_json::from_value::<Vec<EnvVar>>(json!([
        {"name": "s", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}, {"name": "p", "value": "plain"},
        {"name": "unused", "valueFrom": {}},
        {"name": "a)b", "valueFrom": {}},
    ]))
    .unwrap());
    let wanted = Use { variables: of_secret, ..Use::default() };
    let spec = pod(json!({"image": "${p}", "args": ["$${s}"], "runtimeSettings": {"env": [{"name": "E", "value": "${s}"}]}}), &wanted);
    assert_eq!(spec.containers[0].args.as_ref().unwrap(), &["$$$(s)"]);
    let env: Vec<&str> = spec.containers[0].env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert_eq!(env, ["s", "E"], "first what others refer to, and nothing that is not needed");
    assert!(problems(json!({"image": "${s}"}), &wanted)[0].contains("spec.image: variable \"s\" has a valueFrom"));
    assert!(problems(json!({"image": "i", "args": ["${a)b}"]}), &wanted)[0].contains("spec.args[0]: variable \"a)b\" has a valueFrom"));
}

#[test]
fn words_of_a_script_are_run_as_they_stand() {
    let command = ["/scripts/check.sh", "$(TOKEN)", "${p}"].map(str::to_owned).to_vec();
    let spec = pod(json!({"image": "i", "command": ["own"], "args": ["${missing}"]}), &Use { command, ..Use::default() });
    assert_eq!(spec.containers[0].command.as_ref().unwrap(), &["/scripts/check.sh", "$$(TOKEN)", "$${p}"]);
    assert_eq!(spec.containers[0].args, None);
}

#[test]
fn nobody_has_more_rights_than_somebody_has_asked_for() {
    let spec = pod(json!({"image": "i"}), &Use::default());
    assert_eq!((spec.restart_policy.as_deref(), spec.automount_service_account_token), (Some("Never"), Some(false)));
    assert_eq!(spec.enable_service_links, Some(false));
    assert_eq!(spec.security_context.unwrap().seccomp_profile.unwrap().type_, "RuntimeDefault");
    let context = spec.containers[0].security_context.clone().unwrap();
    assert_eq!((context.allow_privilege_escalation, context.capabilities.unwrap().drop), (Some(false), Some(vec!["ALL".to_owned()])));
    assert_eq!(spec.containers[0].termination_message_policy.as_deref(), Some("FallbackToLogsOnError"));

    let settings = |settings: Value| Use::default().with_settings(Some(&serde_json::from_value(settings).unwrap()));
    let named = pod(json!({"image": "i"}), &settings(json!({"pod": {"serviceAccountName": "s"}})));
    assert_eq!(named.automount_service_account_token, Some(true));
    let unmounted = pod(json!({"image": "i"}), &settings(json!({"pod": {"serviceAccountName": "s", "automountServiceAccountToken": false}})));
    assert_eq!(unmounted.automount_service_account_token, Some(false));
    let unnamed = pod(json!({"image": "i"}), &settings(json!({"pod": {"automountServiceAccountToken": true}})));
    assert_eq!(unnamed.automount_service_account_token, Some(false), "nobody has named the account");
    let context = |asked: Value| {
        let mut spec = pod(json!({"image": "i"}), &settings(json!({"container": {"securityContext": asked}})));
        spec.containers.remove(0).security_context.unwrap()
    };
    assert_eq!(context(json!({"privileged": true})).allow_privilege_escalation, Some(true), "else the API server refuses it");
    assert_eq!(context(json!({"capabilities": {"add": ["SYS_ADMIN"]}})).allow_privilege_escalation, Some(true));
    let with_user = context(json!({"runAsUser": 5}));
    assert_eq!((with_user.run_as_user, with_user.allow_privilege_escalation), (Some(5), Some(false)));
}

#[test]
fn settings_are_laid_over_each_other() {
    let info: AddonInfo = serde_json::from_value(json!({
        "containerRuntimeSettings": {"env": [{"name": "A", "value": "session"}], "nice": {"adjustment": 5}, "ionice": {"class": 2}},
        "jobTemplate": {
            "metadata": {"labels": {"team": "x", "holdfast.dev/holder": "true"}},
            "spec": {"serviceAccountName": "s", "args": ["--last"], "env": [{"name": "A", "value": "job"}, {"name": "B", "value": "job"}],
                "resources": {"limits": {"cpu": "1"}}, "nodeSelector": {"disk": "ssd"}, "hostNetwork": true,
                "initContainers": [{"name": "first", "image": "i"}]},
        },
    }))
    .unwrap();
    let own = json!({"image": "i", "args": ["--first"], "runtimeSettings": {"env": [{"name": "A", "value": "own"}, {"name": "C", "value": "own"}],
        "resources": {"limits": {"memory": "1Gi"}}}});
    let wanted = Use::of_task(Variables::default(), &Task::default(), BTreeMap::new(), &TaskReference::default(), &info);
    let made = function(own).pod(&wanted).unwrap();
    assert_eq!(made.labels, [("team".to_owned(), "x".to_owned())].into(), "labels of ours are not to be had");
    let container = &made.spec.containers[0];
    let pair = |variable: &EnvVar| (variable.name.clone(), variable.value.clone().unwrap_or_default());
    let env: Vec<(String, String)> = container.env.iter().flatten().map(pair).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "session"), ("C", "own"), ("B", "job"), ("NICE_ADJUSTMENT", "5"), ("IONICE_CLASS", "2")]);
    assert_eq!(container.args.as_ref().unwrap(), &["--first", "--last"]);
    assert!(container.resources.as_ref().unwrap().limits.as_ref().unwrap().contains_key("cpu"));
    assert_eq!((made.spec.host_network, made.spec.node_selector.unwrap()["disk"].as_str()), (Some(true), "ssd"));
    let first = &made.spec.init_containers.as_ref().unwrap()[0];
    assert_eq!(first.security_context.as_ref().unwrap().allow_privilege_escalation, Some(false));
}

fn task() -> Task {
    serde_json::from_value(json!({
        "name": "dump", "function": "f",
        "parameters": [{"name": "table", "required": true}, {"name": "level", "default": "3"}],
        "volumeTemplate": [
            {"name": "data", "source": {"persistentVolumeClaim": {"claimName": "${PVC_NAME}"}}},
            {"name": "${INTERIM_VOLUME}", "source": {"emptyDir": {}}},
            {"name": "kubestash-tmp-volume", "source": {"emptyDir": {"medium": "Memory"}}},
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "${INTERIM_VOLUME}", "mountPath": "/interim"}],
    }))
    .unwrap()
}

fn of_task(reference: Value) -> Use {
    let reference: TaskReference = serde_json::from_value(reference).unwrap();
    let parameters = task().parameters(&reference.params).unwrap();
    Use::of_task(variables(&[("PVC_NAME", "claim"), ("level", "of the operator")]), &task(), parameters, &reference, &AddonInfo::default())
}

#[test]
fn a_task_has_its_parameters_variables_and_volumes() {
    let reference = json!({"name": "dump", "params": {"table": "users"}, "variables": [{"name": "extra", "value": "e"}]});
    let spec = pod(json!({"image": "i", "args": ["${table}-${level}-${extra}"]}), &of_task(reference));
    assert_eq!(spec.containers[0].args.as_ref().unwrap(), &["users-3-e"]);
    let volumes = spec.volumes.unwrap();
    let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["data", "kubestash-interim-volume", "kubestash-tmp-volume"]);
    assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, "claim");
    let mounts: Vec<&str> = spec.containers[0].volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    assert_eq!(mounts, ["/data", "/interim", "/kubestash-tmp"], "scratch space is where KubeStash's functions look for it");
}

#[test]
fn a_user_gives_a_tasks_volumes_by_name_or_by_placeholder() {
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let reference = json!({"params": {"table": "t"}, "addonVolumes": [
        {"name": "${RESTIC_CACHE_VOLUME}", "source": {"persistentVolumeClaim": {"claimName": "cache"}}},
        {"name": "kubestash-interim-volume", "source": {"volumeClaimTemplate": claim}},
    ]});
    let volumes = pod(json!({"image": "i"}), &of_task(reference)).volumes.unwrap();
    let ephemeral = volumes[1].ephemeral.as_ref().unwrap().volume_claim_template.as_ref().unwrap();
    assert_eq!(ephemeral.spec.access_modes.as_ref().unwrap(), &["ReadWriteOnce"]);
    assert!(volumes[1].empty_dir.is_none(), "one source only");
    assert_eq!(volumes[2].persistent_volume_claim.as_ref().unwrap().claim_name, "cache");
    assert!(volumes[2].empty_dir.is_none());
    let unknown = of_task(json!({"params": {"table": "t"}, "addonVolumes": [{"name": "ghost", "source": {"emptyDir": {}}}]}));
    assert_eq!(problems(json!({"image": "i"}), &unknown), ["addonVolumes: the task has no volume \"ghost\""]);
    let unmounted = json!({"image": "i", "volumeMounts": [{"name": "ghost", "mountPath": "/g"}]});
    assert_eq!(problems(unmounted, &Use::default()), ["volumeMounts: /g names volume \"ghost\", which the pod has not"]);
}

#[test]
fn the_nearest_version_of_a_database_is_in_the_image() {
    let spec = json!({"image": "postgres:${DB_VERSION}", "availableVersions": ["15.5", "16.1"]});
    let wanted = Use { variables: variables(&[("DB_VERSION", "16.9")]), ..Use::default() };
    assert_eq!(pod(spec, &wanted).containers[0].image.as_deref(), Some("postgres:16.1"));
    assert_eq!(pod(json!({"image": "x:${DB_VERSION}"}), &wanted).containers[0].image.as_deref(), Some("x:16.9"));
}
