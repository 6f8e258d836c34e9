//! Everything restarts at once.

use crate::faults::{Deletion, Fault, NodeSelector, Selector};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "restart::all_pods_deleted",
            "All pods are deleted at once: they come back as the same members with all data.",
            [Fault::DeletePod {
                of: Selector::All,
                how: Deletion::Graceful,
            }],
        )
        .once()
        .and_long([5])
        .promise(Promise::default().loses_quorum().whole_again_within(90)),
        Scenario::faults(
            "restart::all_pods_deleted_by_force",
            "All pods are deleted at once without grace: they come back as the same members with all data.",
            [Fault::DeletePod {
                of: Selector::All,
                how: Deletion::Forced,
            }],
        )
        .and_long([5])
        .once()
        .promise(Promise::default().loses_quorum().whole_again_within(90)),
        Scenario::faults(
            "restart::every_node",
            "Every node loses power, the control plane too: all comes back with all data.",
            [Fault::RestartNode {
                of: NodeSelector::All,
            }],
        )
        .once()
        .outlives_node()
        .and_long([5])
        .promise(Promise::default().loses_quorum().whole_again_within(240)),
    ]
}
