//! Tells the agent of the former leader that the own member leads now. A leader that is cut off at its port of peers
//! alone would learn of it by raft only after one or two election timeouts. The former leader's agent believes nothing:
//! it asks the other members at once, and not only at its next turn.

use std::sync::Arc;
use std::time::Instant;

use kbagent_protocol::{ElectionRequest, Id, Role};

use super::hold;
use super::plan::Died;
use super::task::Elections;
use crate::watch::Knowledge;

impl Elections {
    /// Sends one message at each election of the own member. A lost one is not repeated: the other agent has its turns.
    pub(super) async fn announce(self: Arc<Self>) {
        let mut knowledge = self.knowledge.clone();
        let mut before = None;
        loop {
            let now = hold::leader(&knowledge.borrow_and_update());
            let former = former(before.as_ref(), now.as_ref(), &self.config.pod_name);
            if let Some((led, pod)) = former.cloned() {
                tokio::spawn(Arc::clone(&self).tell_former(led, pod));
            }
            before = now.or(before);
            if knowledge.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell_former(self: Arc<Self>, led: Died, pod: String) {
        let Some(standing) = self.standing().await else {
            return;
        };
        let request = ElectionRequest {
            leader: led.leader,
            standing,
            consent: false,
        };
        let Ok(body) = serde_json::to_string(&request) else {
            return;
        };
        self.answer_of(&pod, body).await;
    }

    /// Has the other members asked, when a request shows that the own one was replaced as the leader.
    pub(super) fn doubt(&self, request: &ElectionRequest) {
        if replaced(&self.knowledge.borrow(), request) {
            self.doubted.send_replace(Some(Instant::now()));
        }
    }
}

/// Pure: the leader before the own member, at the moment at which that begins to lead.
fn former<'a>(
    before: Option<&'a (Died, String)>,
    now: Option<&(Died, String)>,
    own: &str,
) -> Option<&'a (Died, String)> {
    let leads = now.is_some_and(|(_, name)| name == own);
    before.filter(|(_, name)| leads && name != own)
}

/// Pure: whether the own member leads by its last status, and who asks follows another in a higher term.
fn replaced(knowledge: &Knowledge, request: &ElectionRequest) -> bool {
    let Some(own) = knowledge.status().filter(|own| own.role() == Role::Leader) else {
        return false;
    };
    let told = &request.standing;
    let another = |leader: Id| leader != own.member_id;
    told.cluster_id == own.cluster_id && told.term > own.term && told.leader_id.is_some_and(another)
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::ElectionStanding;

    use super::*;
    use crate::test_support;

    #[test]
    fn who_begins_to_lead_tells_the_leader_before_it() {
        let led = |id, term| Died {
            leader: Id(id),
            term,
        };
        let (a, b) = ((led(1, 2), "a".to_owned()), (led(2, 3), "b".to_owned()));
        let again = (led(2, 4), "b".to_owned());
        assert_eq!(former(Some(&a), Some(&b), "b"), Some(&a));
        assert_eq!(former(Some(&a), Some(&b), "c"), None, "it follows");
        assert_eq!(former(Some(&b), Some(&again), "b"), None, "elected again");
        assert_eq!(former(None, Some(&b), "b"), None, "the first");
        assert_eq!(former(Some(&a), None, "b"), None, "none leads");
    }

    #[test]
    fn only_another_leader_of_a_higher_term_is_news_to_a_leader() {
        let request = |cluster, term, leader: Option<u64>| ElectionRequest {
            leader: Id(1),
            standing: ElectionStanding {
                member_id: Id(2),
                cluster_id: Id(cluster),
                term,
                leader_id: leader.map(Id),
                commit: 0,
                is_learner: false,
            },
            consent: false,
        };
        let knows = |leader| Knowledge::of(test_support::view(1, leader, 4));
        // Who leads in the own member's eyes; cluster, term and leader of who asks.
        let cases = [
            (Some(1), (9, 5, Some(2)), true),
            (Some(1), (9, 4, Some(2)), false),
            (Some(1), (9, 5, None), false),
            (Some(1), (9, 5, Some(1)), false),
            (Some(1), (8, 5, Some(2)), false),
            (Some(3), (9, 5, Some(2)), false),
            (None, (9, 5, Some(2)), false),
        ];
        for (leader, (cluster, term, other), news) in cases {
            let found = replaced(&knows(leader), &request(cluster, term, other));
            assert_eq!(found, news, "{leader:?}, {cluster}, {term}, {other:?}");
        }
    }
}
