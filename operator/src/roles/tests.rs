//! The decision: a table of cases, and an exploration of two operators that write at the same time.

use kbagent_protocol::EtcdState;

use super::decide::decide;
use super::facts::PodFacts;
use super::knowledge::AgentReports;
use super::test_support::running;

fn pod(name: &str, role: Option<&str>, term: Option<u64>) -> PodFacts {
    PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        resource_version: "1".to_owned(),
        role: role.map(str::to_owned),
        term,
        fence: None,
    }
}

fn fenced(fence: u64, pod: PodFacts) -> PodFacts {
    PodFacts {
        fence: Some(fence),
        ..pod
    }
}

/// AgentReports of views `(pod, leader, term)`.
fn knowing(views: &[(&str, Option<&str>, u64)]) -> AgentReports {
    let mut knowledge = AgentReports::default();
    for (sequence, (name, leader, term)) in views.iter().enumerate() {
        let uid = format!("uid-{name}");
        assert!(knowledge.hear(running(name, &uid, sequence as u64, *leader, *term)));
    }
    knowledge
}

/// `pod: role@term` of all writes; the grant stands behind a bar.
fn told(pods: &[PodFacts], knowledge: &AgentReports) -> String {
    let decision = decide(pods, knowledge);
    let one = |write: &super::decide::Write| {
        let role = write.role.as_deref().unwrap_or("-");
        let term = write.term.map_or("-".to_owned(), |term| term.to_string());
        let fence = write
            .fence
            .map_or(String::new(), |fence| format!(">={fence}"));
        format!("{}:{role}@{term}{fence}", write.pod.name)
    };
    let first: Vec<String> = decision.first.iter().map(one).collect();
    let then: Vec<String> = decision.then.iter().map(one).collect();
    let at_once = if decision.at_once { " at once" } else { "" };
    format!("{} | {}{at_once}", first.join(" "), then.join(""))
}

const L: Option<&str> = Some("leader");
const F: Option<&str> = Some("follower");

#[test]
fn the_first_leader_is_labelled_after_the_others() {
    let pods = [pod("a-0", None, None), pod("a-1", None, None)];
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    assert_eq!(told(&pods, &knowledge), "a-1:follower@2 | a-0:leader@2");
}

#[test]
fn nothing_is_written_when_all_is_right() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    assert_eq!(told(&pods, &knowledge), " | ");
}

#[test]
fn a_higher_term_takes_the_label_from_a_leader_that_still_claims_it() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-1"), 3)]);
    assert_eq!(told(&pods, &knowledge), "a-0:follower@3 | a-1:leader@3");
}

#[test]
fn a_follower_s_word_is_enough_when_the_leader_s_agent_was_never_heard() {
    let pods = [
        pod("a-0", L, Some(2)),
        pod("a-1", F, Some(2)),
        pod("a-2", F, Some(2)),
    ];
    let knowledge = knowing(&[("a-2", Some("a-1"), 3)]);
    assert_eq!(
        told(&pods, &knowledge),
        "a-0:follower@3 a-2:follower@3 | a-1:leader@3"
    );
}

#[test]
fn a_pod_that_was_never_stamped_leads_on_its_own_word_only() {
    let pods = [pod("a-0", F, Some(2)), pod("a-1", None, None)];
    assert_eq!(told(&pods, &knowing(&[("a-0", Some("a-1"), 3)])), " | ");
    let own = knowing(&[("a-0", Some("a-1"), 3), ("a-1", Some("a-1"), 3)]);
    assert_eq!(told(&pods, &own), "a-0:follower@3 | a-1:leader@3");
}

#[test]
fn an_outdated_operator_keeps_its_hands_off() {
    let pods = [pod("a-0", F, Some(3)), pod("a-1", L, Some(3))];
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    assert_eq!(told(&pods, &knowledge), " | ");
}

#[test]
fn silence_takes_no_label_away() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    let mut knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    knowledge.silence("a-0", "uid-a-0");
    assert_eq!(told(&pods, &knowledge), " | ");
}

#[test]
fn a_leader_that_says_it_leads_no_more_loses_the_label_before_a_new_one_is_known() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    let mut knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", None, 2)]);
    assert!(knowledge.hear(running("a-0", "uid-a-0", 9, None, 2)));
    assert_eq!(
        told(&pods, &knowledge),
        "a-0:follower@2>=3 a-1:follower@2>=3 | "
    );
}

