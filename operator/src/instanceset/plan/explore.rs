//! Every order of things, to a bound: an operator that may crash between any two of its steps and may act on a look
//! that is out of date while another one acts on a newer, pods that go and come when they please, and a number of
//! mishaps.
//!
//! Mishaps are what nodes, disks and owners do: pods and claims deleted under running members, nodes that go or freeze,
//! peer URLs and cluster domains changed, templates with which no pod, or no pod but for its etcd, comes up. Frozen
//! nodes come back, and owners set right what they see in status, before an operator must have reached the desired
//! state.
//!
//! Breadth first over worlds. Asked of every one of them: no plan breaks a rule of the independent checker; no step of
//! an operator takes away what the cluster could recover from; none that acts on what is there takes its quorum; and an
//! operator that is left alone brings it to the desired state in a bounded number of rounds.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use kbagent_protocol::AlarmKind;

use super::super::desired::Desired;
use super::super::observed::Observed;
use super::tests::{can_recover, is_whole};
use super::world::{World, renumbered};
use super::{Plan, check, plan};
use crate::instanceset::events::summary;

mod faulty;
mod out_of_service;
mod refusals;
mod wish;

use wish::Wish;

/// What makes plans: the planner, or one with a fault.
type Planner = fn(&Desired, &Observed) -> Plan;

/// Rounds in which an operator that is left alone must have reached the desired state.
const ROUNDS: usize = 120;

/// What an operator has seen, and what it will do because of it.
#[derive(Clone)]
struct Look {
    desired: Desired,
    plan: Plan,
    /// True while nothing has happened since.
    is_fresh: bool,
}

#[derive(Clone)]
struct State {
    world: World,
    look: Option<Look>,
    menu: &'static [Mishap],
    mishaps: usize,
    planner: Planner,
}

/// What may go wrong, each time for any pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    DeletePod,
    DeleteClaim,
    LoseNode,
    /// A user requests a rebuild of the member: no mishap, but counted as one to keep the bound.
    Condemn,
    Freeze,
    /// The node freezes, and is declared out of service.
    Declare,
    MoveUrl,
    /// The operator's, not a pod's.
    ChangeDomain,
    /// etcd finds that the member's data differs.
    Corrupt,
    /// Clients write until the member's database is full.
    Fill,
    /// The owner gives up the quorum.
    Approve,
    /// The owner takes that back.
    Withdraw,
    /// The owner has all members defragmented.
    Defragment,
    /// The API server refuses what is made, and labels.
    Refuse,
    /// The owner names another storage class.
    NameClass,
}

/// What befalls a cluster without an owner's hand.
const FATE: &[Mishap] = &[
    Mishap::DeletePod,
    Mishap::DeleteClaim,
    Mishap::Condemn,
    Mishap::LoseNode,
];
/// What an owner does to addresses, and a node that comes back.
const HAND: &[Mishap] = &[Mishap::MoveUrl, Mishap::ChangeDomain, Mishap::Freeze];
/// What etcd finds in its databases.
const ALARMS: &[Mishap] = &[Mishap::Corrupt, Mishap::Fill];
/// What an owner does whose quorum does not come back, and a pod that is deleted meanwhile.
const GIVEN_UP: &[Mishap] = &[Mishap::Approve, Mishap::Withdraw, Mishap::DeletePod];
/// What an owner asks of databases, and a pod that is deleted meanwhile.
const ASKED: &[Mishap] = &[Mishap::Defragment, Mishap::DeletePod];
/// What an owner does while members move, and a pod that is deleted meanwhile.
const MOVED: &[Mishap] = &[Mishap::NameClass, Mishap::DeletePod];
const CLAIMS: &[Mishap] = &[Mishap::DeleteClaim];
const FREEZE: &[Mishap] = &[Mishap::Freeze];
/// The template with which everything comes up, and the one that an owner writes when another one does not.
const RIGHT: &str = "etcd:right";

