//! Plans over a model world: stories, fixpoint, and convergence from random histories.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{ConditionType, Truth};
use kbagent_protocol::{EtcdState, Member};
use proptest::prelude::*;

use super::world::World;
use super::{Plan, Step, check, plan};
use crate::instanceset::desired::Desired;
use crate::instanceset::events::summary;
use crate::instanceset::observed::{Observed, PodSeen, Reading};

mod accounts;
mod by_hand;
mod claims;
mod labels;
mod moving;
mod placement;
mod recovery;
mod refused;
mod resize;
mod restarts;
mod seeded;
mod strategy;
mod unreachable;
mod v2store;
mod versions;
mod volumes;

/// The plan for what is seen, which breaks no rule.
fn lawful(world: &World, seen: &Observed) -> Plan {
    let next = plan(&world.desired, seen);
    let broken = check::lint(&world.desired, seen, &next);
    assert_eq!(broken, Vec::<String>::new());
    next
}

/// The plan for the world as it is.
fn next(world: &World) -> Plan {
    plan(&world.desired, &world.observe())
}

/// Asserts that these lines begin some of those told, in this order.
pub(super) fn in_order(told: &[String], starts: &[&str]) {
    let at: Vec<_> = starts
        .iter()
        .map(|start| told.iter().position(|line| line.starts_with(start)))
        .collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{told:?}");
}

/// Plans and acts until nothing more happens; the steps taken, in words.
pub(super) fn settle(world: &mut World) -> Vec<String> {
    rounds(world, usize::MAX, |_| {})
}

/// The same with rounds of at most `upto` steps, after each of which the operator dies and `each` looks at the world.
fn rounds(world: &mut World, upto: usize, each: impl Fn(&World)) -> Vec<String> {
    let (mut told, mut quiet) = (Vec::new(), 0);
    for _ in 0..400 {
        let next = lawful(world, &world.observe());
        told.extend(next.steps.iter().take(upto).map(summary));
        quiet = if next.steps.is_empty() { quiet + 1 } else { 0 };
        world.take(&next, upto);
        each(world);
        world.tick();
        if quiet > 3 {
            return told;
        }
    }
    panic!("no end: {told:?}");
}

/// True when the members are those that are wanted, all vote and all run the newest template.
pub(super) fn is_whole(world: &World) -> Result<(), String> {
    let seen = world.observe();
    let next = plan(&world.desired, &seen);
    if !next.steps.is_empty() || !next.waiting.is_empty() {
        return Err(format!("{:?} {:?}", next.steps, next.waiting));
    }
    let mut names: Vec<&str> = world.members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    if names != world.desired.members || world.members.iter().any(|m| m.is_learner) {
        return Err(format!("members {:?}", world.members));
    }
    if world.pod_names() != world.desired.members {
        return Err(format!("pods {:?}", world.pod_names()));
    }
    let draft = next.status.ok_or("no status")?;
    let replicas = i32::try_from(world.desired.members.len()).map_err(|e| e.to_string())?;
    if (draft.status.ready_replicas, draft.status.updated_replicas) != (replicas, replicas) {
        return Err(format!("{:?}", draft.status));
    }
    Ok(())
}

/// The plan of an update that waits for a pod that never gets ready.
pub(in crate::instanceset) fn stuck_update() -> Plan {
    let mut world = grown(3);
    world.change_template("ill");
    for _ in 0..20 {
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
        world.tick();
    }
    plan(&world.desired, &world.observe())
}

/// A cluster whose template was changed, and its pods.
pub(in crate::instanceset) fn corrected() -> (Desired, BTreeMap<String, PodSeen>) {
    let mut world = grown(3);
    world.change_template("etcd:2");
    (world.desired.clone(), world.observe().pods)
}

pub(super) fn grown(replicas: u32) -> World {
    let mut world = World::new(replicas);
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    world
}

