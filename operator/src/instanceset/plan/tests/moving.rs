//! Stories of members that move to another storage class.

use etcd_operator_api::condition::record;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{MemberView, action};

use super::*;
use crate::definition::Minor;
use crate::instanceset::names::{ASSUMED, CATCH_UP, CLASS};
use crate::instanceset::plan::{Waiting, next_to_move};

/// What is said of moves.
fn told(plan: &Plan) -> String {
    let moving = |why: &&Waiting| matches!(why, Waiting::Moving { .. });
    let found = plan.waiting.iter().find(moving);
    found.map(ToString::to_string).unwrap_or_default()
}

fn removed(steps: &[String]) -> Vec<&str> {
    let removed = steps.iter().filter_map(|step| step.strip_prefix("remove "));
    removed.filter_map(|rest| rest.split(' ').next()).collect()
}

#[test]
fn members_move_one_at_a_time_followers_first_and_the_leader_after_it_has_handed_over() {
    for (upto, leads) in [(usize::MAX, "a-1"), (1, "a-0"), (1, "a-2")] {
        let mut world = grown(3);
        world.set_leader(leads);
        world.want_class("fast");
        let told = rounds(&mut world, upto, |world| {
            let voters = world.members.iter().filter(|m| !m.is_learner).count();
            assert!(voters >= 2 && world.quorate() && world.has_its_data());
        });
        assert_eq!(is_whole(&world), Ok(()), "{told:?}");
        assert_eq!(world.classes(), ["fast"; 3]);
        let gone = removed(&told);
        assert_eq!((gone.len(), gone.last()), (3, Some(&leads)), "{told:?}");
        let moves = told.iter().filter(|step| step.starts_with("move leader"));
        assert_eq!(moves.count(), 1, "{told:?}");
        let why = "claim data-a-0 is of storage class none, not of fast";
        assert!(told.iter().any(|step| step.contains(why)), "{told:?}");
        let classes = world.desired.recorded.volumes.iter();
        let classes = classes.map(|volume| volume.storage_class_name.as_deref());
        assert_eq!(classes.collect::<Vec<_>>(), [Some("fast"); 3]);
    }
}

#[test]
fn five_members_move_while_four_vote() {
    let mut world = grown(5);
    world.want_class("fast");
    rounds(&mut world, usize::MAX, |world| {
        let voters = world.members.iter().filter(|m| !m.is_learner).count();
        assert!(voters >= 4);
    });
    assert_eq!(
        (world.classes(), is_whole(&world)),
        (vec!["fast"; 5], Ok(()))
    );
}

/// Spoils a cluster whose members would move, as it is observed, or what is wanted of it.
type Spoil = fn(&mut Desired, &mut Observed);

fn pod<'a>(seen: &'a mut Observed, name: &str) -> &'a mut PodSeen {
    seen.pods.get_mut(name).expect("a pod")
}

fn view<'a>(seen: &'a mut Observed, name: &str) -> &'a mut MemberView {
    pod(seen, name).view.as_mut().expect("a view")
}

fn apply(seen: &mut Observed, name: &str, to: u64) {
    let status = view(seen, name).status.as_mut();
    status.expect("a status").applied_index = to;
}

