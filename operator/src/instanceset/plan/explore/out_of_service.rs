//! Nodes that are off and declared out of service, and may come back at any moment: their disks are intact.

use super::{Mishap, Wish, all};

/// What an administrator declares, and a pod that is deleted meanwhile.
const OFF: &[Mishap] = &[Mishap::Declare, Mishap::DeletePod];

#[test]
fn every_order_of_a_node_that_is_out_of_service() {
    all(&[Wish::size(1, 1).with(OFF, 1)]);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_nodes_that_are_out_of_service_and_more() {
    all(&[
        Wish::size(1, 3).with(OFF, 1),
        Wish::size(3, 3).with(OFF, 1),
        Wish::size(3, 3).with(OFF, 2),
        Wish::size(3, 1).with(OFF, 1),
        Wish::update(3, 1).with(OFF, 1),
    ]);
}
