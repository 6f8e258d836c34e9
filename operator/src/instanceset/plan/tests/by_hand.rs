//! What owners do by hand, and templates that are wrong: no data goes, no cluster is stuck, no reason is missing.

use kbagent_protocol::Id;

use super::super::world::World;
use super::super::{Plan, Step, Waiting, plan, status};
use super::{grown, is_whole, next, settle, settle_until_whole};
use crate::instanceset::events::summary;
use crate::instanceset::observed::{Observed, Reading};

type Disk = Option<(u64, Option<Id>)>;

fn pods(world: &World) -> Vec<String> {
    world.pod_names()
}

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.waiting.iter().map(|why| why.reason()).collect()
}

fn voters(world: &World) -> usize {
    world.members.iter().filter(|m| !m.is_learner).count()
}

/// Rounds until nothing happens; `each` is asked of every world between them.
fn rounds(world: &mut World, each: impl Fn(&World)) -> Vec<String> {
    let (mut told, mut quiet) = (Vec::new(), 0);
    for _ in 0..160 {
        let next = next(world);
        told.extend(next.steps.iter().map(summary));
        quiet = if next.steps.is_empty() { quiet + 1 } else { 0 };
        world.take(&next, usize::MAX);
        each(world);
        world.tick();
        if quiet > 3 {
            return told;
        }
    }
    panic!("no end: {told:?}");
}

/// Claims of running members are deleted, and Kubernetes holds them until their pods go.
#[test]
fn members_whose_claims_were_deleted_are_replaced_one_at_a_time() {
    for deleted in [vec![0], vec![1, 2], vec![0, 1, 2]] {
        let mut world = grown(3);
        let before: Vec<_> = (0..3).map(|at| world.disk_of(&format!("a-{at}"))).collect();
        for at in &deleted {
            world.delete_claim(&format!("a-{at}"));
        }
        let told = rounds(&mut world, |world| {
            assert!(voters(world) >= 2, "{:?}", world.members);
            assert!(world.quorate() && world.has_its_data());
        });
        assert_eq!(is_whole(&world), Ok(()), "{told:?}");
        for (at, before) in before.iter().enumerate() {
            let same = world.disk_of(&format!("a-{at}")) == *before;
            assert_eq!(same, !deleted.contains(&at), "a-{at}: {told:?}");
        }
        let changes = told.iter().filter_map(|line| {
            let word = line
                .split(' ')
                .next()
                .filter(|word| ["remove", "promote"].contains(word));
            word.map(str::to_owned)
        });
        let changes: Vec<_> = changes.collect();
        assert_eq!(
            changes,
            ["remove", "promote"].repeat(deleted.len()),
            "{told:?}"
        );
    }
}

#[test]
fn the_only_member_is_kept_while_its_claim_is_being_deleted_and_is_replaced_when_there_are_others()
{
    let mut world = grown(1);
    world.delete_claim("a-0");
    world.change_template("etcd:2");
    let told = settle(&mut world);
    assert_eq!(told, Vec::<String>::new(), "its data goes with its pod");
    assert!(reasons(&next(&world)).contains(&"ClaimGoing"));
    assert!(world.has_its_data());
    world.scale(3);
    settle_until_whole(&mut world);

    let mut shrinking = grown(5);
    shrinking.delete_claim("a-0");
    shrinking.scale(1);
    settle_until_whole(&mut shrinking);
}

#[test]
fn members_are_not_stopped_with_the_last_of_the_data() {
    let mut world = grown(3);
    for pod in ["a-0", "a-1"] {
        world.delete_claim(pod);
    }
    world.scale(0);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert!(reasons(&next(&world)).contains(&"ClaimGoing"));
    world.scale(3);
    settle_until_whole(&mut world);
    // One of three may be lost: it is replaced after the start.
    world.delete_claim("a-0");
    world.scale(0);
    settle(&mut world);
    assert!(pods(&world).is_empty());
    world.scale(3);
    settle_until_whole(&mut world);
}

