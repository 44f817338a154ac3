//! Restores into several claims of their own: one for each path of each component.

use super::*;

/// Components with these paths, and templates with these names.
pub(super) fn into_claims(components: &[(&str, &[&str])], names: &[&str]) -> Observed {
    let mut observed = observed(restore(json!({}), Value::Null));
    let component = |paths: &[&str]| {
        let stats: Vec<Value> = paths.iter().map(|path| json!({"summary": {"id": "engine-id", "hostPath": path}})).collect();
        serde_json::from_value(json!({"driver": "Holdfast", "phase": "Succeeded", "resticStats": stats})).unwrap()
    };
    let stored = observed.snapshot.as_mut().unwrap().status.as_mut().unwrap();
    stored.components = components.iter().map(|(name, paths)| ((*name).to_owned(), component(paths))).collect();
    let template = |name: &&str| serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"storageClassName": format!("for-{name}")}})).unwrap();
    observed.job = Ok(Job { claim_templates: names.iter().map(template).collect(), ..Job::default() });
    observed.target.shape = Shape::Unsupported("a backup without a target is not supported yet".into());
    look(&mut observed, |_| None);
    observed
}

/// A claim of a name as it is found, if it is: as the target, and whether it is the restore's.
fn found(name: &str, is_ours: bool, pods: Vec<Arc<Pod>>) -> Option<(Target, bool)> {
    let claim = json!({"metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid")}, "spec": {"volumeName": format!("pv-{name}")}});
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
    Some((Target::seen(Purpose::Restore, Shape::Claim { name: name.into(), pods }, [(name.into(), Arc::new(claim))]), is_ours))
}

fn ours(name: &str) -> Option<(Target, bool)> {
    found(name, true, Vec::new())
}

/// Looks at its claims, as this finds them.
fn look(observed: &mut Observed, find: impl Fn(&str) -> Option<(Target, bool)>) {
    let seen = |claim: Result<PersistentVolumeClaim, String>| {
        let name = claim.as_ref().ok().and_then(|claim| claim.metadata.name.as_deref());
        let missing = || (Target::seen(Purpose::Restore, Shape::Missing("not there".into()), []), false);
        let (target, is_ours) = name.map(|name| find(name).unwrap_or_else(missing)).unzip();
        OwnClaim { claim, target, is_ours: is_ours == Some(true) }
    };
    observed.own_claims = own_claims::wanted(observed, "demo").into_iter().map(|(key, claim)| (key, seen(claim))).collect();
    observed.reaches = components::reaches(observed);
}

fn created(actions: &[Action]) -> Vec<&PersistentVolumeClaim> {
    actions.iter().filter_map(|action| if let Action::CreateClaim(claim) = action { Some(claim.as_ref()) } else { None }).collect()
}

fn names<'c>(claims: &[&'c PersistentVolumeClaim]) -> Vec<&'c str> {
    claims.iter().filter_map(|claim| claim.metadata.name.as_deref()).collect()
}

/// The claims of each pod that is wanted.
fn held(actions: &[Action]) -> Vec<Vec<&str>> {
    let wanted = actions.iter().filter_map(|action| if let Action::Tasks(wanted) = action { Some(wanted) } else { None }).flatten();
    let wishes = wanted.filter_map(|wanted| if let Wanted::Hold(wish) = wanted { Some(wish) } else { None });
    wishes.map(|wish| wish.claims.iter().map(String::as_str).collect()).collect()
}

const BOTH: &[&str] = &["/data", "/var/log"];

/// Of a StatefulSet whose pods have two volumes. The names are not in the order of the paths.
fn set() -> Observed {
    into_claims(&[("dump-pod-0", BOTH), ("dump-pod-1", BOTH)], &["z-${POD_ORDINAL}", "log-${POD_ORDINAL}"])
}

