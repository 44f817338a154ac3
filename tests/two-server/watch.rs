use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::ground::{Ground, PATIENCE, create};

async fn next<K: std::fmt::Debug>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> WatchEvent<K> {
    tokio::time::timeout(PATIENCE, events.try_next())
        .await
        .expect("an event in time")
        .unwrap()
        .expect("the watch goes on")
}

async fn next_change<K: ResourceExt + std::fmt::Debug>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> (&'static str, String) {
    loop {
        return match next(events).await {
            WatchEvent::Added(object) => ("ADDED", object.name_any()),
            WatchEvent::Modified(object) => ("MODIFIED", object.name_any()),
            WatchEvent::Deleted(object) => ("DELETED", object.name_any()),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
    }
}

async fn label(ground: &Ground, name: &str, value: Option<&str>) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"shown": value}}}));
    ground
        .api::<ConfigMap>()
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn map(ground: &Ground, name: &str, labels: serde_json::Value) {
    create(
        &ground.api::<ConfigMap>(),
        json!({"metadata": {"name": name, "labels": labels}}),
    )
    .await
    .unwrap();
}

pub(crate) async fn changes_arrive_in_order(ground: &Ground) {
    let maps = ground.api::<ConfigMap>();
    map(ground, "before", json!({"watched": "yes"})).await;
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().labels("watched=yes");
    let mut events = maps.watch(&params, &start).await.unwrap().boxed();
    map(ground, "a", json!({"watched": "yes"})).await;
    label(ground, "a", Some("yes")).await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    map(ground, "b", json!({"watched": "yes"})).await;
    for expected in [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
    ] {
        assert_eq!(
            next_change(&mut events).await,
            (expected.0, expected.1.to_owned())
        );
    }
    // The same again from the same revision: a watch does not consume.
    let mut events = maps.watch(&params, &start).await.unwrap().boxed();
    let mut last = 0;
    for _ in 0..4 {
        let event = next(&mut events).await;
        let (WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map)) = event
        else {
            continue;
        };
        let revision = map
            .metadata
            .resource_version
            .unwrap()
            .parse::<u64>()
            .unwrap();
        assert!(revision > last, "{revision} after {last}");
        last = revision;
    }
}

pub(crate) async fn an_object_that_leaves_the_selection_is_deleted(ground: &Ground) {
    let maps = ground.api::<ConfigMap>();
    map(ground, "a", json!({})).await;
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = maps
        .watch(&WatchParams::default().labels("shown=yes"), &start)
        .await
        .unwrap()
        .boxed();
    label(ground, "a", Some("yes")).await;
    label(ground, "a", None).await;
    label(ground, "a", Some("yes")).await;
    for expected in ["ADDED", "DELETED", "ADDED"] {
        assert_eq!(next_change(&mut events).await, (expected, "a".to_owned()));
    }
}

pub(crate) async fn initial_events_end_with_a_bookmark(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    ground.widget("b", json!({"size": 1})).await;
    let widgets = ground.widgets();
    let mut events = widgets
        .watch(&WatchParams::default().initial_events(), "")
        .await
        .unwrap()
        .boxed();
    let mut names = Vec::new();
    let bookmark = loop {
        match next(&mut events).await {
            WatchEvent::Added(object) => names.push(object.name_any()),
            WatchEvent::Bookmark(bookmark) => break bookmark,
            other => panic!("{other:?}"),
        }
    };
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        bookmark.metadata.annotations["k8s.io/initial-events-end"],
        "true"
    );
    let mut from_bookmark = widgets
        .watch(&WatchParams::default(), &bookmark.metadata.resource_version)
        .await
        .unwrap()
        .boxed();
    ground.widget("c", json!({"size": 1})).await;
    assert_eq!(
        next_change(&mut from_bookmark).await,
        ("ADDED", "c".to_owned())
    );
}

pub(crate) async fn metadata_is_all_that_is_watched(ground: &Ground) {
    let widgets = ground.widgets();
    let start = widgets
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = widgets
        .watch_metadata(&WatchParams::default(), &start)
        .await
        .unwrap()
        .boxed();
    ground.widget("a", json!({"size": 1})).await;
    let WatchEvent::Added(object) = next(&mut events).await else {
        panic!("no object")
    };
    assert_eq!(object.metadata.name.as_deref(), Some("a"));
    assert_eq!(object.types.unwrap().kind, "PartialObjectMetadata");
}

pub(crate) async fn a_watch_without_a_revision_begins_with_objects(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    for start in ["", "0"] {
        let mut events = ground
            .widgets()
            .watch(&WatchParams::default().timeout(30), start)
            .await
            .unwrap()
            .boxed();
        assert_eq!(next_change(&mut events).await, ("ADDED", "a".to_owned()));
    }
    let mut short = ground
        .widgets()
        .watch(&WatchParams::default().timeout(1), "0")
        .await
        .unwrap()
        .boxed();
    let ended = async { while short.try_next().await.is_ok_and(|event| event.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("a watch ends at its timeout");
}
