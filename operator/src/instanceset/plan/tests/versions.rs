//! Members that go back by a minor, over the model world, in which an etcd that cannot read its data ends the test.

use super::*;
use crate::definition::Minor;
use crate::instanceset::plan::Waiting;

/// Three members of 3.6 that are led by `a-0`.
fn of_3_6() -> World {
    let mut world = World::new(3);
    world.release("3.6.16");
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    world.set_leader("a-0");
    world
}

fn reasons(world: &World) -> Vec<String> {
    let next = plan(&world.desired, &world.observe());
    next.waiting.iter().map(ToString::to_string).collect()
}

/// What the Component does when the members' data can be read.
fn follow(world: &mut World) {
    let readable = world.desired.recorded.readable_by.as_deref();
    if let Some(to) = world.desired.downgrade
        && readable == Some(to.to_string().as_str())
    {
        let older = if Some(to) == Minor::of("3.5") {
            "3.5.35"
        } else {
            "3.6.16"
        };
        world.release(older);
    }
}

/// Rounds of plan and time, each cut off after `upto` steps, as if the operator died there.
fn go(world: &mut World, rounds: usize, upto: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..rounds {
        let seen = world.observe();
        let next = plan(&world.desired, &seen);
        let broken = check::lint(&world.desired, &seen, &next);
        assert_eq!(broken, Vec::<String>::new());
        let steps = next.steps.iter().take(upto).map(summary);
        told.extend(steps.filter(|step| !step.starts_with("label ")));
        world.take(&next, upto);
        world.tick();
        follow(world);
    }
    told
}

#[test]
fn data_is_led_back_before_the_first_member_of_the_older_minor_is_made() {
    for upto in [usize::MAX, 1] {
        let mut world = of_3_6();
        world.desired.downgrade = Minor::of("3.5");
        let told = go(&mut world, 30, upto);
        assert_eq!(told[0], "begin etcd's downgrade to 3.5 through a-0");
        let count = |start: &str| told.iter().filter(|line| line.starts_with(start)).count();
        let all = (count("begin"), count("evict pod"), count("create pod"));
        assert_eq!(all, (1, 3, 3), "{told:?}");
        let leader = told
            .iter()
            .position(|line| line.starts_with("evict pod a-0"));
        let last = told.iter().rposition(|line| line.starts_with("evict pod"));
        assert_eq!(leader, last, "the leader last: {told:?}");
        // All run it, and the Component asks for no more.
        world.desired.downgrade = None;
        assert_eq!(go(&mut world, 5, upto), Vec::<String>::new());
        assert_eq!(is_whole(&world), Ok(()));
        assert_eq!(world.versions.job, None);
    }
}

#[test]
fn no_pod_is_stopped_while_the_data_of_a_member_is_of_the_newer_minor() {
    let mut world = of_3_6();
    world.versions.slow = Some("a-2".to_owned());
    world.desired.downgrade = Minor::of("3.5");
    let told = go(&mut world, 10, usize::MAX);
    assert_eq!(told, ["begin etcd's downgrade to 3.5 through a-0"]);
    assert_eq!(world.desired.recorded.readable_by, None);
    let late = |why: &String| why.ends_with("is not of 3.5 yet");
    assert!(reasons(&world).iter().any(late));
    // Were the template of the older minor there already, none would be made from it.
    world.release("3.5.35");
    assert_eq!(go(&mut world, 10, usize::MAX), Vec::<String>::new());
    world.versions.slow = None;
    go(&mut world, 30, usize::MAX);
    world.desired.downgrade = None;
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_member_that_does_not_answer_holds_the_beginning() {
    let mut world = of_3_6();
    world.silent = Some("a-1".to_owned());
    world.desired.downgrade = Minor::of("3.5");
    assert_eq!(go(&mut world, 5, usize::MAX), Vec::<String>::new());
    assert!(
        reasons(&world)
            .iter()
            .any(|why| why.ends_with("(a-1) does not answer"))
    );
}

#[test]
fn what_is_not_wanted_any_more_is_cancelled_at_any_point() {
    for rounds in 1..14 {
        let mut world = of_3_6();
        world.desired.downgrade = Minor::of("3.5");
        go(&mut world, rounds, 1);
        world.desired.downgrade = None;
        world.release("3.6.16");
        go(&mut world, 30, 1);
        assert_eq!(is_whole(&world), Ok(()), "after {rounds} rounds");
        assert_eq!(world.versions.job, None, "after {rounds} rounds");
    }
}

#[test]
fn one_that_etcd_ended_early_goes_on_while_a_member_of_the_older_minor_is_there() {
    let mut world = of_3_6();
    world.desired.downgrade = Minor::of("3.5");
    for _ in 0..20 {
        go(&mut world, 1, usize::MAX);
        let older = |pod: &PodSeen| {
            let status = pod.status();
            status.is_some_and(|status| status.version.starts_with("3.5"))
        };
        if world
            .observe()
            .pods
            .values()
            .filter(|pod| older(pod))
            .count()
            == 1
        {
            world.versions.job = None;
        }
    }
    world.desired.downgrade = None;
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn an_upgrade_is_taken_back_although_its_member_never_starts_and_no_list_is_known() {
    for blind in [false, true] {
        let mut world = of_3_6();
        world.release("3.7.3");
        world.change_template("hang");
        go(&mut world, 10, usize::MAX);
        let hangs = |pod: &PodSeen| pod.status().is_none();
        assert_eq!(
            world
                .observe()
                .pods
                .values()
                .filter(|pod| hangs(pod))
                .count(),
            1
        );
        world.blind = blind;
        world.desired.downgrade = Minor::of("3.6");
        world.release("3.6.16");
        go(&mut world, 10, usize::MAX);
        world.blind = false;
        world.desired.downgrade = None;
        assert_eq!(is_whole(&world), Ok(()));
    }
}

#[test]
fn one_that_was_begun_by_hand_to_elsewhere_is_cancelled_first() {
    let mut world = of_3_6();
    world.versions.job = Minor::of("3.4");
    world.desired.downgrade = Minor::of("3.5");
    let next = plan(&world.desired, &world.observe());
    let told: Vec<String> = next.steps.iter().map(summary).collect();
    assert_eq!(
        told,
        ["cancel etcd's downgrade, which is not wanted, through a-0"]
    );
    let waits = |why: &Waiting| matches!(why, Waiting::Downgrade { .. });
    assert!(next.waiting.iter().any(waits));
}
