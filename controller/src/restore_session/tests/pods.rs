//! Tasks of a restore that pods do, in their turn.

use super::*;
use crate::runs::Standing;
use crate::work::pod::{PodTask, Seen};

/// A restore whose first task is a pod's.
fn with_pod(status: Value, standing: Option<Standing>) -> Observed {
    let mut observed = observed(restore(json!({"restoreTimeout": "1h"}), status));
    let addon = json!({"metadata": {"name": "db"}, "spec": {"restoreTasks": [{"name": "morning", "function": "load"}]}});
    let addon: holdfast_api::Addon = serde_json::from_value(addon).unwrap();
    let task = PodTask::new(&addon.spec.restore_tasks[0], &Default::default(), &Default::default(), BTreeMap::new()).unwrap();
    observed.job = Ok(Job { tasks: vec![Step::Pod(Box::new(task.clone())), Step::Agents(AgentTask::Restore)], ..Job::default() });
    let run = super::super::pods::run(&task, &observed).unwrap();
    assert_eq!((run.owner.kind.as_str(), run.timeout), ("RestoreSession", Duration::from_secs(3600)));
    assert!(run.stays && run.pod_name().len() <= 63);
    observed.pods.insert("morning".into(), Seen { run, standing, before: None });
    observed.reaches = components::reaches(&observed);
    observed
}

#[test]
fn a_pod_of_a_restore_has_its_turn_and_its_end() {
    let pods = |actions: &[Action]| {
        let wanted = actions.iter().filter_map(|action| if let Action::Tasks(wanted) = action { Some(wanted) } else { None }).flatten();
        wanted.map(|wanted| if let Wanted::Function(run) = wanted { run.function.clone() } else { wanted.component().to_owned() }).collect::<Vec<_>>()
    };
    let begun = |morning: &str| json!({"phase": "Running", "components": {"morning": {"phase": morning}, "dump": {"phase": "Pending"}}});
    let first = plan(&with_pod(Value::Null, None), now());
    assert_eq!((pods(&first), status(&first)["totalComponents"].clone()), (vec!["load".to_owned()], json!(2)), "the volume waits for its turn");
    let runs = plan(&with_pod(begun("Pending"), Some(Standing::Running)), now());
    assert_eq!(status(&runs)["components"]["morning"]["phase"], "Running");
    let ended = plan(&with_pod(begun("Running"), Some(Standing::Ended(Ok(())))), now());
    assert_eq!((status(&ended)["components"]["morning"]["phase"].clone(), pods(&ended)), (json!("Succeeded"), vec!["load".to_owned()]), "kept until that is written");
    assert_eq!(pods(&plan(&with_pod(begun("Succeeded"), Some(Standing::Ended(Ok(())))), now())), ["dump"]);
    // What it has written itself counts, and its end is waited for.
    let early = json!({"phase": "Running", "components": {"morning": {"phase": "Succeeded"}, "dump": {"phase": "Succeeded"}}});
    let waits = plan(&with_pod(early.clone(), Some(Standing::Running)), now());
    assert_eq!((pods(&waits), status(&waits)["phase"].clone()), (vec!["load".to_owned()], Value::Null), "no end yet");
    assert_eq!(status(&plan(&with_pod(early, None), now()))["phase"], "Succeeded");
    let failed = plan(&with_pod(begun("Running"), Some(Standing::Ended(Err("Function load: no".into())))), now());
    assert_eq!((status(&failed)["phase"].clone(), pods(&failed).len()), (json!("Failed"), 0), "the others never begin");
    let mut late = with_pod(begun("Running"), Some(Standing::Running));
    Arc::make_mut(&mut late.restore).status.as_mut().unwrap().restore_deadline = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let said = status(&plan(&late, now())).to_string();
    assert!(said.contains("restoreTimeout has passed") && said.contains("BackupAtFault"), "{said}");
}

#[test]
fn a_pod_restores_what_no_agent_has_stored_and_is_no_try() {
    let mut observed = with_pod(Value::Null, None);
    let stored = observed.snapshot.as_mut().unwrap().status.as_mut().unwrap();
    stored.components.insert("nightly".into(), serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
    let chosen: Vec<_> = components::chosen(&observed).unwrap().into_keys().collect();
    assert_eq!(chosen, ["dump"], "what a pod has stored is no agent's");
    let job = observed.job.as_mut().unwrap();
    job.tasks.truncate(1);
    assert!(components::chosen(&observed).unwrap().is_empty());
    observed.reaches = components::reaches(&observed);
    observed.target.shape = Shape::Unsupported("of a kind that we do not know".into());
    assert_eq!(status(&plan(&observed, now()))["phase"], "Running", "a pod knows what to do with it");
    let owner = json!([{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession", "name": "t", "uid": "t", "controller": true}]);
    Arc::make_mut(&mut observed.restore).metadata.owner_references = serde_json::from_value(owner).unwrap();
    assert_eq!(status(&plan(&observed, now()))["phase"], "Invalid");
}