#[test]
fn the_next_term_s_leader_is_labelled_by_one_write_once_all_are_fenced() {
    let knowledge = knowing(&[("a-1", Some("a-1"), 3), ("a-2", Some("a-1"), 3)]);
    let lost = fenced(3, pod("a-0", None, Some(2)));
    let winner = fenced(3, pod("a-1", F, Some(2)));
    let all = [
        lost.clone(),
        winner.clone(),
        fenced(3, pod("a-2", F, Some(2))),
    ];
    assert_eq!(told(&all, &knowledge), " | a-1:leader@3>=3 at once");
    let one_open = [lost, winner, pod("a-2", F, Some(2))];
    assert_eq!(
        told(&one_open, &knowledge),
        "a-2:follower@3 | a-1:leader@3>=3"
    );
}

#[test]
fn a_fence_for_another_term_than_the_winner_s_saves_nothing() {
    let knowledge = knowing(&[("a-1", Some("a-1"), 4)]);
    let pods = [
        fenced(3, pod("a-0", None, Some(2))),
        fenced(3, pod("a-1", F, Some(2))),
    ];
    assert_eq!(told(&pods, &knowledge), "a-0:-@4>=3 | a-1:leader@4>=3");
}

#[test]
fn a_term_out_of_reach_needs_a_second_member() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    let liar = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-1"), u64::MAX)]);
    assert_eq!(
        told(&pods, &liar),
        " | ",
        "the leader stays, nothing is stamped"
    );
    let both = knowing(&[("a-0", Some("a-1"), 5000), ("a-1", Some("a-1"), 5000)]);
    assert_eq!(told(&pods, &both), "a-0:follower@5000 | a-1:leader@5000");
    let single = knowing(&[("a-0", Some("a-0"), 5000)]);
    assert_eq!(
        told(&[pod("a-0", None, None)], &single),
        " | a-0:leader@5000"
    );
}

#[test]
fn a_fence_that_met_a_conflict_is_finished_by_whoever_sees_it() {
    let knowledge = knowing(&[("a-1", Some("a-0"), 2)]);
    let pods = [fenced(3, pod("a-0", None, Some(2))), pod("a-1", F, Some(2))];
    assert_eq!(told(&pods, &knowledge), "a-1:follower@2>=3 | ");
}

#[test]
fn a_leader_whose_etcd_is_gone_loses_the_label_and_hangs_do_not_take_it() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", F, Some(2))];
    for (refused, expected) in [(true, "a-0:-@2>=3 a-1:follower@2>=3 | "), (false, " | ")] {
        let mut knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
        let mut view = running("a-0", "uid-a-0", 9, Some("a-0"), 2);
        view.etcd = EtcdState::Unreachable {
            reason: "x".to_owned(),
            refused,
        };
        assert!(knowledge.hear(view));
        assert_eq!(told(&pods, &knowledge), expected, "refused {refused}");
    }
}

#[test]
fn an_old_word_that_etcd_is_gone_takes_nothing_from_the_leader_of_a_later_term() {
    let pods = [
        fenced(3, pod("a-0", L, Some(3))),
        fenced(3, pod("a-1", F, Some(2))),
    ];
    for known in [Some(2), None] {
        let mut knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
        let mut view = running("a-0", "uid-a-0", 9, Some("a-0"), 2);
        view.etcd = EtcdState::Unreachable {
            reason: "x".to_owned(),
            refused: true,
        };
        view.status = view.status.filter(|_| known.is_some());
        assert!(knowledge.hear(view));
        assert_eq!(told(&pods, &knowledge), " | ", "last term {known:?}");
    }
}

#[test]
fn a_label_edited_by_hand_is_put_right() {
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    let stolen = [pod("a-0", L, Some(2)), pod("a-1", L, Some(2))];
    assert_eq!(told(&stolen, &knowledge), "a-1:follower@2 | ");
    let removed = [pod("a-0", None, Some(2)), pod("a-1", F, Some(2))];
    assert_eq!(told(&removed, &knowledge), " | a-0:leader@2");
}

#[test]
fn a_promoted_learner_becomes_a_follower_without_a_new_term() {
    let pods = [pod("a-0", L, Some(2)), pod("a-1", Some("learner"), Some(2))];
    let knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    assert_eq!(told(&pods, &knowledge), "a-1:follower@2 | ");
}

#[test]
fn a_stray_member_of_another_cluster_gets_no_label() {
    let pods = [
        pod("a-0", L, Some(2)),
        pod("a-1", F, Some(2)),
        pod("a-2", None, None),
    ];
    let mut knowledge = knowing(&[("a-0", Some("a-0"), 2), ("a-1", Some("a-0"), 2)]);
    let mut stray = running("a-2", "uid-a-2", 1, Some("a-2"), 40);
    if let Some(status) = stray.status.as_mut() {
        status.cluster_id = kbagent_protocol::Id(1);
    }
    assert!(knowledge.hear(stray));
    let writes = told(&pods, &knowledge);
    assert!(!writes.contains("a-2:leader"), "{writes}");
}