/// What happens next.
#[derive(Clone, Debug)]
enum Action {
    /// An operator looks.
    Look,
    /// The operator that has looked takes so many steps, and crashes unless the round is finished.
    Act {
        steps: usize,
        finished: bool,
    },
    /// Another operator does a whole round.
    Round,
    /// Pods go and come.
    Tick,
    /// Frozen nodes move again.
    Thaw,
    /// The owner sets right a template.
    Correct,
    Mishap(Mishap, String),
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Explored {
    states: usize,
    transitions: usize,
    depth: usize,
}

struct Explorer {
    known: HashSet<u128>,
    /// Worlds from which an operator that is left alone reaches the desired state.
    good: HashSet<u128>,
    /// How each state was reached: the state before, and by what.
    road: Vec<(usize, Option<Action>)>,
    explored: Explored,
}

/// Explores everything from `begin`.
///
/// # Errors
/// What is wrong, and the shortest way to it.
fn explore(first: State) -> Result<Explored, String> {
    let mut explorer = Explorer {
        known: HashSet::new(),
        good: HashSet::new(),
        road: vec![(0, None)],
        explored: Explored::default(),
    };
    explorer.known.insert(first.key());
    let mut open = VecDeque::from([(first, 0, 0)]);
    while let Some((state, at, depth)) = open.pop_front() {
        explorer.explored.states += 1;
        explorer.explored.depth = depth;
        let judged = explorer.converges(&state);
        judged.map_err(|wrong| explorer.tell(at, &wrong))?;
        for action in state.actions() {
            explorer.explored.transitions += 1;
            let next = match catch_unwind(AssertUnwindSafe(|| state.after(&action))) {
                Ok(Ok(next)) => next,
                Ok(Err(wrong)) => return Err(explorer.tell_last(at, action, &wrong)),
                Err(_) => {
                    return Err(explorer.tell_last(at, action, "the world does not allow it"));
                }
            };
            if explorer.known.insert(next.key()) {
                explorer.road.push((at, Some(action)));
                open.push_back((next, explorer.road.len() - 1, depth + 1));
            }
        }
    }
    Ok(explorer.explored)
}

impl Explorer {
    /// Whether an operator that is left alone reaches the desired state, where that is possible at all: the members
    /// first, if all that are wanted can run, and the rest when nodes have come back and the owner has set right what
    /// is wrong.
    fn converges(&mut self, state: &State) -> Result<(), String> {
        // Before it has formed, it can unless something was taken away.
        let unformed = state.world.members.is_empty() && state.menu.is_empty();
        let given_up = state.world.desired.recovery.is_some() && state.world.has_a_survivor();
        if !can_recover(&state.world) && !unformed && !given_up {
            return Ok(());
        }
        let mut world = state.world.clone();
        world.set_right(RIGHT);
        if world.can_do_without_frozen() {
            self.rounds(&mut world, state.planner, World::has_its_members)?;
        }
        world.thaw();
        let done = |world: &World| is_whole(world).is_ok() && world.is_answered();
        self.rounds(&mut world, state.planner, done)
    }

    fn rounds(
        &mut self,
        world: &mut World,
        planner: Planner,
        done: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let mut passed = Vec::new();
        for _ in 0..ROUNDS {
            let key = hash(&renumbered(&world.text()));
            if self.good.contains(&key) || done(world) {
                passed.push(key);
                if !world.has_frozen() {
                    self.good.extend(passed);
                }
                return Ok(());
            }
            passed.push(key);
            let next = planner(&world.desired, &world.observe());
            let before = world.desired.clone();
            world.advance(&before, &next, usize::MAX, true);
            world.tick();
        }
        Err(format!(
            "left alone, it does not reach the desired state in {ROUNDS} rounds: {:?}",
            is_whole(world)
        ))
    }

    fn tell_last(&mut self, at: usize, action: Action, wrong: &str) -> String {
        self.road.push((at, Some(action)));
        self.tell(self.road.len() - 1, wrong)
    }

