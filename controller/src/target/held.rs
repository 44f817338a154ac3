//! Claims that no pod of the application mounts: reached by way of a pod of ours, once there is one.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

use super::paths::Place;
use super::{Access, Reach, Shape, Target, is_usable, no_directory, places_in, unbound, volume_of};
use crate::holder::{Placement, Purpose, Wish};

impl Target {
    /// All of each of these claims, under the paths that were backed up; one pod holds them.
    pub fn reach_whole(of: &[(&Self, &str)]) -> Reach {
        let Some((first, _)) = of.first() else { return Reach::Impossible("no path was backed up".into()) };
        let (mut all, mut places) = ((*first).clone(), Vec::new());
        for (target, path) in of {
            let Shape::Claim { name, .. } = &target.shape else { return Reach::Impossible("it is no PersistentVolumeClaim".into()) };
            places.push(Place { claim: name.clone(), path_in_volume: String::new(), container_path: (*path).to_owned() });
            all.claims.extend(target.claims.clone());
            all.host_path_claims.extend(target.host_path_claims.iter().cloned());
        }
        all.held(places, Placement::default())
    }

    /// The ordinals of a StatefulSet that is scaled to nothing: those whose own claims are there.
    pub(super) fn idle_ordinals(&self) -> BTreeSet<u32> {
        let Shape::StatefulSet { name, template, .. } = &self.shape else { return BTreeSet::new() };
        let (_, own) = template.as_ref();
        let ordinals = |claim: &String| own.iter().find_map(|prefix| ordinal_of(claim, prefix, name));
        self.claims.keys().filter_map(ordinals).collect()
    }

    /// Of a pod that the application would have.
    pub(super) fn reach_idle(&self, pod: &Pod, paths: &[String]) -> Reach {
        match places_in(pod, paths) {
            Ok(places) => self.held(places, pod.spec.as_ref().map(Placement::of).unwrap_or_default()),
            Err(reach) => reach,
        }
    }

    /// By a holder pod, once there is one.
    pub(super) fn held(&self, places: Vec<Place>, placement: Placement) -> Reach {
        let claims: BTreeSet<String> = places.iter().map(|place| place.claim.clone()).collect();
        let wish = Wish { namespace: self.namespace.clone(), claims, purpose: self.purpose, placement };
        if let Some(pod) = self.holders.get(&wish.pod_name()).filter(|pod| is_usable(pod)) {
            return match self.access(pod, places) {
                Reach::Ready(access) => Reach::Ready(Access { held: Some(Box::new(wish)), ..access }),
                other => other,
            };
        }
        match places.iter().find_map(|place| self.unholdable(place)) {
            Some(reach) => reach,
            None if places.is_empty() => Reach::Impossible("no path is given: set the parameter `paths`".into()),
            None => Reach::Unmounted(Box::new(wish)),
        }
    }

    /// Why no pod of ours may mount it, if that is so. A claim that waits for its first consumer is bound for a restore only.
    fn unholdable(&self, place: &Place) -> Option<Reach> {
        match self.reachable(&place.claim) {
            Err(reach) => Some(reach),
            Ok(claim) => no_directory(claim, &place.claim)
                .or_else(|| (self.purpose == Purpose::Backup && volume_of(claim).is_none()).then(|| unbound(&place.claim))),
        }
    }
}

/// The ordinal whose own claim this is, by a StatefulSet's claim template and its name.
pub(super) fn ordinal_of(claim: &str, template: &str, set: &str) -> Option<u32> {
    let ordinal = claim.strip_prefix(template)?.strip_prefix('-')?.strip_prefix(set)?.strip_prefix('-')?;
    // `+1` and `01` are nobody's.
    ordinal.parse::<u32>().ok().filter(|number| number.to_string() == ordinal)
}

/// The pod that a StatefulSet would have of this name.
pub(super) fn of_ordinal((template, claims): &(Pod, Vec<String>), name: &str) -> Pod {
    let mut pod = template.clone();
    pod.metadata.name = Some(name.to_owned());
    let own = claims.iter().map(|claim| Volume {
        name: claim.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: format!("{claim}-{name}"), read_only: None }),
        ..Volume::default()
    });
    if let Some(spec) = &mut pod.spec {
        spec.volumes.get_or_insert_default().extend(own);
    }
    pod
}
