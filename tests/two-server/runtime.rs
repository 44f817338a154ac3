use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::events::v1::Event as Recorded;
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{self, finalizer},
        watcher,
    },
};
use serde_json::json;
use std::sync::Arc;

use crate::ground::{Ground, PATIENCE, value, widget_resource};

async fn watched(ground: &Ground, config: watcher::Config, is_stream: bool) {
    for n in 0..5 {
        ground
            .widget(&format!("before-{n}"), json!({"size": 1}))
            .await;
    }
    let mut events = watcher(ground.widgets(), config).boxed();
    let mut known = BTreeMap::new();
    let mut changed = false;
    let watch = async {
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                watcher::Event::Init => assert!(known.is_empty()),
                watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                    known.insert(object.name_any(), object);
                }
                watcher::Event::Delete(object) => {
                    known.remove(&object.name_any());
                }
                watcher::Event::InitDone if !changed => {
                    // The real server's stream now and then says that it is complete before the newest object, which then comes as an event.
                    assert!(known.len() == 5 || is_stream, "{:?}", known.keys());
                    ground.widget("after", json!({"size": 1})).await;
                    ground
                        .widgets()
                        .delete("before-0", &DeleteParams::default())
                        .await
                        .unwrap();
                    changed = true;
                }
                watcher::Event::InitDone => panic!("the watch began again"),
            }
            if known.contains_key("after") && !known.contains_key("before-0") && known.len() == 5 {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(PATIENCE, watch)
        .await
        .expect("all events in time");
}

pub(crate) async fn a_watcher_sees_everything_once(ground: &Ground) {
    watched(ground, watcher::Config::default().page_size(2), false).await;
}

pub(crate) async fn a_streaming_watcher_sees_everything_once(ground: &Ground) {
    watched(ground, watcher::Config::default().streaming_lists(), true).await;
}

pub(crate) async fn the_finalizer_of_kube_runtime_works(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    let widgets = ground.widgets();
    let pass = async || {
        let object = Arc::new(widgets.get("a").await.unwrap());
        let reconcile = async |event: finalizer::Event<DynamicObject>| {
            let _ = event;
            Ok::<_, std::convert::Infallible>(Action::await_change())
        };
        finalizer(&widgets, "holdfast.dev/test", object, reconcile)
            .await
            .unwrap();
    };
    pass().await;
    assert_eq!(
        widgets.get("a").await.unwrap().finalizers(),
        ["holdfast.dev/test"]
    );
    widgets.delete("a", &DeleteParams::default()).await.unwrap();
    pass().await;
    assert!(widgets.get_opt("a").await.unwrap().is_none());
}

pub(crate) async fn events_are_recorded(ground: &Ground) {
    let object = ground.widget("a", json!({"size": 1})).await;
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let reporter = Reporter {
        controller: "holdfast-controller".into(),
        instance: Some("one".into()),
    };
    let recorder = Recorder::new(ground.client.clone(), reporter);
    let event = Event {
        type_: EventType::Warning,
        reason: "SomeFilesUnreadable".into(),
        note: Some("3 files".into()),
        action: "Backup".into(),
        secondary: None,
    };
    let reference = object.object_ref(&widget_resource());
    for _ in 0..2 {
        recorder.publish(&event, &reference).await.unwrap();
    }
    let events = ground
        .api::<Recorded>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let [only] = events.items.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(only.reason.as_deref(), Some("SomeFilesUnreadable"));
    let regarding = value(only.regarding.as_ref().unwrap());
    assert_eq!(
        (&regarding["kind"], &regarding["name"]),
        (&json!("Widget"), &json!("a"))
    );
    assert_eq!(only.series.as_ref().map(|series| series.count), Some(2));
}