const SPOILS: [(&str, Spoil); 14] = [
    ("one is not ready", |_, seen| pod(seen, "a-1").ready = false),
    ("one is not available yet", |desired, _| {
        desired.min_ready_seconds = 1000;
    }),
    ("one is silent", |_, seen| pod(seen, "a-1").heard = false),
    ("one is behind", |_, seen| apply(seen, "a-1", 40)),
    ("the next one is behind", |_, seen| apply(seen, "a-2", 40)),
    ("one has not caught up since it was made", |_, seen| {
        let due = CATCH_UP.to_owned();
        pod(seen, "a-1").annotations.insert(due, "60".to_owned());
    }),
    ("pods are updated by their owner", |desired, _| {
        desired.update.rolling = false;
        let spec = desired.template.spec.as_mut().expect("a spec");
        spec.containers[0].image = Some("etcd:2".to_owned());
    }),
    ("it is scaled", |desired, _| {
        desired.members = desired.name.pods(5, &[]);
    }),
    ("logs are prepared for 3.7", |desired, _| {
        desired.upgrade = Minor::of("3.7");
    }),
    ("a backup comes before another minor", |desired, _| {
        desired.minor_awaited = Some("3.6.16".to_owned());
    }),
    ("a member is defragmented", |_, seen| {
        view(seen, "a-1").under_way = Some(action::DEFRAGMENT.to_owned());
    }),
    ("no pod of the template can be made", |_, seen| {
        seen.no_node = Some("n9".to_owned());
    }),
    ("its new claim or pod cannot be had", |_, seen| {
        let why = "storage class \"fast\" does not exist";
        seen.refused_move = Some(why.to_owned());
    }),
    ("a volume grows", |_, seen| {
        let claim = seen.claims.get_mut("data-a-1").expect("a claim");
        claim.class = Some("fast".to_owned());
        claim.class_in_spec = claim.class.clone();
        claim.size.requested = Some(Quantity("2Gi".to_owned()));
    }),
];

#[test]
fn nothing_moves_beside_anything_else() {
    let mut world = grown(3);
    world.want_class("fast");
    let moves = |plan: &Plan| {
        let gone = |step: &Step| matches!(step, Step::RemoveMember { .. });
        plan.steps.iter().any(gone)
    };
    let good = next(&world);
    assert!(moves(&good), "{:?}", good.steps);
    assert!(told(&good).ends_with("a-2 is next"), "{}", told(&good));
    for (what, spoil) in SPOILS {
        let (mut desired, mut seen) = (world.desired.clone(), world.observe());
        spoil(&mut desired, &mut seen);
        let spoiled = plan(&desired, &seen);
        assert!(!moves(&spoiled), "{what}: {:?}", spoiled.steps);
        let told = told(&spoiled);
        assert!(told.contains("fast"), "{what}: it is told that {told:?}");
        assert!(!told.ends_with("is next"), "{what}: {told}");
    }
}

#[test]
fn what_replaces_a_member_is_asked_for_only_when_one_is_next() {
    let mut world = grown(3);
    let asks = |world: &World| next_to_move(&world.desired, &world.observe());
    assert_eq!(asks(&world), None);
    world.set_leader("a-0");
    world.want_class("fast");
    assert_eq!(asks(&world).as_deref(), Some("a-2"));
    let mut seen = world.observe();
    seen.refused_move = Some("violates PodSecurity".to_owned());
    let refused = plan(&world.desired, &seen);
    assert_eq!(refused.steps, []);
    let told = told(&refused);
    assert!(told.contains("violates PodSecurity"), "{told}");
    world.delete_pod("a-1");
    assert_eq!(asks(&world), None, "a member is unavailable");
    settle_until_whole(&mut world);
    // Leadership does not move for nothing, either.
    world.set_leader("a-0");
    let mut seen = world.observe();
    let claim = seen.claims.get_mut("data-a-0").expect("a claim");
    claim.class = Some("slow".to_owned());
    claim.class_in_spec = claim.class.clone();
    claim
        .annotations
        .insert(CLASS.to_owned(), "slow".to_owned());
    let next = next_to_move(&world.desired, &seen);
    assert_eq!(next.as_deref(), Some("a-0"));
}

#[test]
fn the_only_member_stays_until_there_are_others() {
    let mut world = grown(1);
    let before = world.disk_of("a-0");
    world.want_class("fast");
    assert_eq!(settle(&mut world), Vec::<String>::new());
    let why = told(&next(&world));
    assert!(why.contains("scale it to 3"), "{why}");
    assert_eq!(world.disk_of("a-0"), before);
    world.scale(3);
    let why = told(&next(&world));
    assert!(why.ends_with("has the newest template"), "{why}");
    settle_until_whole(&mut world);
    assert_eq!(world.classes(), ["fast"; 3]);
}

#[test]
fn a_template_without_a_class_moves_no_one() {
    let mut world = grown(3);
    world.want_class("fast");
    settle_until_whole(&mut world);
    world.want_class("");
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert_eq!(
        (told(&next(&world)), is_whole(&world)),
        (String::new(), Ok(()))
    );
}

