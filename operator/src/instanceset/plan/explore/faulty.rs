//! Planners with a fault that was there once: the explorer finds each of them, or it is no judge of the planner.

use etcd_operator_api::names;
use etcd_operator_api::recovery::RecoveryStep;
use kbagent_protocol::Member;

use super::super::super::desired::Desired;
use super::super::super::observed::{NodeSeen, Observed, PodSeen, Reading};
use super::super::steps::{Grace, Plan, Removal, Step, Via};
use super::super::{alarms, plan, revision, volumes};
use super::{ALARMS, CLAIMS, FREEZE, GIVEN_UP, HAND, MOVED, Planner, Wish, explore, moved};

/// What the explorer says of the planner.
fn verdict(wish: Wish, planner: Planner) -> String {
    match explore(wish.state(planner)) {
        Ok(explored) => panic!("nothing is found in {explored:?}"),
        Err(wrong) => wrong,
    }
}

fn delete_step(name: &str, pod: &PodSeen, grace: Grace, why: &str) -> Step {
    Step::DeletePod {
        name: name.to_owned(),
        uid: pod.uid.clone(),
        grace,
        how: match grace {
            Grace::Template => Removal::Evict,
            Grace::Moment | Grace::Dead => Removal::Delete,
        },
        why: why.to_owned(),
    }
}

/// The member is removed, and the membership is changed in no other way.
fn remove_instead(plan: &mut Plan, via: &str, member: &Member, why: &str) {
    plan.steps.retain(|step| !step.changes_membership());
    plan.steps.push(Step::RemoveMember {
        via: Via {
            pod: via.to_owned(),
            ip: std::net::Ipv4Addr::LOCALHOST.into(),
        },
        pod: member.name.clone(),
        host: String::new(),
        member: member.id,
        why: why.to_owned(),
        drain: None,
    });
}

fn is_going(seen: &Observed, pod: &str) -> bool {
    let claim = seen.claims.get(&names::claim("data", pod));
    claim.is_none_or(|claim| claim.terminating)
}

fn keep_pods(plan: &mut Plan, but: impl Fn(&str) -> bool) {
    plan.steps
        .retain(|step| !matches!(step, Step::DeletePod { name, .. } if !but(name)));
}

/// A member is who its address says.
fn by_address(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let Some(list) = seen.members.known() else {
        return plan;
    };
    let domain = desired.domain();
    for (name, pod) in &seen.pods {
        let url = format!("http://{name}.{domain}:2380");
        let listed = list.members.iter().any(|m| m.peer_urls.contains(&url));
        if !listed && !pod.terminating {
            plan.steps
                .push(delete_step(name, pod, Grace::Moment, "it is no member"));
        }
    }
    plan
}

/// A member whose claim is going is lost, and lost ones go before others come.
fn going_is_lost(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let Some(list) = seen.members.known() else {
        return plan;
    };
    let voters = list.members.iter().filter(|m| !m.is_learner).count();
    let going = list.members.iter().find(|m| is_going(seen, &m.name));
    let Some(member) = going.filter(|_| voters > 1 && voters == list.members.len()) else {
        return plan;
    };
    let other = seen
        .pods
        .iter()
        .find(|(name, pod)| **name != member.name && pod.takes_part());
    if let Some((via, _)) = other {
        remove_instead(&mut plan, via, member, "its claim is being deleted");
    }
    plan
}

/// A follower moves to another storage class whatever the other members are at.
fn moves_beside_others(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let Some(list) = seen.members.known() else {
        return plan;
    };
    let follows = |pod: &PodSeen| {
        let status = pod.status();
        status.is_some_and(|status| status.leader_id != Some(status.member_id))
    };
    let moves = |member: &&Member| {
        let pod = seen.pods.get(&member.name);
        volumes::elsewhere(desired, seen, &member.name).is_some() && pod.is_some_and(follows)
    };
    let all_vote = !list.members.iter().any(|member| member.is_learner);
    let Some(member) = list.members.iter().find(moves).filter(|_| all_vote) else {
        return plan;
    };
    let mut others = seen.pods.iter();
    if let Some((via, _)) = others.find(|(pod, there)| **pod != member.name && there.takes_part()) {
        remove_instead(&mut plan, via, member, "it moves");
    }
    plan
}

/// All outdated pods at once, however few are left.
fn without_margin(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let revision = revision::revision(desired);
    let outdated = |pod: &PodSeen| pod.revision != revision && !pod.terminating;
    for (name, pod) in seen.pods.iter().filter(|(_, pod)| outdated(pod)) {
        plan.steps
            .push(delete_step(name, pod, Grace::Template, "it is updated"));
    }
    plan
}

/// Before the latch no pod is replaced.
fn first_template_stays(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    if desired.recorded.cluster_id.is_none() {
        keep_pods(&mut plan, |_| false);
    }
    plan
}

/// Only a pod whose containers are known to be broken is replaced by its correction.
fn unready_holds_up(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    keep_pods(&mut plan, |name| {
        seen.pods.get(name).is_none_or(|pod| pod.ready)
    });
    plan
}

/// The member with the highest ordinal leaves first, dead or alive.
fn by_ordinal(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let list = seen.members.known();
    let surplus = list.into_iter().flat_map(|list| &list.members);
    let surplus = surplus
        .map(|member| &member.name)
        .filter(|pod| !desired.wants(pod));
    let last = surplus.max();
    plan.steps.retain(|step| match step {
        Step::RemoveMember { pod, .. } => Some(pod) == last,
        _ => true,
    });
    plan
}

