//! Whether the cluster has formed, and of which pods: recorded once and never changed (B1, B5).

use kbagent_protocol::Id;

use super::Waiting;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// What is known about the cluster's birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latch {
    /// The cluster's identifier, recorded or seen now.
    pub cluster: Option<Id>,
    /// True when it was on record, in whatever shape.
    pub recorded: bool,
    /// The pods that bootstrap the cluster.
    pub frozen: Vec<String>,
    /// A member of another cluster: its pod and that cluster.
    pub stray: Option<(String, Id)>,
}

impl Latch {
    /// True once the cluster has formed: no member bootstraps from then on.
    pub(crate) fn bootstrapped(&self) -> bool {
        self.recorded || self.cluster.is_some()
    }

    /// The reason to stop everything, when members of two clusters are there (B5).
    pub(crate) fn mismatch(&self) -> Option<Waiting> {
        let (pod, found) = self.stray.clone()?;
        let latched = self.cluster.map_or_else(String::new, |id| id.to_string());
        Some(Waiting::ClusterIdMismatch {
            latched,
            found: found.to_string(),
            pod,
        })
    }
}

/// Reads the latch, and sets it on the first sight of a member that has a leader: a quorum has formed then.
pub(crate) fn latch(desired: &Desired, seen: &Observed) -> Latch {
    let recorded = desired
        .recorded
        .cluster_id
        .as_deref()
        .filter(|text| !text.is_empty());
    let reported = || {
        seen.pods
            .iter()
            .filter_map(|(name, pod)| Some((name, pod.status()?)))
    };
    let formed = || reported().find(|(_, status)| status.leader_id.is_some());
    let cluster = recorded
        .and_then(|text| text.parse().ok())
        .or_else(|| formed().map(|(_, status)| status.cluster_id));
    let stray = cluster.and_then(|cluster| {
        reported()
            .find(|(_, status)| status.cluster_id != cluster)
            .map(|(name, status)| (name.clone(), status.cluster_id))
    });
    Latch {
        cluster,
        recorded: recorded.is_some(),
        frozen: frozen(desired, seen),
        stray,
    }
}

/// The set on record; before anything of it exists, the set that is wanted now.
fn frozen(desired: &Desired, seen: &Observed) -> Vec<String> {
    let recorded = &desired.recorded.bootstrap_members;
    let sound = recorded
        .iter()
        .all(|name| desired.name.ordinal(name).is_some());
    let nothing_made = seen.pods.is_empty() && seen.claims.is_empty();
    let latched = desired.recorded.cluster_id.is_some();
    if recorded.is_empty() || !sound || (nothing_made && !latched) {
        // A backup is restored to one member; the others join it and copy its data (D1).
        let many = if desired.seed.is_some() {
            1
        } else {
            desired.members.len()
        };
        desired.members.iter().take(many).cloned().collect()
    } else {
        recorded.clone()
    }
}