#[test]
fn a_member_is_known_by_its_identifier_whatever_its_address() {
    for at in 0..3 {
        let mut world = grown(3);
        let (pod, before) = (format!("a-{at}"), pods(&world));
        let disks: Vec<_> = before.iter().map(|pod| world.disk_of(pod)).collect();
        world.move_url(&pod);
        world.change_template("etcd:2");
        let told = settle(&mut world);
        let touched = |line: &String| line.contains(&pod) && !line.starts_with("move leadership");
        assert!(!told.iter().any(touched), "{told:?}");
        let held = next(&world);
        assert!(
            reasons(&held).contains(&"PeerURLChanged"),
            "{:?}",
            held.waiting
        );
        let status = held.status.expect("a status");
        let told = status.observations.iter().any(|seen| {
            seen.status == etcd_operator_api::condition::Truth::True
                && seen.message.contains(".moved:2380")
        });
        assert!(told, "{:?}", status.observations);
        let now: Vec<_> = before.iter().map(|pod| world.disk_of(pod)).collect();
        assert_eq!(disks, now);
        world.set_back();
        settle_until_whole(&mut world);
    }
}

#[test]
fn the_peer_url_to_set_back_has_the_members_scheme() {
    for scheme in ["http://", "https://"] {
        let mut world = grown(3);
        world.move_url("a-1");
        for member in &mut world.members {
            for url in &mut member.peer_urls {
                *url = url.replace("http://", scheme);
            }
        }
        let told: Vec<_> = next(&world)
            .waiting
            .iter()
            .map(ToString::to_string)
            .collect();
        let wanted = format!("--peer-urls={scheme}a-1.");
        assert!(told.iter().any(|text| text.contains(&wanted)), "{told:?}");
    }
}

#[test]
fn another_cluster_domain_is_refused_and_touches_nobody() {
    let mut world = grown(3);
    let before = world.observe();
    world.desired.cluster_domain = "cluster.local.".to_owned();
    world.change_template("etcd:2");
    world.scale(5);
    assert_eq!(settle(&mut world), ["apply service a-headless"; 0]);
    assert!(reasons(&next(&world)).contains(&"ClusterDomainChanged"));
    assert_eq!(world.observe().claims, before.claims);
    // A pod that is deleted anyway comes back on its data.
    world.delete_pod("a-1");
    world.tick();
    assert_eq!(settle(&mut world), ["create pod a-1"]);
    world.set_back();
    settle_until_whole(&mut world);
}

/// Each list holds the cluster's identifier and omits or mixes up members that are there.
#[test]
fn a_forged_list_deletes_nothing() {
    let world = grown(3);
    let forge = |change: &dyn Fn(&mut Vec<kbagent_protocol::Member>)| -> Observed {
        let mut seen = world.observe();
        if let Reading::Known(list) = &mut seen.members {
            change(&mut list.members);
        }
        seen
    };
    let swap = |members: &mut Vec<kbagent_protocol::Member>| {
        let url = members[0].peer_urls.clone();
        members[0].peer_urls = std::mem::replace(&mut members[1].peer_urls, url);
    };
    let lists = [
        forge(&|members| members.truncate(1)),
        forge(&|members| members.clear()),
        forge(&|members| members.iter_mut().for_each(|m| m.id = Id(m.id.0 + 1))),
        forge(&|members| members.iter_mut().for_each(|m| m.peer_urls.clear())),
        forge(&|members| members.iter_mut().for_each(|m| m.name = "a-0".to_owned())),
        forge(&swap),
    ];
    for seen in lists {
        for replicas in [1, 3, 5] {
            let mut world = world.clone();
            world.scale(replicas);
            world.change_template("etcd:2");
            let next = plan(&world.desired, &seen);
            let harms = |step: &&Step| {
                matches!(step, Step::DeleteClaim { .. })
                    || matches!(step, Step::DeletePod { why, .. } if why != "it is updated")
            };
            assert_eq!(next.steps.iter().find(harms), None, "{:?}", seen.members);
            assert!(!next.waiting.is_empty() || !next.steps.is_empty());
        }
    }
}

