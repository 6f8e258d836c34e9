//! Stories of a node that has not been ready for longer than the owner allows.

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