    /// The way to a state, in words.
    fn tell(&self, mut at: usize, wrong: &str) -> String {
        let mut words = Vec::new();
        while let (before, Some(action)) = &self.road[at] {
            words.push(format!("{action:?}"));
            at = *before;
        }
        words.reverse();
        format!("{wrong}\nafter {}", words.join("\n      "))
    }
}

impl State {
    fn key(&self) -> u128 {
        let look = self.look.as_ref();
        let look = look.map(|look| (&look.plan, &look.desired.recorded, look.is_fresh));
        // One text: what was seen may be what is there, or what was there before it.
        let text = format!("{} {look:?}", self.world.text());
        hash(&(renumbered(&text), self.mishaps))
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = vec![Action::Tick, Action::Round];
        if self.world.has_frozen() {
            actions.push(Action::Thaw);
        }
        if !self.world.is_right() {
            actions.push(Action::Correct);
        }
        match &self.look {
            None => actions.push(Action::Look),
            Some(look) => {
                let all = look.plan.steps.len();
                let crashes = (0..=all).map(|steps| Action::Act {
                    steps,
                    finished: false,
                });
                actions.extend(crashes);
                actions.push(Action::Act {
                    steps: all,
                    finished: true,
                });
            }
        }
        if self.mishaps > 0 {
            let pods = self.world.pod_names();
            let all = self.menu.iter().flat_map(|mishap| {
                use Mishap::{Approve, ChangeDomain, Defragment, NameClass, Refuse, Withdraw};
                let once = matches!(
                    mishap,
                    ChangeDomain | Approve | Withdraw | Defragment | NameClass | Refuse
                );
                let pods = pods.iter().take(if once { 1 } else { pods.len() });
                pods.map(|pod| Action::Mishap(*mishap, pod.clone()))
            });
            actions.extend(all);
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, String> {
        let mut next = self.clone();
        if let Some(look) = next.look.as_mut() {
            look.is_fresh = false;
        }
        match action {
            Action::Look => next.look = Some(look(&self.world, self.planner)?),
            Action::Round => {
                let look = look(&self.world, self.planner)?;
                act(&mut next.world, &look, usize::MAX, true)?;
            }
            Action::Act { steps, finished } => {
                if let Some(look) = self.look.as_ref() {
                    act(&mut next.world, look, *steps, *finished)?;
                }
                next.look = None;
            }
            Action::Tick => next.world.tick(),
            Action::Thaw => next.world.thaw(),
            Action::Correct => next.world.change_template(RIGHT),
            Action::Mishap(mishap, pod) => {
                next.mishaps -= 1;
                let world = &mut next.world;
                match mishap {
                    Mishap::DeletePod => world.delete_pod(pod),
                    Mishap::DeleteClaim => world.delete_claim(pod),
                    Mishap::LoseNode => world.lose_node(pod),
                    Mishap::Condemn => world.condemn(pod),
                    Mishap::Freeze => world.freeze(pod),
                    Mishap::Declare => world.declare(pod),
                    Mishap::MoveUrl => world.move_url(pod),
                    Mishap::Corrupt => world.raise(AlarmKind::Corrupt, pod),
                    Mishap::Fill => world.fill(pod),
                    Mishap::Approve => world.approve("t", None),
                    Mishap::Withdraw => world.desired.recovery = None,
                    Mishap::Defragment => world.ask("u", &world.pod_names()),
                    Mishap::NameClass => world.want_class("other"),
                    Mishap::ChangeDomain => world.desired.cluster_domain.push('.'),
                    Mishap::Refuse => world.refuses = refusals::WHAT,
                }
            }
        }
        Ok(next)
    }
}

fn look(world: &World, planner: Planner) -> Result<Look, String> {
    let seen = world.observe();
    let next = planner(&world.desired, &seen);
    let broken = check::lint(&world.desired, &seen, &next);
    if !broken.is_empty() {
        return Err(broken.join("; "));
    }
    refusals::judge(world, &seen, &next)?;
    Ok(Look {
        desired: world.desired.clone(),
        plan: next,
        is_fresh: true,
    })
}

/// An operator's doing, held against what was there before it.
fn act(world: &mut World, look: &Look, steps: usize, finished: bool) -> Result<(), String> {
    let (had, quorate) = (world.has_its_data(), world.quorate());
    let alone = world.members.len() == 1;
    world.advance(&look.desired, &look.plan, steps, finished);
    let told = || look.plan.steps.iter().map(summary).collect::<Vec<_>>();
    if had && !world.has_its_data() {
        return Err(format!("a majority has lost its data: {:?}", told()));
    }
    if look.is_fresh && quorate && !alone && !look.desired.stop && !world.quorate() {
        return Err(format!("the quorum is gone: {:?}", told()));
    }
    Ok(())
}

fn hash(of: &impl Hash) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, of).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

fn all(wishes: &[Wish]) {
    for wish in wishes {
        match explore(wish.state(plan)) {
            Ok(Explored {
                states,
                transitions,
                depth,
            }) => println!("{wish:?}: {states} states, {transitions} transitions, depth {depth}"),
            Err(wrong) => panic!("{wish:?}: {wrong}"),
        }
    }
}

#[test]
fn every_order_of_a_change_of_size() {
    all(&[(1, 3), (3, 1), (3, 5), (5, 3)].map(|(from, to)| Wish::size(from, to)));
}

#[test]
fn every_order_of_an_update_of_one_and_of_all_at_a_time() {
    all(&[Wish::update(3, 1), Wish::update(3, 3)]);
}

#[test]
fn every_order_of_one_mishap() {
    all(&[1, 3].map(|members| Wish::size(members, members).with(FATE, 1)));
}

#[test]
fn every_order_of_one_change_by_hand() {
    all(&[Wish::size(3, 3).with(HAND, 1)]);
}

#[test]
fn every_order_of_a_beginning_with_a_backup() {
    all(&[Wish::seeded(1), Wish::seeded(3)]);
}

#[test]
fn every_order_of_an_alarm() {
    all(&[Wish::size(3, 3).with(ALARMS, 1)]);
}

#[test]
fn every_order_of_a_defragmentation_that_is_asked_for() {
    all(&[1, 3].map(|members| Wish::size(members, members).with(ASKED, 1)));
}

#[test]
fn every_order_of_volumes_that_grow() {
    let larger = |wish: Wish| Wish {
        larger: true,
        ..wish
    };
    all(&[
        Wish::size(3, 3).with(CLAIMS, 1),
        Wish::size(1, 1).with(FATE, 1),
    ]
    .map(larger));
}

/// Members of a cluster of so many move to another class.
const fn moved(members: u32) -> Wish {
    Wish {
        class: Some("named"),
        ..Wish::size(members, members)
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_members_that_move_to_another_storage_class() {
    let larger = Wish {
        larger: true,
        ..moved(3)
    };
    all(&[
        moved(3),
        moved(5),
        moved(3).with(MOVED, 1),
        moved(3).with(FATE, 1),
        moved(3).with(HAND, 1),
        larger.with(MOVED, 1),
        Wish {
            class: Some("named"),
            ..Wish::update(3, 1)
        },
        Wish {
            class: Some("named"),
            ..Wish::size(3, 5)
        },
    ]);
}

#[test]
fn every_order_of_a_quorum_that_is_given_up() {
    all(&[Wish::bereft(3, 2, 0, 1), Wish::bereft(3, 0, 2, 1)]);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_a_quorum_that_is_given_up_and_more() {
    all(&[
        Wish::bereft(3, 2, 0, 2),
        Wish::bereft(3, 1, 1, 2),
        Wish::bereft(3, 0, 2, 2),
        Wish::bereft(5, 3, 0, 1),
        Wish::bereft(5, 2, 1, 1),
    ]);
}

#[test]
fn every_order_of_a_wrong_template_and_its_correction() {
    all(&[Wish::first(1, "hang:1"), Wish::template(3, "ill:2", 1)]);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_mishaps_in_the_middle_of_changes() {
    all(&[
        Wish::size(1, 3).with(FATE, 1),
        Wish::size(3, 1).with(FATE, 1),
        Wish::update(3, 1).with(FATE, 1),
        Wish::size(3, 5).with(FATE, 1),
        Wish::size(5, 3).with(FATE, 1),
        Wish::update(5, 2),
        Wish::update(3, 1).with(ALARMS, 1),
        Wish::size(3, 1).with(ASKED, 1),
        Wish::update(3, 1).with(ASKED, 2),
        Wish::size(3, 3).with(FATE, 2),
    ]);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_changes_by_hand_in_the_middle_of_changes() {
    all(&[
        Wish::size(3, 3).with(CLAIMS, 2),
        Wish::update(3, 1).with(HAND, 1),
        Wish::size(3, 1).with(CLAIMS, 2),
        Wish::size(3, 1).with(HAND, 1),
        // Not with peer URLs: an operator that acts on a look from before the change adds the pod a second time, and
        // the learner that is never started stays as an unknown member, which is reported.
        Wish::size(3, 5).with(FREEZE, 1),
        Wish::size(5, 3).with(FREEZE, 1),
        Wish::template(3, "ill:2", 1).with(FATE, 1),
        Wish::template(3, "hang:2", 1).with(FATE, 1),
        Wish::template(3, "hang:2", 1),
        Wish::template(3, "mute:2", 1),
        Wish::first(3, "hang:1"),
        Wish::first(3, "mute:1"),
        Wish::first(1, "hang:1").with(FATE, 1),
        Wish::first(3, "hang:1").with(FATE, 1),
    ]);
}