#[test]
fn a_first_template_that_is_wrong_is_corrected() {
    for (members, wrong) in [
        (1, "hang:1"),
        (3, "hang:1"),
        (3, "mute:1"),
        (5, "hang:1"),
        (3, "ill:1"),
    ] {
        let mut world = World::new(members);
        world.change_template(wrong);
        settle(&mut world);
        let disks: Vec<_> = pods(&world).iter().map(|pod| world.disk_of(pod)).collect();
        assert_eq!(disks.len(), members as usize);
        assert!(is_whole(&world).is_err());
        world.change_template("etcd:2");
        world.age = 60;
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()), "{wrong}: {told:?}");
        let formed = world.desired.recorded.bootstrap_members.len();
        assert_eq!(formed, members as usize);
        let after: Vec<_> = pods(&world).iter().map(|pod| world.disk_of(pod)).collect();
        let same = |(old, new): &(&Disk, &Disk)| old.map(|disk| disk.0) == new.map(|disk| disk.0);
        let kept = disks.iter().zip(&after).filter(same).count();
        assert!(kept > members as usize / 2, "claims stay: {told:?}");
    }
}

#[test]
fn before_the_cluster_has_formed_one_pod_at_a_time_is_replaced() {
    let mut world = World::new(3);
    world.change_template("hang:1");
    settle(&mut world);
    world.change_template("etcd:2");
    for _ in 0..20 {
        let next = next(&world);
        let gone = |step: &&Step| matches!(step, Step::DeletePod { .. });
        assert!(next.steps.iter().filter(gone).count() <= 1);
        world.take(&next, usize::MAX);
        world.tick();
        assert!(pods(&world).len() >= 2);
    }
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_rollout_that_hangs_is_corrected_whatever_holds_its_pod_up() {
    for wrong in ["hang:2", "mute:2", "ill:2"] {
        for members in [1, 3, 5] {
            let mut world = grown(members);
            world.change_template(wrong);
            let told = settle(&mut world);
            let stopped = told.iter().filter(|line| line.starts_with("evict pod"));
            assert_eq!(stopped.count(), 1, "{wrong}: {told:?}");
            assert!(members == 1 || world.quorate());
            world.change_template("etcd:3");
            world.age = 60;
            let told = settle(&mut world);
            assert_eq!(is_whole(&world), Ok(()), "{wrong}, {members}: {told:?}");
        }
    }
}

#[test]
fn what_the_budget_holds_up_is_told_first_and_looked_at_again_soon() {
    let mut world = grown(3);
    world.change_template("etcd:2");
    let mut held = next(&world);
    let pod = "a-2".to_owned();
    let why = "The disruption budget a needs 2 healthy pods and has 2 currently".to_owned();
    status::hold(&mut held, Waiting::Budget { pod, why });
    assert!(held.waiting[0].moves_by_itself());
    let told = held.status.expect("a status").status;
    assert_eq!(told.waiting_on[0].reason, "DisruptionBudget");
    let message = told.message.expect("a message");
    assert!(message.contains("needs 2 healthy pods"), "{message}");
}

/// All pods were recreated with it, so that no member is left to ask.
#[test]
fn a_template_that_took_the_quorum_is_corrected() {
    for wrong in ["hang:2", "mute:2"] {
        let mut world = grown(3);
        world.change_template(wrong);
        for pod in pods(&world) {
            world.delete_pod(&pod);
        }
        let disks: Vec<_> = pods(&world).iter().map(|pod| world.disk_of(pod)).collect();
        world.tick();
        settle(&mut world);
        assert!(!world.quorate());
        world.change_template("etcd:3");
        world.age = 60;
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()), "{wrong}: {told:?}");
        let after: Vec<_> = pods(&world).iter().map(|pod| world.disk_of(pod)).collect();
        assert_eq!(disks, after);
    }
}

#[test]
fn a_learner_whose_template_hangs_is_corrected() {
    for wrong in ["hang:2", "mute:2"] {
        let mut world = grown(3);
        world.desired.update.replicas = 0;
        world.scale(5);
        world.desired.update.replicas = 0;
        world.change_template(wrong);
        settle(&mut world);
        world.desired.update.replicas = 5;
        world.change_template("etcd:3");
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()), "{wrong}: {told:?}");
    }
}

