//! One suite for two API servers: the standalone one, and a real one.
//!
//! What our controllers rely on is asserted in the same words on both, so that a demo or a fast test on the standalone
//! server says something about a cluster. The tests of module `real` need `HOLDFAST_TEST_KUBECONFIG` and are ignored
//! without it; `tests/two-server/run` gives them a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod apply;
mod create;
mod definitions;
mod delete;
mod ground;
mod lease;
mod list;
mod patch;
mod runtime;
mod schema;
mod takeover;
mod token;
mod update;
mod watch;

/// Each named function becomes two tests, one for each server.
macro_rules! on_both_servers {
    ($($module:ident: $($name:ident),+;)+) => {
        mod standalone {
            $(mod $module {
                $(#[tokio::test]
                async fn $name() {
                    crate::ground::Ground::standalone(stringify!($name)).await.run(crate::$module::$name).await;
                })+
            })+
        }
        mod real {
            $(mod $module {
                $(#[tokio::test]
                #[ignore = "needs HOLDFAST_TEST_KUBECONFIG"]
                async fn $name() {
                    crate::ground::Ground::real(stringify!($name)).await.run(crate::$module::$name).await;
                })+
            })+
        }
    };
}

on_both_servers! {
    create: system_fields_are_the_servers, a_generated_name_has_its_prefix, a_second_create_is_refused,
        a_missing_namespace_is_not_found, a_bad_name_is_invalid, status_is_not_created, string_data_becomes_data,
        a_dry_run_writes_nothing;
    definitions: every_kind_of_ours_is_accepted, a_definition_that_is_none_is_refused;
    update: a_stale_revision_conflicts, only_builtins_are_overwritten_without_a_revision,
        spec_and_status_are_written_apart, the_same_again_is_no_write, another_objects_uid_conflicts;
    patch: merge_patch_removes_by_null_and_keeps_the_rest, a_merge_patch_with_a_stale_revision_conflicts,
        a_status_patch_leaves_unknown_neighbours, json_patch_tests_and_changes,
        strategic_merge_is_for_builtins, patching_nothing_is_not_found;
    apply: applying_creates_and_then_owns, what_is_no_longer_applied_goes_away, others_fields_conflict_unless_forced,
        status_is_applied_apart;
    schema: unknown_fields_are_pruned, defaults_are_filled_on_every_write, what_the_schema_refuses_is_named;
    list: labels_select, fields_select, pages_show_one_moment, metadata_is_all_that_is_sent;
    watch: changes_arrive_in_order, an_object_that_leaves_the_selection_is_deleted, initial_events_end_with_a_bookmark,
        metadata_is_all_that_is_watched, a_watch_without_a_revision_begins_with_objects;
    delete: finalizers_hold_an_object, preconditions_are_met_or_nothing_happens, a_scheduled_pod_waits_for_its_kubelet,
        a_collection_is_deleted_by_label, dependents_follow_their_owner, foreground_waits_for_dependents,
        a_namespace_takes_its_content;
    lease: one_of_two_contenders_wins;
    takeover: a_schedule_is_suspended_and_the_rest_of_it_stays, webhooks_are_made_again_from_what_a_list_says;
    token: a_pods_token_names_its_node, a_token_is_for_its_audience_only;
    runtime: a_watcher_sees_everything_once, a_streaming_watcher_sees_everything_once,
        the_finalizer_of_kube_runtime_works, events_are_recorded;
}
