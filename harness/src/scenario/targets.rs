//! Which members a fault has hit. Pure.

use std::collections::BTreeSet;

use crate::faults::Target;
use crate::scenario::subject::Seat;

/// Members that are targets of a fault, or sit on a node that is.
pub(super) fn hit(targets: &[Target], seats: &[Seat]) -> BTreeSet<Seat> {
    let meant = |seat: &&Seat| {
        targets
            .iter()
            .any(|target| target.hits(&seat.pod, &seat.node))
    };
    seats.iter().filter(meant).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_hit_hits_the_members_on_it() {
        let seat = |pod: &str, node: &str| Seat {
            pod: pod.into(),
            uid: format!("uid-{pod}"),
            node: node.into(),
        };
        let seats = [
            seat("q-etcd-0", "n-worker"),
            seat("q-etcd-1", "n-worker2"),
            seat("q-etcd-10", "n-worker3"),
        ];
        let pods = |targets: &[Target]| -> Vec<String> {
            let hit = hit(targets, &seats).into_iter();
            hit.map(|seat| seat.pod).collect()
        };
        assert_eq!(pods(&[Target::member("q-etcd-1")]), ["q-etcd-1"]);
        let nodes = |names: &[&str]| -> Vec<Target> {
            let nodes = names.iter().map(|name| Target::Node((*name).to_owned()));
            nodes.collect()
        };
        assert_eq!(pods(&nodes(&["n-worker"])), ["q-etcd-0"]);
        assert_eq!(
            pods(&nodes(&["n-worker", "n-worker3"])),
            ["q-etcd-0", "q-etcd-10"]
        );
    }
}