#[test]
fn what_is_named_in_the_middle_is_where_members_go() {
    let mut world = grown(3);
    world.want_class("slow");
    settle_until_whole(&mut world);
    let before: Vec<_> = ["a-0", "a-1", "a-2"].map(|pod| world.disk_of(pod)).into();
    world.want_class("fast");
    while !world.classes().contains(&"fast") {
        let next = next(&world);
        world.take(&next, usize::MAX);
        world.tick();
    }
    world.want_class("slow");
    let steps = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{steps:?}");
    assert_eq!(world.classes(), ["slow"; 3]);
    let after: Vec<_> = ["a-0", "a-1", "a-2"].map(|pod| world.disk_of(pod)).into();
    let kept = before.iter().zip(&after).filter(|(old, new)| old == new);
    assert_eq!(kept.count(), 2, "the others had not moved: {steps:?}");
}

#[test]
fn a_learner_whose_volume_does_not_come_is_dropped_when_another_class_is_named() {
    let mut world = grown(3);
    world.want_class("broken");
    settle(&mut world);
    let waits = next(&world);
    let reasons: Vec<_> = waits.waiting.iter().map(Waiting::reason).collect();
    assert_eq!(reasons, ["MemberStarting", "MovingVolumes"]);
    assert!(world.quorate());
    world.want_class("fast");
    let steps = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{steps:?}");
    let why = "claim data-a-2 is of storage class broken, not of fast";
    assert!(steps[0].contains(why), "{steps:?}");
    assert_eq!(world.classes(), ["fast"; 3]);
}

/// A cluster that moves to class `fast`, whose first new member is a learner that has published its name.
fn learning() -> World {
    let mut world = grown(3);
    world.set_leader("a-0");
    world.want_class("fast");
    for _ in 0..40 {
        let named = |member: &Member| member.is_learner && !member.name.is_empty();
        if world.members.iter().any(named) {
            return world;
        }
        let next = next(&world);
        world.take(&next, usize::MAX);
        world.tick();
    }
    panic!("no learner has published its name");
}

#[test]
fn a_learner_that_has_joined_and_cannot_vote_is_dropped_when_another_class_is_named() {
    let mut world = learning();
    let away = |_: &mut Desired, seen: &mut Observed| {
        let pod = pod(seen, "a-2");
        (pod.view, pod.ready) = (None, false);
    };
    let rows: [(&str, &str, Spoil); 2] = [
        ("MemberStarting", "is not ready now", away),
        ("CatchingUp", "is catching up", |_, seen| {
            apply(seen, "a-2", 10);
        }),
    ];
    for (reason, says, spoil) in rows {
        let (mut desired, mut seen) = (world.desired.clone(), world.observe());
        spoil(&mut desired, &mut seen);
        let waits = plan(&desired, &seen);
        assert_eq!(waits.steps, []);
        let draft = waits.status.expect("a status");
        let first = draft.status.waiting_on.first().expect("a reason").clone();
        assert_eq!(first.reason, reason);
        for part in [says, "RebuildInstance"] {
            assert!(first.message.contains(part), "{}", first.message);
        }
        let slow = Some("slow".to_owned());
        desired.claims[0].spec.storage_class_name = slow;
        let steps: Vec<_> = plan(&desired, &seen).steps.iter().map(summary).collect();
        assert_eq!(removed(&steps), ["a-2"], "{reason}: {steps:?}");
        let why = "claim data-a-2 is of storage class fast, not of slow";
        assert!(steps[0].ends_with(why), "{steps:?}");
    }
    // One that can vote does so first: nothing is copied in vain.
    world.want_class("slow");
    let steps = settle(&mut world);
    assert!(steps[0].starts_with("promote learner a-2"), "{steps:?}");
    assert_eq!(
        (is_whole(&world), world.classes()),
        (Ok(()), vec!["slow"; 3])
    );
}

