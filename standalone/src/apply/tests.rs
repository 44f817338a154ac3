use serde_json::json;

use super::fields::{leaves, merge, parse, remove, render};

#[test]
fn the_fields_of_an_object_survive_the_form_they_are_stored_in() {
    let object = json!({"apiVersion": "v1", "metadata": {"name": "x", "labels": {"a": "1"}},
        "spec": {"list": [1], "empty": {}, "deep": {"x": 1, "y": null}}});
    let found = leaves(&object);
    let paths: Vec<String> = found.iter().map(|path| path.join(".")).collect();
    assert_eq!(
        paths,
        [
            "metadata.labels.a",
            "spec.deep.x",
            "spec.empty",
            "spec.list"
        ]
    );
    assert_eq!(parse(&render(&found)), found);
}

#[test]
fn merging_keeps_what_is_not_named_and_removing_drops_empty_maps() {
    let mut object = json!({"spec": {"a": 1, "b": {"c": 2}}});
    merge(&mut object, &json!({"spec": {"a": 3, "b": {"d": [4]}}}));
    assert_eq!(object, json!({"spec": {"a": 3, "b": {"c": 2, "d": [4]}}}));
    remove(&mut object, &vec!["spec".into(), "b".into(), "c".into()]);
    remove(&mut object, &vec!["spec".into(), "b".into(), "d".into()]);
    assert_eq!(object, json!({"spec": {"a": 3}}));
}