#[test]
fn templates_are_matched_to_the_paths_of_each_component_in_their_order() {
    let mut observed = set();
    let actions = plan(&observed, now());
    let claims = created(&actions);
    assert_eq!(names(&claims), ["z-0", "log-0", "z-1", "log-1"]);
    let classes: Vec<_> = claims.iter().map(|claim| claim.spec.as_ref().unwrap().storage_class_name.as_deref().unwrap()).collect();
    assert_eq!(classes[..2], ["for-z-${POD_ORDINAL}", "for-log-${POD_ORDINAL}"], "each like its own template");
    for claim in claims {
        assert_eq!(claim.metadata.labels.as_ref().unwrap()[own_claims::MADE_BY], "back-uid");
        assert!(claim.metadata.owner_references.is_none(), "what a person restores stays");
    }
    // One pod holds all claims of a component.
    look(&mut observed, ours);
    let actions = plan(&observed, now());
    assert!(created(&actions).is_empty());
    assert_eq!(held(&actions), [["log-0", "z-0"], ["log-1", "z-1"]]);
    // It runs: each path goes into the claim of its template.
    let wishes: Vec<_> = observed.reaches.values().map(|reach| if let Reach::Unmounted(wish) = reach { wish.pod_name() } else { panic!("{reach:?}") }).collect();
    look(&mut observed, |name| {
        let (mut target, is_ours) = ours(name)?;
        for holder in &wishes {
            let pod = json!({"metadata": {"name": holder, "uid": holder}, "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}});
            target.holders.insert(holder.clone(), Arc::new(serde_json::from_value(pod).unwrap()));
        }
        Some((target, is_ours))
    });
    let actions = plan(&observed, now());
    let places = |task: &v1::RestoreTask| -> Vec<(String, String)> {
        task.targets.iter().map(|target| (target.snapshot_path.clone(), target.volume.as_ref().unwrap().pvc_name.clone())).collect()
    };
    let expected = |ordinal: u32| vec![("/data".to_owned(), format!("z-{ordinal}")), ("/var/log".to_owned(), format!("log-{ordinal}"))];
    assert_eq!(requests(&actions).iter().map(places).collect::<Vec<_>>(), [expected(0), expected(1)]);
    assert_eq!(held(&actions).len(), 2, "and the pods stay meanwhile");
}

#[test]
fn after_a_crash_only_the_claims_that_are_not_there_are_made() {
    let mut observed = set();
    look(&mut observed, |name| ours(name).filter(|_| name != "log-1"));
    let actions = plan(&observed, now());
    assert_eq!(names(&created(&actions)), ["log-1"]);
    assert_eq!(held(&actions), [["log-0", "z-0"]], "nothing is written before all claims of its component are there");
}

#[test]
fn what_cannot_be_filled_keeps_the_claims_beside_it_from_being_made() {
    let app: Arc<Pod> = Arc::new(serde_json::from_value(json!({"metadata": {"name": "app", "namespace": "demo"}})).unwrap());
    let mut observed = into_claims(&[("dump", BOTH)], &["copy", "log"]);
    look(&mut observed, |name| found(name, false, vec![app.clone()]).filter(|_| name == "log"));
    let actions = plan(&observed, now());
    assert!(created(&actions).is_empty(), "nobody would fill it");
    let status = status(&actions);
    assert_eq!(status["phase"], "Failed");
    assert!(status["components"]["dump"]["error"].as_str().unwrap().contains("log was there before, and pod app uses it"), "{status}");
}

#[test]
fn a_try_has_a_claim_for_each_path_of_one_template() {
    let tried = |paths: &[&str]| {
        let mut observed = into_claims(&[("dump", paths)], &["try-1"]);
        let owner = json!([{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession", "name": "try-1", "uid": "t", "controller": true}]);
        Arc::make_mut(&mut observed.restore).metadata.owner_references = serde_json::from_value(owner).unwrap();
        look(&mut observed, ours);
        observed
    };
    let mut both = tried(BOTH);
    assert_eq!(held(&plan(&both, now())), [["try-1", "try-1-path-1"]], "one pod holds both");
    // One that was there before stops all of it.
    look(&mut both, |name| found(name, name == "try-1", Vec::new()));
    assert!(matches!(&both.reaches["dump"], Reach::Impossible(why) if why.contains("try-1-path-1 was there before")), "{:?}", both.reaches);
    // More than it takes tells nothing of the backup, and is not its writer's to mend.
    let many: Vec<String> = (0..=own_claims::PATHS_MAX).map(|number| format!("/{number}")).collect();
    let actions = plan(&tried(&many.iter().map(String::as_str).collect::<Vec<_>>()), now());
    let status = status(&actions);
    assert!(status["phase"] == "Failed" && status.to_string().contains("holds 17 paths") && status.to_string().contains("BackupAtFault"), "{status}");
    assert!(created(&actions).is_empty());
}
