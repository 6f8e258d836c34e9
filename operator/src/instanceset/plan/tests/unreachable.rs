//! Stories of a node that has not been ready for longer than the owner allows.

use etcd_operator_api::condition::{Reason, record};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

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

#[test]
fn a_ready_node_that_is_still_tainted_is_told_until_the_taint_is_off_and_nothing_is_done() {
    let mut world = grown(3);
    let told = |world: &World, seen: &Observed| {
        let next = plan(&world.desired, seen);
        assert!(next.steps.is_empty() && next.waiting.is_empty(), "{next:?}");
        let mut all = next.status.expect("a status").observations.into_iter();
        all.find(|told| told.kind == ConditionType::NodeTainted)
    };
    let mut seen = world.observe();
    assert_eq!(told(&world, &seen), None, "where it never was so");
    seen.tainted = BTreeMap::from([("a-1".to_owned(), "n1".to_owned())]);
    let left = told(&world, &seen).expect("the condition");
    assert_eq!((left.status, left.reason), (Truth::True, Reason::TaintLeft));
    assert!(left.message.contains(": n1 (of a-1)."), "{}", left.message);
    let now = Time(Timestamp::UNIX_EPOCH);
    record(&mut world.desired.recorded.conditions, &[left], None, &now);
    let off = told(&world, &world.observe()).expect("the condition");
    assert_eq!((off.status, off.reason), (Truth::False, Reason::NoTaint));
}