/// Two operators, a model API server, elections and recreated pods, interleaved call by call.
mod exploration {
    use std::collections::{BTreeMap, VecDeque};

    use kbagent_protocol::{EtcdState, MemberView};
    use proptest::prelude::*;

    use super::super::decide::{Write, decide};
    use super::super::facts::PodFacts;
    use super::super::knowledge::AgentReports;
    use super::super::test_support::running;

    const PODS: usize = 3;

    fn name(pod: usize) -> String {
        format!("a-{pod}")
    }

    /// A message on its way to one operator.
    #[derive(Clone)]
    enum Mail {
        View(Box<MemberView>),
        Gone { pod: String, uid: String },
    }

    #[derive(Default)]
    struct Operator {
        knowledge: AgentReports,
        cached: Vec<PodFacts>,
        mail: Vec<VecDeque<Mail>>,
        /// Early strips that are on their way, and the list when it has come.
        early: Vec<Write>,
        listed: Option<Vec<PodFacts>>,
        written: Vec<PodFacts>,
        /// The second stage: strips, then the grant.
        strips: Option<Vec<Write>>,
        failed: bool,
        grant: Option<Write>,
        busy: bool,
    }

    /// A term and its leader, if any was seen.
    type LastSeen = Option<(u64, Option<usize>)>;

    struct World {
        version: u64,
        pods: BTreeMap<String, PodFacts>,
        births: u64,
        sequence: u64,
        term: u64,
        leader: Option<usize>,
        /// Members whose etcd is gone, and the term and its leader that their agents saw last, if those saw any.
        gone: [Option<LastSeen>; PODS],
        operators: Vec<Operator>,
        highest_grant: u64,
    }

    impl World {
        fn new() -> Self {
            let mut world = World {
                version: 1,
                pods: BTreeMap::new(),
                births: 0,
                sequence: 0,
                term: 1,
                leader: None,
                gone: [None; PODS],
                operators: (0..2)
                    .map(|_| Operator {
                        mail: vec![VecDeque::new(); PODS],
                        ..Operator::default()
                    })
                    .collect(),
                highest_grant: 0,
            };
            for pod in 0..PODS {
                world.make(pod);
            }
            world
        }

        fn make(&mut self, pod: usize) {
            self.version += 1;
            self.births += 1;
            let facts = PodFacts {
                name: name(pod),
                uid: format!("uid-{}", self.births),
                resource_version: self.version.to_string(),
                role: None,
                term: None,
                fence: None,
            };
            self.pods.insert(name(pod), facts);
        }

        /// Every agent tells every operator how things are.
        fn tell(&mut self) {
            for pod in 0..PODS {
                self.sequence += 1;
                let uid = self.pods[&name(pod)].uid.clone();
                let known = self.gone[pod].unwrap_or(Some((self.term, self.leader)));
                let (term, leader) = known.unwrap_or_default();
                let leader = leader.map(name);
                let mut view = running(&name(pod), &uid, self.sequence, leader.as_deref(), term);
                if self.gone[pod].is_some() {
                    view.etcd = EtcdState::Unreachable {
                        reason: "x".to_owned(),
                        refused: true,
                    };
                    view.status = view.status.filter(|_| known.is_some());
                }
                for operator in &mut self.operators {
                    operator.mail[pod].push_back(Mail::View(Box::new(view.clone())));
                }
            }
        }

        fn elect(&mut self, pod: usize) {
            self.term += 1;
            self.gone[pod] = None;
            self.leader = Some(pod);
            self.tell();
        }

        /// A member's etcd dies. An agent that was restarted with it knows nothing of its terms.
        fn die(&mut self, pod: usize, forgets: bool) {
            self.gone[pod] = Some((!forgets).then_some((self.term, self.leader)));
            if self.leader == Some(pod) {
                self.leader = None;
            }
            self.tell();
        }

        /// The leader notices that it no longer leads; no other member does.
        fn depose(&mut self) {
            self.leader = None;
            self.tell();
        }

        fn remake(&mut self, pod: usize) {
            let old = self.pods[&name(pod)].uid.clone();
            self.make(pod);
            for operator in &mut self.operators {
                // Its own stream ends with it; what it had not sent is lost.
                operator.mail[pod].clear();
                operator.mail[pod].push_back(Mail::Gone {
                    pod: name(pod),
                    uid: old.clone(),
                });
            }
            if self.leader == Some(pod) {
                self.leader = None;
            }
            self.tell();
        }

