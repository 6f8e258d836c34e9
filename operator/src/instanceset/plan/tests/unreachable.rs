//! Stories of a node that has not been ready for longer than the owner allows.

use etcd_operator_api::condition::Reason;

use super::*;

#[test]
fn a_member_of_a_node_that_does_not_report_is_replaced() {
    for (members, frozen) in [(3, None), (5, None), (5, Some("a-3"))] {
        let mut world = grown(members);
        let (old, disk) = (world.members.clone(), world.disk_of("a-1"));
        if let Some(pod) = frozen {
            world.freeze(pod);
        }
        world.give_up("a-1");
        settle(&mut world);
        world.thaw();
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()), "{told:?}");
        assert_ne!(world.disk_of("a-1"), disk);
        let kept = old
            .iter()
            .filter(|m| world.members.iter().any(|new| new.id == m.id));
        assert_eq!(
            kept.count(),
            members as usize - 1,
            "one member is another one"
        );
    }
}

#[test]
fn a_member_of_a_node_that_is_out_of_service_is_replaced_while_there_is_a_quorum() {
    let mut world = grown(3);
    let (old, disk) = (world.members.clone(), world.disk_of("a-1"));
    world.declare("a-1");
    let told = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{told:?}");
    assert_ne!(world.disk_of("a-1"), disk);
    assert_ne!(world.members, old);

    let mut world = grown(3);
    let (old, disk) = (world.members.clone(), world.disk_of("a-1"));
    world.declare("a-1");
    world.declare("a-2");
    settle(&mut world);
    assert_eq!(world.pod_names(), ["a-0"], "no pod waits for such a node");
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "they come back");
    assert_eq!((world.members.clone(), world.disk_of("a-1")), (old, disk));
}

#[test]
fn a_majority_whose_nodes_are_gone_says_why_its_data_is() {
    let mut world = grown(3);
    world.lose_node("a-0");
    world.lose_node("a-1");
    settle(&mut world);
    let status = plan(&world.desired, &world.observe()).status;
    let mut told = status.expect("a status").observations.into_iter();
    let told = told.find(|told| told.reason == Reason::DataLost);
    let text = told.expect("the condition").message;
    assert!(
        text.contains("2 of 3 voters is gone (its node is gone; its node is gone): bring back"),
        "{text}"
    );
}

#[test]
fn without_a_quorum_none_is_given_up_and_all_come_back() {
    let mut world = grown(3);
    let old = world.members.clone();
    let before: Vec<_> = (0..3).map(|n| world.disk_of(&format!("a-{n}"))).collect();
    world.freeze("a-2");
    world.give_up("a-1");
    settle(&mut world);
    let after: Vec<_> = (0..3).map(|n| world.disk_of(&format!("a-{n}"))).collect();
    assert_eq!(after, before);
    world.unreachable = None;
    world.given_up = None;
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    assert_eq!(world.members, old);
}