/// An alarm goes as soon as it is seen, whatever it is about.
fn disarms_at_once(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    let mut pods = seen.pods.iter();
    let via = pods.find(|(_, pod)| pod.takes_part()).map(|(pod, _)| Via {
        pod: pod.clone(),
        ip: std::net::Ipv4Addr::LOCALHOST.into(),
    });
    let alarms = alarms::alarms(seen).into_iter();
    let steps = alarms.filter_map(|alarm| {
        Some(Step::Disarm {
            via: via.clone()?,
            alarm,
        })
    });
    plan.steps.extend(steps);
    plan
}

/// An outdated leader is stopped as any other pod is.
fn leader_is_stopped(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    for step in &mut plan.steps {
        let Step::Switchover { from, .. } = step else {
            continue;
        };
        if let Some(pod) = seen.pods.get(from.as_str()) {
            *step = delete_step(&from.clone(), pod, Grace::Template, "it is updated");
        }
    }
    plan
}

/// True while a quorum is to be given up, and no member is the only one yet.
fn gives_up(desired: &Desired) -> bool {
    let step = desired.recorded.recovery.as_ref().map(|own| own.step);
    let begins = matches!(
        step,
        None | Some(RecoveryStep::Chosen | RecoveryStep::Isolated)
    );
    desired.recovery.is_some() && begins
}

/// A quorum is given up on demand, whether it is there or not.
fn quorum_is_overlooked(desired: &Desired, seen: &Observed) -> Plan {
    let mut seen = seen.clone();
    if gives_up(desired) {
        seen.members = Reading::Unknown("it was not asked".to_owned());
        let views = seen.pods.values_mut().filter_map(|pod| pod.view.as_mut());
        for status in views.filter_map(|view| view.status.as_mut()) {
            status.leader_id = None;
        }
    }
    plan(desired, &seen)
}

/// A pod whose node does not report is taken for gone when a quorum is given up.
fn silent_is_gone(desired: &Desired, seen: &Observed) -> Plan {
    let mut seen = seen.clone();
    if gives_up(desired) {
        seen.pods.retain(|_, pod| pod.node != NodeSeen::NotReady);
    }
    plan(desired, &seen)
}

/// The volumes of members that are given up are not marked.
fn old_volumes_stay(desired: &Desired, seen: &Observed) -> Plan {
    let mut plan = plan(desired, seen);
    plan.steps
        .retain(|step| !matches!(step, Step::RetireClaim { .. }));
    plan
}

/// A fault that was there once, or must never be.
struct Case {
    fault: &'static str,
    wish: fn() -> Wish,
    planner: Planner,
    /// What the explorer says of it.
    says: &'static str,
}

const STUCK: &str = "it does not reach the desired state";

const CASES: &[Case] = &[
    Case {
        fault: "members are removed while others are on their way",
        wish: || Wish::size(3, 3).with(CLAIMS, 2),
        planner: going_is_lost,
        says: "M3",
    },
    Case {
        fault: "a member is known by its address",
        wish: || Wish::size(3, 3).with(HAND, 1),
        planner: by_address,
        says: "is deleted as no member",
    },
    Case {
        fault: "a first template stays, though it is corrected",
        wish: || Wish::first(3, "hang:1"),
        planner: first_template_stays,
        says: STUCK,
    },
    Case {
        fault: "a pod that hangs holds up its correction",
        wish: || Wish::template(3, "hang:2", 1),
        planner: unready_holds_up,
        says: STUCK,
    },
    Case {
        fault: "a pod that is not ready holds up its correction",
        wish: || Wish::template(3, "ill:2", 1),
        planner: unready_holds_up,
        says: STUCK,
    },
    Case {
        fault: "the highest ordinal leaves first, though another is dead",
        wish: || Wish::size(3, 1).with(FREEZE, 1),
        planner: by_ordinal,
        says: STUCK,
    },
    Case {
        fault: "pods are updated without margin",
        wish: || Wish::update(3, 1),
        planner: without_margin,
        says: "P9",
    },
    Case {
        fault: "the leader is stopped before leadership has moved",
        wish: || Wish::update(3, 1),
        planner: leader_is_stopped,
        says: "P9",
    },
    Case {
        fault: "a member moves to another class while another one is unavailable",
        wish: || moved(3).with(MOVED, 1),
        planner: moves_beside_others,
        says: "M21",
    },
    Case {
        fault: "an alarm is disarmed and its cause stays",
        wish: || Wish::size(3, 3).with(ALARMS, 1),
        planner: disarms_at_once,
        says: "D15",
    },
    Case {
        fault: "a quorum is given up while it is there",
        wish: || Wish::size(3, 3).with(GIVEN_UP, 1),
        planner: quorum_is_overlooked,
        says: "D11: a quorum is there",
    },
    Case {
        fault: "a member is forced while others may run where nothing reports",
        wish: || Wish::bereft(3, 0, 2, 1),
        planner: silent_is_gone,
        says: "D11",
    },
    Case {
        fault: "a member is forced and the others' volumes can come back",
        wish: || Wish::bereft(3, 2, 0, 1),
        planner: old_volumes_stay,
        says: "of another one is not marked",
    },
];

/// `cargo test -p operator faults_that_were_there -- --nocapture` prints the table.
#[test]
fn faults_that_were_there_once_are_found() {
    for case in CASES {
        let wrong = verdict((case.wish)(), case.planner);
        let first = wrong.lines().next().unwrap_or_default();
        println!("{:<58} | {first}", case.fault);
        assert!(wrong.contains(case.says), "{}: {wrong}", case.fault);
    }
}