#[test]
fn a_node_that_is_not_there_takes_no_pod_and_makes_no_loop() {
    let mut world = grown(3);
    let before = world.observe().pods;
    world.change_template("etcd:2");
    world.no_node = Some("no-such-node".to_owned());
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert!(reasons(&next(&world)).contains(&"NodeNotFound"));
    assert_eq!(world.observe().pods, before);
    // A pod that is deleted anyway is not recreated on it, and no member is added for it.
    world.delete_pod("a-1");
    world.scale(5);
    world.tick();
    assert_eq!(settle(&mut world), Vec::<String>::new());
    world.no_node = None;
    settle_until_whole(&mut world);

    let mut young = World::new(3);
    young.no_node = Some("no-such-node".to_owned());
    let told = settle(&mut young);
    assert!(
        told.iter().all(|line| line.starts_with("create claim")),
        "{told:?}"
    );
    assert!(reasons(&next(&young)).contains(&"NodeNotFound"));
    young.no_node = None;
    settle_until_whole(&mut young);
}

#[test]
fn scaling_in_takes_dead_members_first() {
    let mut world = grown(3);
    world.set_leader("a-0");
    world.freeze("a-1");
    world.scale(1);
    settle(&mut world);
    let left: Vec<_> = world.members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(left, ["a-0"]);
    world.thaw();
    world.tick();
    settle_until_whole(&mut world);
}

#[test]
fn clients_leave_first_where_the_others_remove_a_member_without_its_vote() {
    let drains = |world: &World| {
        let removal = |step: Step| match step {
            Step::RemoveMember { pod, drain, .. } => Some((pod, drain)),
            _ => None,
        };
        next(world).steps.into_iter().find_map(removal)
    };
    let mut world = grown(5);
    world.set_leader("a-0");
    world.scale(3);
    let (pod, drain) = drains(&world).expect("a removal");
    assert_eq!(drain.expect("four are enough").pod, pod);
    let mut world = grown(3);
    world.set_leader("a-0");
    world.scale(1);
    let seen = std::cell::Cell::new(0);
    rounds(&mut world, |world| {
        if let Some((pod, drain)) = drains(world) {
            let needed = (world.members.len() > 2).then_some(pod);
            assert_eq!(drain.map(|via| via.pod), needed, "two decide together");
            seen.set(seen.get() + 1);
        }
    });
    assert!(seen.get() > 0, "two became one");
    // A dead member has no clients.
    let mut world = grown(3);
    world.set_leader("a-0");
    world.freeze("a-1");
    world.scale(1);
    assert_eq!(drains(&world), Some(("a-1".to_owned(), None)));
}

#[test]
fn a_lost_member_that_must_wait_does_not_hide_one_that_need_not() {
    // a-0 runs on a claim that goes, a-1 is dead without data: a-1 goes first and a-0 when it is back.
    let mut world = grown(3);
    world.delete_claim("a-0");
    world.lose_node("a-1");
    let told = settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()), "{told:?}");
}

#[test]
fn growing_beside_a_dead_member_waits_with_the_figures_of_etcd() {
    let mut world = grown(3);
    world.freeze("a-1");
    world.scale(5);
    let held = next(&world);
    assert!(held.steps.is_empty(), "{:?}", held.steps);
    let told: Vec<_> = held.waiting.iter().map(ToString::to_string).collect();
    let why =
        "joining of a-3 waits for a quorum: 2 healthy voters, 3 are needed; bring members back";
    assert!(told.iter().any(|line| line == why), "{told:?}");
    world.thaw();
    settle_until_whole(&mut world);
}

#[test]
fn no_pod_is_stopped_for_a_template_that_makes_none() {
    let mut world = grown(3);
    world.change_template("etcd:2");
    world.refused_template = Some("spec.containers[0].ports: Invalid value".to_owned());
    let before = world.observe().pods;
    assert_eq!(settle(&mut world), Vec::<String>::new());
    assert!(reasons(&next(&world)).contains(&"TemplateRefused"));
    assert_eq!(world.observe().pods, before);
    world.refused_template = None;
    world.change_template("etcd:3");
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
}
