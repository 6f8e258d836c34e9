//! PURE: the phase of a Cluster from the phases of its components, by KubeBlocks' rules and in their order.

use etcd_operator_api::{ClusterPhase, ComponentPhase};

/// The phase, or `None` when the rules leave it as it was.
pub(super) fn compose(components: &[Option<ComponentPhase>]) -> Option<ClusterPhase> {
    use ComponentPhase::{Creating, Failed, Running, Starting, Stopped, Stopping, Updating};
    let all = |phases: &[Option<ComponentPhase>]| components.iter().all(|c| phases.contains(c));
    let any = |phase: ComponentPhase| components.contains(&Some(phase));
    if components.is_empty() {
        return Some(ClusterPhase::Creating);
    }
    if all(&[Some(Stopped)]) {
        Some(ClusterPhase::Stopped)
    } else if all(&[Some(Running), Some(Stopped)]) {
        Some(ClusterPhase::Running)
    } else if all(&[Some(Creating), None]) {
        Some(ClusterPhase::Creating)
    } else if all(&[Some(Creating), Some(Running), Some(Updating)]) || any(Starting) {
        Some(ClusterPhase::Updating)
    } else if any(Stopping) {
        Some(ClusterPhase::Stopping)
    } else if all(&[Some(Failed)]) {
        Some(ClusterPhase::Failed)
    } else if any(Failed) {
        Some(ClusterPhase::Abnormal)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::ComponentPhase::{
        Creating, Deleting, Failed, Running, Starting, Stopped, Stopping, Updating,
    };

    use super::*;

    #[test]
    fn phases_compose_by_the_table() {
        let table: [(&[Option<ComponentPhase>], Option<ClusterPhase>); 13] = [
            (&[], Some(ClusterPhase::Creating)),
            (&[Some(Stopped), Some(Stopped)], Some(ClusterPhase::Stopped)),
            (&[Some(Running), Some(Stopped)], Some(ClusterPhase::Running)),
            (&[Some(Running)], Some(ClusterPhase::Running)),
            (&[None], Some(ClusterPhase::Creating)),
            (&[Some(Creating), None], Some(ClusterPhase::Creating)),
            (
                &[Some(Creating), Some(Running)],
                Some(ClusterPhase::Updating),
            ),
            (&[Some(Updating)], Some(ClusterPhase::Updating)),
            (
                &[Some(Starting), Some(Failed)],
                Some(ClusterPhase::Updating),
            ),
            (
                &[Some(Stopping), Some(Running)],
                Some(ClusterPhase::Stopping),
            ),
            (&[Some(Failed)], Some(ClusterPhase::Failed)),
            (&[Some(Failed), Some(Running)], Some(ClusterPhase::Abnormal)),
            (&[Some(Deleting), Some(Running)], None),
        ];
        for (components, phase) in table {
            assert_eq!(compose(components), phase, "{components:?}");
        }
    }
}
