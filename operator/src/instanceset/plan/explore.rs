//! Every order of things, to a bound: an operator that may crash between any two of its steps and may act on a look that
//! is out of date while another one acts on a newer, pods that go and come when they please, and a number of mishaps.
//!
//! Breadth first over worlds. Asked of every one of them: no plan breaks a rule of the independent checker; no step of
//! an operator takes away what the cluster could recover from; none that acts on what is there takes its quorum; and an
//! operator that is left alone brings it to the wish in a bounded number of rounds.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::desired::Desired;
use super::tests::{can_recover, grown, is_whole};
use super::world::{World, renumbered};
use super::{Plan, check, plan};
use crate::instanceset::events::summary;

/// Rounds in which an operator that is left alone must have brought about the wish.
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
    mishaps: usize,
}

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
    DeletePod(String),
    DeleteClaim(String),
    LoseNode(String),
    /// A user asks for the member to be made anew: a wish, which counts as a mishap to keep the bound.
    Condemn(String),
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
    /// Worlds from which an operator that is left alone brings about the wish.
    good: HashSet<u128>,
    /// How each state was reached: the state before, and by what.
    road: Vec<(usize, Option<Action>)>,
    explored: Explored,
}

/// Explores everything from `begin` with at most so many mishaps.
///
/// # Errors
/// What is wrong, and the shortest way to it.
fn explore(begin: World, mishaps: usize) -> Result<Explored, String> {
    let mut explorer = Explorer {
        known: HashSet::new(),
        good: HashSet::new(),
        road: vec![(0, None)],
        explored: Explored::default(),
    };
    let first = State {
        world: begin,
        look: None,
        mishaps,
    };
    explorer.known.insert(first.key());
    let mut open = VecDeque::from([(first, 0, 0)]);
    while let Some((state, at, depth)) = open.pop_front() {
        explorer.explored.states += 1;
        explorer.explored.depth = depth;
        let judged = explorer.converges(&state.world);
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
    /// Whether an operator that is left alone brings about the wish, where that is possible at all.
    fn converges(&mut self, world: &World) -> Result<(), String> {
        if !can_recover(world) {
            return Ok(());
        }
        let mut world = world.clone();
        let mut passed = Vec::new();
        for _ in 0..ROUNDS {
            let key = hash(&renumbered(&world.text()));
            if self.good.contains(&key) || is_whole(&world).is_ok() {
                passed.push(key);
                self.good.extend(passed);
                return Ok(());
            }
            passed.push(key);
            let next = plan(&world.desired, &world.observe());
            let before = world.desired.clone();
            world.advance(&before, &next, usize::MAX, true);
            world.tick();
        }
        Err(format!(
            "left alone, it does not come to the wish in {ROUNDS} rounds: {:?}",
            is_whole(&world)
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
            for pod in self.world.pod_names() {
                actions.push(Action::DeletePod(pod.clone()));
                actions.push(Action::DeleteClaim(pod.clone()));
                actions.push(Action::Condemn(pod.clone()));
                actions.push(Action::LoseNode(pod));
            }
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, String> {
        let mut next = self.clone();
        if let Some(look) = next.look.as_mut() {
            look.is_fresh = false;
        }
        match action {
            Action::Look => next.look = Some(look(&self.world)?),
            Action::Round => {
                let look = look(&self.world)?;
                act(&mut next.world, &look, usize::MAX, true)?;
            }
            Action::Act { steps, finished } => {
                if let Some(look) = self.look.as_ref() {
                    act(&mut next.world, look, *steps, *finished)?;
                }
                next.look = None;
            }
            Action::Tick => next.world.tick(),
            Action::DeletePod(pod) => next.world.delete_pod(pod),
            Action::DeleteClaim(pod) => next.world.delete_claim(pod),
            Action::LoseNode(pod) => next.world.lose_node(pod),
            Action::Condemn(pod) => next.world.condemn(pod),
        }
        let mishap = matches!(
            action,
            Action::DeletePod(_)
                | Action::DeleteClaim(_)
                | Action::LoseNode(_)
                | Action::Condemn(_)
        );
        next.mishaps -= usize::from(mishap);
        Ok(next)
    }
}

fn look(world: &World) -> Result<Look, String> {
    let seen = world.observe();
    let next = plan(&world.desired, &seen);
    let broken = check::lint(&world.desired, &seen, &next);
    if !broken.is_empty() {
        return Err(broken.join("; "));
    }
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

/// What is asked of a cluster.
#[derive(Clone, Copy)]
struct Wish {
    from: u32,
    to: u32,
    /// How many pods an update may take at a time; none without an update.
    update: Option<usize>,
    mishaps: usize,
}

impl Wish {
    const fn size(from: u32, to: u32) -> Self {
        Self {
            from,
            to,
            update: None,
            mishaps: 0,
        }
    }

    const fn update(members: u32, at_a_time: usize) -> Self {
        Self {
            update: Some(at_a_time),
            ..Self::size(members, members)
        }
    }

    const fn with_mishaps(self, mishaps: usize) -> Self {
        Self { mishaps, ..self }
    }

    fn world(self) -> World {
        let mut world = grown(self.from);
        world.scale(self.to);
        if let Some(at_a_time) = self.update {
            world.desired.update.at_a_time = at_a_time;
            world.change_template("etcd:2");
        }
        world
    }
}

fn all(wishes: &[Wish]) {
    for wish in wishes {
        let Wish {
            from,
            to,
            update,
            mishaps,
        } = wish;
        let told = format!("{from} -> {to} members, update {update:?}, {mishaps} mishaps");
        match explore(wish.world(), *mishaps) {
            Ok(Explored {
                states,
                transitions,
                depth,
            }) => println!("{told}: {states} states, {transitions} transitions, depth {depth}"),
            Err(wrong) => panic!("{told}: {wrong}"),
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
    all(&[1, 3].map(|members| Wish::size(members, members).with_mishaps(1)));
}

#[test]
#[ignore = "takes minutes: cargo test --release -p operator every_order -- --ignored --nocapture"]
fn every_order_of_mishaps_in_the_middle_of_changes() {
    all(&[
        Wish::size(1, 3).with_mishaps(1),
        Wish::size(3, 1).with_mishaps(1),
        Wish::update(3, 1).with_mishaps(1),
        Wish::size(3, 5).with_mishaps(1),
        Wish::size(5, 3).with_mishaps(1),
        Wish::update(5, 2),
        Wish::size(3, 3).with_mishaps(2),
    ]);
}
