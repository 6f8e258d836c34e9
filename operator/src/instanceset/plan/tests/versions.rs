//! Members that change their minor, over the model world, in which an etcd that cannot read its data or its log ends
//! the test.

use kbagent_protocol::MemberStatus;

use super::*;
use crate::definition::Minor;
use crate::instanceset::names::CATCH_UP;
use crate::instanceset::plan::{Waiting, latch, revision, upgrade};

/// Three members of 3.6 that are led by `a-0`.
fn of_3_6() -> World {
    let mut world = World::new(3);
    world.age = 60;
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

/// What the Component does when the members' data, or their logs, can be read.
fn follow(world: &mut World) {
    let recorded = world.desired.recorded.readable_by.clone();
    let readable = |to: &Minor| recorded.as_deref() == Some(to.to_string().as_str());
    if world.desired.upgrade.take_if(|to| readable(to)).is_some() {
        world.release("3.7.3");
    }
    if let Some(to) = world.desired.downgrade.filter(readable) {
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
        let next = lawful(world, &world.observe());
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

/// What stands in the way of an upgrade.
fn waits(world: &World) -> Option<String> {
    let next = plan(&world.desired, &world.observe());
    next.waiting.into_iter().find_map(|why| match why {
        Waiting::Upgrade { why, .. } => Some(why),
        _ => None,
    })
}

#[test]
fn logs_are_made_free_of_old_requests_before_a_pod_of_3_7_is_made() {
    for (rounds, upto) in [(1, usize::MAX), (4, 1)] {
        let mut world = of_3_6();
        world.versions.rounds = rounds;
        world.write_old_request("a-1");
        world.desired.upgrade = Minor::of("3.7");
        let why = waits(&world).expect("it waits");
        assert!(why.contains("the log of a-1 holds a request"), "{why}");
        let told = go(&mut world, 40, upto);
        let appended = "append entries without effect to etcd's log through a-0, until members make a snapshot";
        let first = told.iter().take_while(|line| *line == appended).count();
        assert_eq!(first, rounds, "{told:?}");
        let count = |start: &str| told.iter().filter(|line| line.starts_with(start)).count();
        let all = (count("append"), count("evict pod"), count("create pod"));
        assert_eq!(all, (rounds, 3, 3), "{told:?}");
        assert_eq!(is_whole(&world), Ok(()));
    }
}

#[test]
fn members_that_came_from_3_5_reach_3_7_although_each_start_of_3_5_wrote_old_requests() {
    let mut world = World::new(3);
    world.age = 60;
    world.release("3.5.35");
    settle(&mut world);
    assert_eq!(world.versions.old_requests.len(), 3);
    world.set_leader("a-0");
    world.release("3.6.16");
    go(&mut world, 30, usize::MAX);
    assert_eq!(
        world.versions.old_requests.len(),
        0,
        "each start of 3.6 made a snapshot"
    );
    world.desired.upgrade = Minor::of("3.7");
    let told = go(&mut world, 30, usize::MAX);
    assert!(
        !told.iter().any(|line| line.starts_with("append")),
        "{told:?}"
    );
    assert_eq!(is_whole(&world), Ok(()));
    assert!(
        world
            .observe()
            .pods
            .values()
            .all(|pod| { pod.status().is_some_and(|status| status.version == "3.7.3") })
    );
}

#[test]
fn an_upgrade_waits_while_the_log_of_a_member_is_not_known() {
    let held = |world: &mut World, told: &str| {
        world.desired.upgrade = Minor::of("3.7");
        assert_eq!(go(world, 5, usize::MAX), Vec::<String>::new(), "{told}");
        assert_eq!(world.desired.recorded.readable_by, None);
        let why = waits(world).expect("it waits");
        assert!(why.contains(told), "{why}");
    };
    let mut world = of_3_6();
    world.silent = Some("a-1".to_owned());
    held(&mut world, "(a-1) does not answer");
    world.silent = None;
    world.versions.tells_nothing = Some("a-2".to_owned());
    held(&mut world, "the agent of a-2 does not say");
    world.versions.tells_nothing = None;
    go(&mut world, 30, usize::MAX);
    assert_eq!(is_whole(&world), Ok(()));
    let mut world = World::new(3);
    world.release("3.5.35");
    settle(&mut world);
    held(&mut world, "go to 3.6 first");
}

#[test]
fn what_an_agent_has_not_read_yet_is_not_taken_for_free_of_old_requests() {
    let (world, mut seen) = on_the_way_up();
    assert_eq!(readable(&world, &seen).as_deref(), Some("3.7"));
    let youngest = seen.pods.get_mut("a-0").expect("a pod");
    youngest
        .annotations
        .insert(CATCH_UP.to_owned(), "50".to_owned());
    assert_eq!(readable(&world, &seen).as_deref(), Some("3.7"));
    let status = status_of(&mut seen, "a-1");
    status.format.log.as_mut().expect("a log").read_to = 49;
    assert_eq!(readable(&world, &seen), None);
    // The text does not change with each entry.
    let told = [41, 44, 49].map(|entry| {
        let status = status_of(&mut seen, "a-1");
        status.format.log.as_mut().expect("a log").read_to = entry;
        let next = plan(&world.desired, &seen);
        let texts = next.waiting.into_iter().map(|why| why.to_string());
        texts.collect::<Vec<_>>().join("; ")
    });
    assert!(told[0].contains("has read about 80 % of"), "{}", told[0]);
    assert_eq!(told[0], told[1]);
    assert!(told[2].contains("about 90 %"), "{}", told[2]);
}

/// Three members of 3.6 that go to 3.7, the first of which was replaced last; and how they are seen.
fn on_the_way_up() -> (World, Observed) {
    let mut world = of_3_6();
    world.desired.upgrade = Minor::of("3.7");
    let seen = world.observe();
    (world, seen)
}

fn status_of<'a>(seen: &'a mut Observed, pod: &str) -> &'a mut MemberStatus {
    let view = seen.pods.get_mut(pod).and_then(|pod| pod.view.as_mut());
    view.and_then(|view| view.status.as_mut())
        .expect("a status")
}

fn readable(world: &World, seen: &Observed) -> Option<String> {
    let latch = latch::latch(&world.desired, seen);
    upgrade::readable_by(&world.desired, seen, &latch)
}

#[test]
fn a_member_that_is_far_behind_may_yet_get_requests_that_3_5_wrote_last() {
    let (world, mut seen) = on_the_way_up();
    // The agents were late when the last pod was made: 3.5 had written more than they said.
    let last = seen.pods.get_mut("a-0").expect("a pod");
    last.annotations
        .insert(CATCH_UP.to_owned(), "40".to_owned());
    for (pod, index) in [("a-0", 100), ("a-1", 100), ("a-2", 45)] {
        let status = status_of(&mut seen, pod);
        status.raft_index = index;
        status.applied_index = index;
        status.format.log.as_mut().expect("a log").read_to = index;
    }
    assert_eq!(readable(&world, &seen), None, "one of them may be entry 60");
    // It has got entries, and what it has not applied may be replaced.
    status_of(&mut seen, "a-2")
        .format
        .log
        .as_mut()
        .expect("a log")
        .read_to = 100;
    assert_eq!(readable(&world, &seen), None);
    status_of(&mut seen, "a-2").applied_index = 100;
    assert_eq!(readable(&world, &seen).as_deref(), Some("3.7"));
}

#[test]
fn the_end_of_old_requests_is_on_record_and_does_not_move_with_the_log() {
    let (mut world, mut seen) = on_the_way_up();
    let record = |world: &mut World, seen: &Observed| {
        let next = plan(&world.desired, seen);
        let status = next.status.expect("a status").status;
        world.desired.recorded.old_requests_end = status.old_requests_end;
        status.old_requests_end
    };
    assert_eq!(record(&mut world, &seen), Some(50));
    status_of(&mut seen, "a-0").raft_index = 9000;
    assert_eq!(record(&mut world, &seen), Some(50));
    assert_eq!(readable(&world, &seen).as_deref(), Some("3.7"));
    // One that runs 3.5 again may write more.
    status_of(&mut seen, "a-1").version = "3.5.35".to_owned();
    assert_eq!(record(&mut world, &seen), None);
    status_of(&mut seen, "a-1").version = "3.6.16".to_owned();
    assert_eq!(record(&mut world, &seen), Some(9000));
    assert_eq!(readable(&world, &seen), None, "a-1 and a-2 are at 50");
    world.desired.upgrade = None;
    assert_eq!(record(&mut world, &seen), None);
}

#[test]
fn the_end_of_old_requests_is_not_known_before_all_have_run_3_6_for_a_while() {
    let (mut world, seen) = on_the_way_up();
    let mut young = seen.clone();
    young.pods.get_mut("a-2").expect("a pod").age_seconds = 9;
    let mut silent = seen.clone();
    silent.pods.get_mut("a-2").expect("a pod").heard = false;
    for seen in [young, silent] {
        let next = plan(&world.desired, &seen);
        let status = next.status.expect("a status").status;
        assert_eq!((status.old_requests_end, status.readable_by), (None, None));
        let waits = |why: &Waiting| matches!(why, Waiting::Upgrade { .. });
        assert!(next.waiting.iter().any(waits), "{:?}", next.waiting);
    }
    assert_eq!(readable(&world, &seen).as_deref(), Some("3.7"));
    world.desired.upgrade = None;
    assert_eq!(plan(&world.desired, &seen).waiting, []);
}

#[test]
fn a_member_whose_etcd_does_not_read_its_log_keeps_its_data_and_goes_back() {
    let mut world = of_3_6();
    world.release("3.7.3");
    let mut seen = world.observe();
    let pod = seen.pods.get_mut("a-2").expect("a pod");
    pod.revision = revision::revision(&world.desired);
    pod.ready = false;
    let view = pod.view.as_mut().expect("a view");
    view.etcd = EtcdState::Refused {
        code: kbagent_protocol::OLD_LOG.to_owned(),
        message: "set serviceVersion back".to_owned(),
    };
    let steps = |world: &World| -> Vec<String> {
        let next = plan(&world.desired, &seen);
        let refused = |why: &Waiting| matches!(why, Waiting::OldLog { .. });
        assert!(next.waiting.iter().any(refused), "{:?}", next.waiting);
        let told = next.steps.iter().map(summary);
        told.filter(|step| !step.starts_with("label ")).collect()
    };
    let none = Vec::<String>::new();
    assert_eq!(
        steps(&world),
        none,
        "no member is removed, no claim deleted"
    );
    world.release("3.6.16");
    let told = steps(&world);
    let pods = told.iter().filter(|step| step.contains("pod "));
    assert_eq!(pods.count(), 1, "{told:?}");
    assert_eq!(
        told.last().map(String::as_str),
        Some("delete pod a-2: it cannot run: OldLog")
    );
}
