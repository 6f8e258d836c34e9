//! Whom a fault hits, from the names that it was resolved to. Pure.

use std::collections::BTreeSet;

use crate::scenario::subject::Seat;

/// Members that are named by a fault's targets, or sit on a node that is.
pub(super) fn hit(targets: &[String], seats: &[Seat]) -> BTreeSet<Seat> {
    let names = |target: &String, name: &str| {
        target
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.')))
            .any(|word| word == name)
    };
    let meant = |seat: &&Seat| {
        targets
            .iter()
            .any(|target| match target.starts_with("pod") {
                true => names(target, &seat.pod),
                false => names(target, &seat.node),
            })
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
        let pods = |targets: &[&str]| -> Vec<String> {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            hit(&targets, &seats)
                .into_iter()
                .map(|seat| seat.pod)
                .collect()
        };
        assert_eq!(pods(&["pod/q-etcd-1 (node n-worker2)"]), ["q-etcd-1"]);
        assert_eq!(pods(&["node/n-worker"]), ["q-etcd-0"]);
        assert_eq!(
            pods(&["node/n-worker", "node/n-worker3"]),
            ["q-etcd-0", "q-etcd-10"]
        );
    }
}
