//! Updates that their owner's strategy holds back: they say so, and how they continue.

use std::time::Duration;

use etcd_operator_api::condition::Observation;

use super::*;
use crate::instanceset::controller;
use crate::instanceset::pace::Pace;
use crate::instanceset::plan::Waiting;

/// The plan, its reasons in one word, and the condition.
fn told(world: &World) -> (Plan, Vec<&'static str>, Observation) {
    let next = plan(&world.desired, &world.observe());
    let reasons = next.waiting.iter().map(Waiting::reason).collect();
    let kind = ConditionType::InstanceUpdateRestricted;
    let draft = next.status.as_ref().expect("a status");
    let mut observations = draft.observations.iter();
    let condition = observations.find(|told| told.kind == kind);
    let condition = condition.expect("the condition").clone();
    (next, reasons, condition)
}

#[test]
fn an_update_that_ends_at_its_owner_s_limit_says_so() {
    for most in [0, 1, 2] {
        let mut world = grown(3);
        assert_eq!(told(&world).2.status, Truth::False);
        world.desired.update.replicas = most;
        world.change_template("etcd:2");
        settle(&mut world);
        let (next, reasons, condition) = told(&world);
        // Only its owner ends it, and that wakes by itself: no more looks than at one that is current.
        let pause = controller::next(&next, &Pace::default(), "ns/a");
        assert!(pause >= Duration::from_mins(1), "{pause:?}");
        let draft = next.status.expect("a status");
        assert_eq!(
            draft.status.updated_replicas,
            i32::try_from(most).expect("few")
        );
        assert_eq!(reasons, ["UpdateRestricted"]);
        let text = format!(
            "instanceUpdateStrategy.rollingUpdate.replicas lets {most} pods be updated, and {most} are: raise it or \
             take it out, and the other {} follow",
            3 - most
        );
        assert_eq!(draft.status.message.as_ref(), Some(&text));
        assert_eq!((condition.status, condition.message), (Truth::True, text));
        world.desired.update.replicas = 3;
        settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()));
        assert_eq!(told(&world).2.status, Truth::False);
    }
}

#[test]
fn an_update_that_is_left_to_its_owner_is_told_by_the_condition_too() {
    let mut world = grown(3);
    world.desired.update.rolling = false;
    world.change_template("etcd:2");
    assert_eq!(settle(&mut world), Vec::<String>::new());
    let (_, reasons, condition) = told(&world);
    assert_eq!(reasons, ["OnDelete"]);
    assert_eq!(condition.status, Truth::True);
    assert!(
        condition.message.starts_with("3 pods"),
        "{}",
        condition.message
    );
}
