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
    assert_eq!(templates_of(&object, "demo"), [Named::new("demo", "a"), Named::new("other", "b")]);
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