#[test]
fn three_members_bootstrap_at_once_and_the_cluster_is_latched() {
    let mut world = World::new(3);
    let told = settle(&mut world);
    assert_eq!(
        told,
        [
            "create claim data-a-0",
            "create claim data-a-1",
            "create claim data-a-2",
            "create pod a-0",
            "create pod a-1",
            "create pod a-2"
        ]
    );
    assert_eq!(world.desired.recorded.cluster_id.as_deref(), Some("7"));
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn the_bootstrap_set_is_frozen_before_anything_is_made() {
    let mut world = World::new(3);
    let first = plan(&world.desired, &world.observe());
    assert!(first.status.as_ref().is_some_and(|draft| draft.first));
    world.take(&first, 2);
    world.scale(5);
    let told = settle(&mut world);
    assert!(
        told.contains(&"add a-3 as a learner".to_owned()),
        "{told:?}"
    );
    assert_eq!(world.desired.recorded.bootstrap_members.len(), 3);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn all_pods_deleted_come_back_in_one_plan_with_their_data() {
    let mut world = grown(3);
    let disks: Vec<_> = world
        .pod_names()
        .iter()
        .map(|pod| world.disk_of(pod))
        .collect();
    for pod in world.pod_names() {
        world.delete_pod(&pod);
    }
    world.tick();
    let next = plan(&world.desired, &world.observe());
    let made = next
        .steps
        .iter()
        .filter(|step| matches!(step, Step::CreatePod(_)))
        .count();
    assert_eq!(made, 3, "{:?}", next.steps);
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    let after: Vec<_> = world
        .pod_names()
        .iter()
        .map(|pod| world.disk_of(pod))
        .collect();
    assert_eq!(disks, after);
}

#[test]
fn a_lost_claim_is_replaced_by_rule() {
    let mut world = grown(3);
    let before = world.disk_of("a-1");
    world.delete_claim("a-1");
    world.delete_pod("a-1");
    world.tick();
    let told = settle(&mut world);
    let order = [
        "remove a-1",
        "add a-1 as a learner",
        "create claim data-a-1",
        "create pod a-1",
        "promote learner a-1",
    ];
    in_order(&told, &order);
    assert_ne!(world.disk_of("a-1"), before);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_member_is_made_anew_when_asked_and_hands_over_first() {
    let mut world = grown(3);
    let before = world.disk_of("a-0");
    world.set_leader("a-0");
    world.condemn("a-0");
    let told = settle(&mut world);
    let order = [
        "move leadership from a-0",
        "remove a-0",
        "delete pod a-0",
        "delete claim data-a-0",
        "add a-0 as a learner",
        "promote learner a-0",
    ];
    in_order(&told, &order);
    assert_ne!(world.disk_of("a-0"), before);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_member_that_shall_be_made_anew_is_as_good_as_any_until_then() {
    // Without it there is no quorum: it comes back with its data before it is removed permanently.
    let mut world = grown(3);
    world.condemn("a-1");
    for pod in ["a-1", "a-2"] {
        world.delete_pod(pod);
    }
    world.tick();
    assert!(!world.quorate());
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));

    let mut only = grown(1);
    let before = only.disk_of("a-0");
    only.condemn("a-0");
    settle(&mut only);
    assert_eq!(is_whole(&only), Ok(()));
    assert_eq!(only.disk_of("a-0"), before, "the last voter keeps its disk");
}

#[test]
fn a_leader_whose_node_is_gone_for_good_is_replaced() {
    let mut world = grown(3);
    world.lose_node("a-0");
    let told = settle(&mut world);
    assert!(
        told.iter()
            .any(|line| line.starts_with("force-delete pod a-0")),
        "{told:?}"
    );
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_majority_without_data_is_never_bootstrapped_again() {
    let mut world = grown(3);
    for pod in ["a-0", "a-1"] {
        world.delete_claim(pod);
        world.delete_pod(pod);
    }
    world.tick();
    let told = settle(&mut world);
    assert!(
        !told.iter().any(|line| line.starts_with("create claim")),
        "{told:?}"
    );
    let next = plan(&world.desired, &world.observe());
    assert!(!next.waiting.is_empty());
    let status = next.status.expect("a status");
    let lost = status
        .observations
        .iter()
        .any(|seen| seen.reason == etcd_operator_api::condition::Reason::DataLost);
    assert!(lost, "{:?}", status.observations);
}

#[test]
fn growing_and_shrinking_goes_one_by_one_with_the_leader_moved_first() {
    let mut world = grown(1);
    world.scale(3);
    settle(&mut world);
    world.scale(5);
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    world.set_leader("a-4");
    world.scale(3);
    let told = settle(&mut world);
    let moved = told
        .iter()
        .position(|line| line.starts_with("move leadership from a-4"));
    let removed = told.iter().position(|line| line.starts_with("remove a-4"));
    assert!(moved.is_some() && moved < removed, "{told:?}");
    assert_eq!(is_whole(&world), Ok(()));
    assert_eq!(world.disk_of("a-4"), None);
}

/// A world of three whose fourth member is a learner that has published its name, as it is observed.
fn with_learner() -> (World, Observed) {
    let mut world = grown(3);
    world.scale(5);
    for _ in 0..40 {
        let seen = world.observe();
        let named = |member: &Member| member.is_learner && !member.name.is_empty();
        let list = seen.members.known();
        let learns = list.is_some_and(|list| list.members.iter().any(named));
        if learns && seen.pods.contains_key("a-3") {
            return (world, seen);
        }
        let next = plan(&world.desired, &seen);
        world.take(&next, usize::MAX);
        world.tick();
    }
    panic!("no learner has published its name");
}

#[test]
fn a_learner_that_does_not_serve_yet_gets_its_vote_when_its_pod_is_ready_and_not_before() {
    let (world, seen) = with_learner();
    let votes = |change: &dyn Fn(&mut PodSeen)| {
        let mut seen = seen.clone();
        change(seen.pods.get_mut("a-3").expect("the learner's pod"));
        let next = plan(&world.desired, &seen);
        next.steps
            .iter()
            .any(|step| matches!(step, Step::Promote { pod, .. } if pod == "a-3"))
    };
    let silent = |pod: &mut PodSeen, ready| (pod.view, pod.ready) = (None, ready);
    assert!(votes(&|pod| silent(pod, true)));
    assert!(!votes(&|pod| silent(pod, false)));
    assert!(
        !votes(&|pod| {
            pod.view = seen.pods["a-0"].view.clone();
            (pod.heard, pod.ready) = (true, true);
        }),
        "one that says it is another member has proven nothing"
    );
}

fn settle_until_whole(world: &mut World) {
    settle(world);
    assert_eq!(is_whole(world), Ok(()));
}

#[test]
fn a_kept_claim_is_never_a_member_s_again() {
    let mut world = grown(3);
    world.desired.keep_when_scaled = true;
    world.scale(1);
    settle_until_whole(&mut world);
    let kept = world.disk_of("a-2").expect("it is kept");
    world.scale(3);
    settle_until_whole(&mut world);
    assert_ne!(world.disk_of("a-2"), Some(kept));
}

#[test]
fn an_update_takes_followers_first_and_the_leader_after_it_has_handed_over() {
    let mut world = grown(3);
    world.change_template("etcd:2");
    let told = settle(&mut world);
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "evict pod a-2: it is updated",
            "create pod a-2",
            "evict pod a-1: it is updated",
            "create pod a-1",
            "move leadership from a-0 to a-2",
            "evict pod a-0: it is updated",
            "create pod a-0",
        ]
    );
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn an_update_waits_while_a_member_is_silent() {
    let mut world = grown(3);
    world.change_template("etcd:2");
    world.silent = Some("a-1".to_owned());
    let next = plan(&world.desired, &world.observe());
    assert!(next.steps.is_empty(), "{:?}", next.steps);
    assert!(!next.waiting.is_empty());
}

#[test]
fn stopped_members_keep_claims_and_come_back_as_they_were_before_they_are_scaled() {
    let mut world = grown(3);
    world.scale(0);
    settle(&mut world);
    assert!(world.pod_names().is_empty());
    let disks: Vec<_> = ["a-0", "a-1", "a-2"].map(|pod| world.disk_of(pod)).into();
    assert!(disks.iter().all(Option::is_some));
    world.scale(5);
    let told = settle(&mut world);
    assert_eq!(
        &told[..3],
        ["create pod a-0", "create pod a-1", "create pod a-2"]
    );
    assert_eq!(is_whole(&world), Ok(()));
    assert_eq!(disks, ["a-0", "a-1", "a-2"].map(|pod| world.disk_of(pod)));
}

#[test]
fn two_clusters_stop_everything() {
    let mut world = grown(3);
    let mut seen = world.observe();
    if let Some(status) = seen
        .pods
        .get_mut("a-2")
        .and_then(|pod| pod.view.as_mut())
        .and_then(|view| view.status.as_mut())
    {
        status.cluster_id = kbagent_protocol::Id(8);
    }
    world.change_template("etcd:2");
    let next = plan(&world.desired, &seen);
    assert!(next.steps.is_empty(), "{:?}", next.steps);
    assert!(
        next.waiting
            .iter()
            .any(|reason| reason.reason() == "ClusterIDMismatch")
    );
}

/// What may happen to a cluster between two looks.
#[derive(Clone, Debug)]
enum Event {
    DeletePod(usize),
    DeleteClaim(usize),
    LoseNode(usize),
    Condemn(usize),
    Scale(u32),
    Template(u8),
    Class(&'static str),
    Blind,
    Silence(usize),
    Crash(usize),
    Round,
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0usize..7).prop_map(Event::DeletePod),
        1 => (0usize..7).prop_map(Event::DeleteClaim),
        1 => (0usize..7).prop_map(Event::LoseNode),
        1 => (0usize..7).prop_map(Event::Condemn),
        1 => prop::sample::select(vec![0u32, 1, 3, 5]).prop_map(Event::Scale),
        1 => (0u8..3).prop_map(Event::Template),
        1 => prop::sample::select(vec!["fast", "slow", ""]).prop_map(Event::Class),
        1 => Just(Event::Blind),
        1 => (0usize..7).prop_map(Event::Silence),
        3 => (0usize..4).prop_map(Event::Crash),
        8 => Just(Event::Round),
        6 => Just(Event::Tick),
    ]
}

/// True when enough voters have their data: on a disk that stays, or under a process that runs and can be copied from.
pub(super) fn can_recover(world: &World) -> bool {
    let voters: Vec<_> = world.members.iter().filter(|m| !m.is_learner).collect();
    let only = match voters[..] {
        [only] if world.desired.members.len() <= 1 => Some(&only.name),
        _ => None,
    };
    let claims = world.observe().claims;
    let going = only.and_then(|pod| claims.get(&format!("data-{pod}")).map(|c| c.terminating));
    world.has_its_data() && going != Some(true)
}

fn happen(world: &mut World, event: &Event) {
    let name = |ordinal: usize| format!("a-{ordinal}");
    match event {
        Event::DeletePod(pod) => world.delete_pod(&name(*pod)),
        Event::DeleteClaim(pod) => world.delete_claim(&name(*pod)),
        Event::LoseNode(pod) => world.lose_node(&name(*pod)),
        Event::Condemn(pod) => world.condemn(&name(*pod)),
        Event::Scale(replicas) => world.scale(*replicas),
        Event::Template(version) => world.change_template(&format!("etcd:{version}")),
        Event::Class(class) => world.want_class(class),
        Event::Blind => world.blind = !world.blind,
        Event::Silence(pod) => world.silent = Some(name(*pod)),
        Event::Crash(_) | Event::Round => {
            let next = lawful(world, &world.observe());
            let upto = if let Event::Crash(upto) = event {
                *upto
            } else {
                usize::MAX
            };
            world.take(&next, upto);
        }
        Event::Tick => world.tick(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_history_converges_or_waits_with_a_reason(
        size in prop::sample::select(vec![1u32, 3, 5]),
        events in prop::collection::vec(event(), 0..80),
        last in prop::sample::select(vec![1u32, 3, 5]),
    ) {
        let mut world = grown(size);
        for event in &events {
            happen(&mut world, event);
        }
        world.blind = false;
        world.silent = None;
        world.scale(last);
        if last == 1 {
            // The only member does not move.
            world.want_class("");
        }
        let recoverable = can_recover(&world);
        settle(&mut world);
        let whole = is_whole(&world);
        if recoverable {
            prop_assert_eq!(whole, Ok(()));
        } else if whole.is_err() {
            let next = plan(&world.desired, &world.observe());
            prop_assert!(!next.waiting.is_empty(), "stuck without a reason");
        }
    }

    #[test]
    fn a_second_plan_on_the_same_world_is_the_same(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = grown(3);
        for event in &events {
            happen(&mut world, event);
        }
        let seen = world.observe();
        prop_assert_eq!(plan(&world.desired, &seen), plan(&world.desired, &seen));
    }
}

#[test]
fn authentication_that_is_on_is_no_lost_quorum() {
    let mut seen = grown(3).observe();
    seen.members = Reading::Unknown("no member has a leader".to_owned());
    let set = |seen: &mut Observed, reason: &str| {
        for pod in seen.pods.values_mut() {
            let view = pod.view.as_mut().expect("a view");
            view.etcd = EtcdState::Unreachable {
                reason: format!("failed to read the status: etcdserver: {reason}"),
                refused: false,
            };
        }
    };
    let quorate = |seen: &Observed| {
        let draft = plan(&grown(3).desired, seen).status.expect("a status");
        let mut told = draft.observations.into_iter();
        let told = told.find(|told| told.kind == ConditionType::Quorate);
        told.map(|told| (told.status, told.message)).expect("told")
    };
    set(&mut seen, "user name is empty");
    let (truth, text) = quorate(&seen);
    assert_eq!(truth, Truth::Unknown);
    assert!(text.contains("etcdctl auth disable"), "{text}");
    set(&mut seen, "no leader");
    assert_eq!(quorate(&seen).0, Truth::False);
}

#[test]
fn why_a_pod_cannot_run_is_told_at_once_before_and_after_the_start() {
    let mut world = World::new(3);
    let first = plan(&world.desired, &world.observe());
    world.take(&first, usize::MAX);
    for mut seen in [world.observe(), grown(3).observe()] {
        let pod = seen.pods.get_mut("a-1").expect("a pod");
        (pod.ready, pod.age_seconds) = (false, 1);
        pod.broken = Some("unschedulable: Insufficient cpu".to_owned());
        let status = plan(&world.desired, &seen).status.expect("a status");
        let told = status.status.message.unwrap_or_default();
        assert_eq!(
            told,
            "pod a-1 cannot run: unschedulable: Insufficient cpu; correct the Cluster, and the pod is replaced at once"
        );
        let mut conditions = status.observations.iter();
        let formed = conditions.find(|told| told.kind == ConditionType::Quorate);
        let formed = formed.expect("the condition");
        assert!(formed.status == Truth::True || formed.message.contains(&told));
    }
}