        fn patch(&mut self, write: &Write) -> Option<PodFacts> {
            let live = self.pods.get_mut(&write.pod.name)?;
            if live.uid != write.pod.uid || live.resource_version != write.pod.resource_version {
                return None;
            }
            assert!(
                write.term >= live.term,
                "a stamp goes back: {live:?} -> {write:?}"
            );
            self.version += 1;
            live.resource_version = self.version.to_string();
            live.role.clone_from(&write.role);
            live.term = write.term;
            assert!(
                write.fence >= live.fence,
                "a fence falls: {live:?} -> {write:?}"
            );
            live.fence = write.fence;
            let now = live.clone();
            if now.is_labelled_leader() {
                let term = now.term.unwrap_or(0);
                assert!(
                    term >= self.highest_grant,
                    "an older leader is labelled: {now:?}"
                );
                self.highest_grant = term;
            }
            let leaders: Vec<_> = self
                .pods
                .values()
                .filter(|p| p.is_labelled_leader())
                .collect();
            assert!(
                leaders.len() <= 1,
                "two leaders at version {}: {leaders:?}",
                self.version
            );
            Some(now)
        }

        fn deliver(&mut self, operator: usize, pod: usize) {
            let operator = &mut self.operators[operator];
            if operator.busy {
                // Views are taken in between two rounds, never within one.
                return;
            }
            match operator.mail[pod].pop_front() {
                Some(Mail::View(view)) => {
                    operator.knowledge.hear(*view);
                }
                Some(Mail::Gone { pod, uid }) => operator.knowledge.forget(&pod, &uid),
                None => {}
            }
        }

        fn watch(&mut self, operator: usize) {
            self.operators[operator].cached = self.pods.values().cloned().collect();
        }

        /// One call of one operator, in the order of `write::Labeller::settle`.
        fn call(&mut self, index: usize, list_now: bool) {
            let operator = &mut self.operators[index];
            if !operator.busy {
                let decision = decide(&operator.cached, &operator.knowledge);
                if decision.is_empty() {
                    return;
                }
                if decision.at_once
                    && let Some(grant) = &decision.then
                {
                    self.patch(grant);
                    return;
                }
                operator.busy = true;
                operator.early = decision.first;
                operator.listed = None;
                operator.written.clear();
                operator.strips = None;
                operator.failed = false;
                operator.grant = None;
                return;
            }
            if operator.strips.is_none() {
                if operator.listed.is_none() && (list_now || operator.early.is_empty()) {
                    operator.listed = Some(self.pods.values().cloned().collect());
                    return;
                }
                if let Some(write) = operator.early.pop() {
                    let written = self.patch(&write);
                    self.operators[index].written.extend(written);
                    return;
                }
                let mut pods = operator.listed.take().unwrap_or_default();
                for newer in operator.written.drain(..) {
                    if let Some(known) = pods.iter_mut().find(|known| known.name == newer.name)
                        && newer.is_newer_than(known)
                    {
                        *known = newer;
                    }
                }
                let decision = decide(&pods, &operator.knowledge);
                operator.strips = Some(decision.first);
                operator.grant = decision.then;
                return;
            }
            let next = operator.strips.as_mut().and_then(Vec::pop);
            if let Some(write) = next {
                let failed = self.patch(&write).is_none();
                self.operators[index].failed |= failed;
                return;
            }
            operator.busy = false;
            if let Some(grant) = operator.grant.take().filter(|_| !operator.failed) {
                self.patch(&grant);
            }
        }

        fn act(&mut self, (action, one, two): (u8, usize, usize)) {
            match action {
                0 => self.elect(one % PODS),
                1 => self.remake(one % PODS),
                2..=8 => self.deliver(one % 2, two % PODS),
                9..=10 => self.watch(one % 2),
                11 => self.depose(),
                12 => self.die(one % PODS, two % 2 == 0),
                _ => self.call(one % 2, two % 2 == 0),
            }
        }

        fn settle(&mut self) {
            for _ in 0..200 {
                for operator in 0..2 {
                    for pod in 0..PODS {
                        self.deliver(operator, pod);
                    }
                    if !self.operators[operator].busy {
                        self.watch(operator);
                    }
                    self.call(operator, true);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn two_operators_never_label_two_leaders_and_end_with_the_right_one(
            actions in proptest::collection::vec((0u8..27, 0usize..6, 0usize..6), 0..200),
            last in 0usize..PODS,
        ) {
            let mut world = World::new();
            for action in actions {
                world.act(action);
            }
            // A leader that leads on is labelled without another election.
            let last = world.leader.unwrap_or_else(|| {
                world.elect(last);
                last
            });
            world.settle();
            let leaders: Vec<String> = world
                .pods
                .values()
                .filter(|pod| pod.is_labelled_leader())
                .map(|pod| pod.name.clone())
                .collect();
            prop_assert_eq!(leaders, vec![name(last)]);
            let version = world.version;
            world.settle();
            prop_assert_eq!(version, world.version, "writes in a steady state");
        }
    }
}
