use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_api::validation::HOOK_TEMPLATES_MAX;
use serde_json::json;

use super::*;

fn request(kind: &str, object: Value) -> Request {
    let group = holdfast_group(kind);
    serde_json::from_value(json!({
        "uid": "1", "kind": {"group": group, "version": "v1alpha1", "kind": kind}, "namespace": "demo",
        "operation": "CREATE", "userInfo": {"username": "u"}, "object": object,
    }))
    .expect("a well-formed request")
}

fn holdfast_group(kind: &str) -> &'static str {
    if kind.starts_with("Backup") && kind != "BackupStorage" { "core.kubestash.com" } else { "storage.kubestash.com" }
}

/// A judge whose API server knows one HookTemplate, `shell`, and no other object. It counts what it is asked about users.
fn judge(may_all: bool, questions: &Arc<AtomicUsize>) -> Judge {
    let questions = Arc::clone(questions);
    let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let path = request.uri().path();
        let is_question = path.ends_with("/subjectaccessreviews");
        questions.fetch_add(usize::from(is_question), Ordering::Relaxed);
        let (code, answer) = if is_question {
            (201, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {}, "status": {"allowed": may_all}}))
        } else if path.ends_with("/hooktemplates/shell") {
            let spec = json!({"action": {"exec": {"command": ["sh"]}}, "executor": {"type": "Pod", "pod": {"selector": "app=web"}}});
            (200, json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "HookTemplate", "metadata": {"name": "shell", "namespace": "demo"}, "spec": spec}))
        } else {
            (404, json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "not found", "code": 404, "metadata": {}}))
        };
        let response = http::Response::builder().status(code).body(kube::client::Body::from(answer.to_string().into_bytes()));
        async move { Ok::<_, std::io::Error>(response.expect("a response")) }
    });
    Judge::new(kube::Client::new(server, "demo"), Arc::default())
}

#[tokio::test]
async fn a_template_behind_more_names_than_are_looked_up_is_not_hidden() {
    let hook = |name: String| json!({"hookTemplate": {"name": name}});
    let mut hooks: Vec<Value> = (0..HOOK_TEMPLATES_MAX).map(|index| hook(format!("a{index:02}"))).collect();
    hooks.push(hook("shell".to_owned()));
    let restore = json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {
        "dataSource": {"repository": "r", "snapshot": "latest"},
        "addon": {"name": "workload-addon", "tasks": [{"name": "logical-backup-restore"}]},
        "hooks": {"preRestore": hooks},
    }});
    let questions = Arc::default();
    let answer = judge(true, &questions).judged(&request("RestoreSession", restore)).await;
    let Answer::Invalid(message) = answer else { panic!("it was let through: {answer:?}") };
    let expected = r#"spec.hooks.preRestore[64].hookTemplate: "demo/shell" cannot be used: an object may name at most 64 different HookTemplates"#;
    assert_eq!(message, expected);
}

#[tokio::test]
async fn what_looks_like_names_of_templates_hides_none() {
    let names: Vec<Value> = (0..HOOK_TEMPLATES_MAX).map(|index| json!({"hookTemplate": {"name": format!("a{index:02}")}})).collect();
    let restore = json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {
        "dataSource": {"repository": "r", "snapshot": "latest"},
        "addon": {"name": "workload-addon", "tasks": [{"name": "logical-backup-restore"}]},
        "hooks": {"preRestore": [{"hookTemplate": {"name": "shell"}, "params": {"names": names}}]},
    }});
    let answer = judge(false, &Arc::default()).judged(&request("RestoreSession", restore)).await;
    let Answer::Forbidden(message) = answer else { panic!("it was let through: {answer:?}") };
    assert!(message.contains("may not create pods/exec"), "{message}");
}

#[tokio::test]
async fn so_much_is_asked_about_one_object_and_no_more() {
    let rights = |count: usize| {
        let repositories: Vec<Value> =
            (0..count).map(|index| json!({"name": format!("r{index}"), "encryptionSecret": {"name": format!("s{index}")}})).collect();
        let object = json!({"metadata": {"name": "c", "namespace": "demo"}, "spec": {"sessions": [{"name": "s", "repositories": repositories}]}});
        let known = Known { templates: &|_, _| None, may_be_pod: &|_, _, _| false };
        rights::backup_configuration(&serde_json::from_value(object).expect("a configuration"), "demo", &known)
    };
    let questions = Arc::default();
    let (judge, request) = (judge(true, &questions), request("BackupConfiguration", Value::Null));
    let most = judge.decide(&request, Ok(()), rights(RIGHTS_MAX)).await;
    assert!(matches!(most, Ok(Answer::Allowed)), "{most:?}");
    assert_eq!(questions.load(Ordering::Relaxed), RIGHTS_MAX);
    let more = judge.decide(&request, Ok(()), rights(RIGHTS_MAX + 1)).await;
    assert!(matches!(&more, Ok(Answer::Invalid(message)) if message == "201 Secrets, hooks and pods in one object; at most 200"), "{more:?}");
    assert_eq!(questions.load(Ordering::Relaxed), RIGHTS_MAX, "nothing more was asked");
}

#[test]
fn what_is_filled_in_leaves_unknown_fields_alone() {
    let object = json!({
        "metadata": {"name": "s"},
        "spec": {"storage": {"provider": "s3", "s3": {"bucket": "b/", "fieldOfTomorrow": 1}}},
    });
    let answer = filled(&request("BackupStorage", object.clone()), defaults::backup_storage);
    let Ok(Answer::Patched(patch)) = answer else { panic!("nothing is filled in: {answer:?}") };
    let mut patched = object;
    json_patch::patch(&mut patched, &patch).expect("the patch applies");
    assert_eq!(patched["spec"]["storage"]["s3"], json!({"bucket": "b", "fieldOfTomorrow": 1}));
    assert_eq!(patched["spec"]["usagePolicy"]["allowedNamespaces"]["from"], "Same");
    let again = filled(&request("BackupStorage", patched), defaults::backup_storage);
    assert!(matches!(again, Ok(Answer::Allowed)), "filling in twice changes nothing: {again:?}");
}

#[test]
fn hook_templates_are_found_wherever_they_are_named() {
    let hook = |name: &str| json!({"hookTemplate": {"name": name}});
    let object = json!({"spec": {
        "sessions": [{"hooks": {"preBackup": [hook("a"), {"hookTemplate": {"name": "b", "namespace": "other"}}]}}],
        "hooks": {"postRestore": [hook("a")]},
    }});
    assert_eq!(templates_of(&object, "demo"), [Named::new("demo", "a"), Named::new("other", "b")].into());
}

#[test]
fn an_answer_is_what_the_api_server_reads() {
    let denied = Answer::Forbidden("no".to_owned()).to_review("7").expect("JSON");
    assert_eq!(denied["response"]["allowed"], false);
    assert_eq!(denied["response"]["uid"], "7");
    assert_eq!(denied["response"]["status"], json!({"code": 403, "reason": "Forbidden", "message": "no"}));
    let patch = json_patch::diff(&json!({}), &json!({"a": 1}));
    let patched = Answer::Patched(patch).to_review("7").expect("JSON");
    assert_eq!(patched["response"]["patchType"], "JSONPatch");
    assert_eq!(patched["response"]["patch"], "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2EiLCJ2YWx1ZSI6MX1d");
}