#[test]
fn new_claims_have_the_new_size_and_old_ones_are_not_made_larger_first() {
    let mut world = grown(3);
    world.want_class("fast");
    world.want_volumes(2);
    let steps = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{steps:?}");
    let grows = |step: &String| step.starts_with("let claim");
    assert!(!steps.iter().any(grows), "{steps:?}");
    assert_eq!(
        (world.sizes(), world.classes()),
        (vec![2; 3], vec!["fast"; 3])
    );
}

#[test]
fn a_member_that_is_replaced_anyway_goes_to_the_class_that_is_named_before_others_move() {
    let mut world = grown(3);
    world.want_class("fast");
    world.delete_claim("a-0");
    world.delete_pod("a-0");
    world.tick();
    let steps = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{steps:?}");
    assert_eq!(removed(&steps).first(), Some(&"a-0"), "{steps:?}");
    assert_eq!(removed(&steps).len(), 3, "none moves twice: {steps:?}");
}

/// A cluster whose claims name class `fast`, which a policy turns into another one.
fn rewritten() -> World {
    let mut world = World::new(3);
    world.rewrites = Some(("fast", "fast-encrypted"));
    world.want_class("fast");
    settle_until_whole(&mut world);
    assert_eq!(world.classes(), ["fast-encrypted"; 3]);
    world
}

#[test]
fn a_class_that_a_policy_rewrites_is_the_one_that_was_asked_for() {
    let mut world = rewritten();
    assert_eq!(told(&next(&world)), "");
    let classes = world.desired.recorded.volumes.iter();
    let classes = classes.map(|volume| volume.storage_class_name.as_deref());
    assert_eq!(classes.collect::<Vec<_>>(), [Some("fast"); 3]);
    world.lose_node("a-1");
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps)), (Ok(()), vec!["a-1"]));
    world.condemn("a-2");
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps)), (Ok(()), vec!["a-2"]));
    world.scale(5);
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps)), (Ok(()), vec![]));
    world.want_class("slow");
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps).len()), (Ok(()), 5));
    world.want_class("fast");
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps).len()), (Ok(()), 5));
    assert_eq!(world.classes(), ["fast-encrypted"; 5]);
    // It is where members are, whatever they were made for.
    world.want_class("fast-encrypted");
    let steps = settle(&mut world);
    assert_eq!((is_whole(&world), removed(&steps)), (Ok(()), vec![]));
}

#[test]
fn claims_of_an_earlier_operator_move_only_where_another_class_has_been_named() {
    let former = || {
        let mut world = rewritten();
        world.forget_classes();
        world
    };
    let mut world = former();
    let mut larger = former();
    larger.want_volumes(2);
    settle_until_whole(&mut larger);
    let steps = settle(&mut world);
    assert_eq!(
        steps,
        [0, 1, 2].map(|at| format!("label claim data-a-{at}"))
    );
    assert_eq!(is_whole(&world), Ok(()));
    world.want_class("slow");
    settle_until_whole(&mut world);
    assert_eq!(world.classes(), ["slow"; 3]);
    // The new operator changes something else in the InstanceSet before it marks them: the API server says what it
    // makes of the class.
    let mut world = former();
    world.desired.generation = Some(2);
    let mut seen = world.observe();
    assert!(next_to_move(&world.desired, &seen).is_some());
    let made = ("data".to_owned(), "fast-encrypted".to_owned());
    seen.made_class.extend([made]);
    let marks = plan(&world.desired, &seen);
    let labels = marks.steps.iter().map(summary);
    assert!(labels.eq(steps.iter().cloned()), "{:?}", marks.steps);
    assert_eq!((told(&marks), doubt(&marks)), (String::new(), None));
    world.take(&marks, usize::MAX);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert_eq!(is_whole(&world), Ok(()));
    // The earlier operator has begun to move them.
    let mut world = grown(3);
    world.want_class("fast");
    let begun = next(&world);
    world.take(&begun, 0);
    world.forget_classes();
    settle_until_whole(&mut world);
    assert_eq!(world.classes(), ["fast"; 3]);
}

/// What is said of claims of which it is not known what was asked for.
fn doubt(plan: &Plan) -> Option<(Truth, String)> {
    let draft = plan.status.as_ref().expect("a status");
    let mut seen = draft.observations.iter();
    let seen = seen.find(|seen| seen.kind == ConditionType::StorageClassAssumed)?;
    Some((seen.status, seen.message.clone()))
}

/// Takes the plan as the controller does, which has the conditions on record.
fn take(world: &mut World, plan: &Plan, upto: usize) {
    world.take(plan, upto);
    let seen = &plan.status.as_ref().expect("a status").observations;
    let now = Time(Timestamp::UNIX_EPOCH);
    let conditions = &mut world.desired.recorded.conditions;
    record(conditions, seen, world.desired.generation, &now);
}

/// A cluster of an earlier operator, whose claims name `fast` and are of another class, by a policy that is gone. The
/// new operator has changed the InstanceSet before it saw the claims.
fn doubtful() -> World {
    let mut world = rewritten();
    world.forget_classes();
    world.rewrites = None;
    world.desired.generation = Some(2);
    world
}

#[test]
fn claims_of_which_nothing_says_what_was_asked_for_move_no_one_and_are_told() {
    let mut world = doubtful();
    let asked = next_to_move(&world.desired, &world.observe());
    assert_eq!(asked.as_deref(), Some("a-0"), "what a new one would be");
    let mut paused = world.desired.clone();
    paused.paused = true;
    assert_eq!(next_to_move(&paused, &world.observe()), None);
    let says = |plan: &Plan| {
        let (truth, text) = doubt(plan).expect("it is told");
        let all = ["a-0", "a-1", "a-2", "fast-encrypted", "RebuildInstance"];
        assert!(all.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(truth, Truth::True);
    };
    let first = next(&world);
    says(&first);
    let labels = [0, 1, 2].map(|at| format!("label claim data-a-{at}"));
    let steps: Vec<_> = first.steps.iter().map(summary).collect();
    assert_eq!((steps.as_slice(), told(&first).as_str()), (&labels[..], ""));
    // The status is written, and one claim is marked: what is not known stays unknown.
    take(&mut world, &first, 1);
    let second = next(&world);
    says(&second);
    let steps: Vec<_> = second.steps.iter().map(summary).collect();
    assert_eq!(steps, labels[1..]);
    take(&mut world, &second, usize::MAX);
    assert_eq!(next_to_move(&world.desired, &world.observe()), None);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert_eq!(is_whole(&world), Ok(()));
    assert_eq!(world.classes(), ["fast-encrypted"; 3]);
    says(&next(&world));
}

/// That cluster, once its claims are marked.
fn assumed() -> World {
    let mut world = doubtful();
    let first = next(&world);
    take(&mut world, &first, usize::MAX);
    world
}

#[test]
fn members_of_doubtful_claims_move_when_their_owner_says_so() {
    let ended = |world: &World| doubt(&next(world)).map(|(truth, _)| truth);
    let mut world = assumed();
    world.want_class("slow");
    settle_until_whole(&mut world);
    assert_eq!(
        (world.classes(), ended(&world)),
        (vec!["slow"; 3], Some(Truth::False))
    );
    let mut world = assumed();
    world.annotate_claims(CLASS, Some("fast-encrypted"));
    let steps = settle(&mut world);
    assert_eq!(removed(&steps).len(), 3, "{steps:?}");
    assert_eq!(
        (world.classes(), ended(&world)),
        (vec!["fast"; 3], Some(Truth::False))
    );
    // Or not at all.
    let mut world = assumed();
    world.annotate_claims(ASSUMED, None);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert_eq!(
        (is_whole(&world), ended(&world)),
        (Ok(()), Some(Truth::False))
    );
    let mut world = assumed();
    world.want_class("fast-encrypted");
    let steps = settle(&mut world);
    let labels = [0, 1, 2].map(|at| format!("label claim data-a-{at}"));
    assert_eq!(steps, labels, "they are there");
    assert_eq!(
        (is_whole(&world), ended(&world)),
        (Ok(()), Some(Truth::False))
    );
    world.want_class("fast");
    settle_until_whole(&mut world);
    assert_eq!(world.classes(), ["fast"; 3]);
}
