//! Pure: from what the agents of the other members say to where a client is led.

use kbagent_protocol::{EtcdState, Id, MemberStatus, MemberView, Role};

/// How old a status may be: one that is older says nothing of who leads now.
const FRESH_MS: u64 = 2000;

/// Where a client is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// To the member of this pod, which leads.
    Leader(String),
    /// No leader is known, and one can be elected.
    Wait,
    /// Members that could elect one are out of reach.
    Hopeless,
}

/// By the views of the other members' agents, each with the name of the pod that was asked. Each speaks for its own
/// etcd alone: what others say of a leader may be older than its death.
pub(super) fn aim(voters: usize, cluster: Option<Id>, told: &[(String, MemberView)]) -> Aim {
    let known: Vec<(&String, &MemberStatus)> = told
        .iter()
        .filter(|(pod, view)| view.instance == *pod && may_serve(view))
        .filter_map(|(pod, view)| Some((pod, view.status.as_ref()?)))
        .filter(|(_, status)| cluster.is_none_or(|own| status.cluster_id == own))
        .collect();
    let leaders = known
        .iter()
        .filter(|(_, status)| status.role() == Role::Leader);
    if let Some((pod, _)) = leaders.max_by_key(|(_, status)| status.term) {
        return Aim::Leader((*pod).clone());
    }
    let voting = known.iter().filter(|(_, status)| !status.is_learner);
    if voting.count() > voters / 2 {
        Aim::Wait
    } else {
        Aim::Hopeless
    }
}

/// Whether a process is there. One that is slow to answer is: all are where processors are busy.
fn may_serve(view: &MemberView) -> bool {
    let there = matches!(
        view.etcd,
        EtcdState::Running | EtcdState::Unreachable { refused: false, .. }
    );
    there && view.status_age_ms.is_some_and(|age| age <= FRESH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::view;

    /// Of the member `id` in pod `p{id}`, which follows `leader`.
    fn told(id: u64, leader: Option<u64>, term: u64) -> (String, MemberView) {
        (format!("p{id}"), view(id, leader, term))
    }

    fn changed(
        mut told: (String, MemberView),
        change: impl FnOnce(&mut MemberView),
    ) -> (String, MemberView) {
        change(&mut told.1);
        told
    }

    fn status(view: &mut MemberView) -> &mut MemberStatus {
        view.status.as_mut().expect("a status")
    }

    fn of(told: &[(String, MemberView)]) -> Aim {
        aim(3, Some(Id(9)), told)
    }

    #[test]
    fn the_leader_is_who_says_so_of_itself_in_the_highest_term() {
        let leads = |id| Aim::Leader(format!("p{id}"));
        assert_eq!(of(&[told(2, Some(2), 5), told(3, Some(2), 5)]), leads(2));
        assert_eq!(of(&[told(2, Some(2), 5), told(3, Some(3), 6)]), leads(3));
        assert_eq!(of(&[told(2, Some(2), 5)]), leads(2), "the other is silent");
        let followers = [told(2, Some(1), 5), told(3, Some(1), 5)];
        assert_eq!(of(&followers), Aim::Wait, "they follow the dead one still");
        assert_eq!(of(&[told(2, None, 5), told(3, None, 5)]), Aim::Wait);
    }

    #[test]
    fn who_does_not_serve_or_is_not_who_was_asked_is_no_leader() {
        let old = changed(told(2, Some(2), 5), |view| {
            view.status_age_ms = Some(FRESH_MS + 1)
        });
        let dead = changed(told(2, Some(2), 5), |view| {
            view.etcd = EtcdState::Unreachable {
                reason: String::new(),
                refused: true,
            };
        });
        let another = changed(told(2, Some(2), 5), |view| view.instance = "p7".to_owned());
        let foreign = changed(told(2, Some(2), 5), |view| status(view).cluster_id = Id(8));
        let empty = changed(told(2, Some(2), 5), |view| view.status = None);
        let slow = changed(told(2, Some(2), 5), |view| {
            view.etcd = EtcdState::Unreachable {
                reason: String::new(),
                refused: false,
            };
        });
        assert_eq!(of(&[slow]), Aim::Leader("p2".to_owned()));
        for one in [old, dead, another, foreign, empty] {
            assert_eq!(
                of(&[one.clone(), told(3, None, 5)]),
                Aim::Hopeless,
                "{one:?}"
            );
        }
    }

    #[test]
    fn without_a_majority_of_voters_there_is_nothing_to_wait_for() {
        assert_eq!(of(&[]), Aim::Hopeless);
        assert_eq!(of(&[told(2, None, 5)]), Aim::Hopeless);
        let learner = changed(told(3, None, 5), |view| status(view).is_learner = true);
        assert_eq!(of(&[told(2, None, 5), learner]), Aim::Hopeless);
        assert_eq!(aim(1, None, &[]), Aim::Hopeless, "a single member");
        assert_eq!(
            aim(5, None, &[told(2, None, 5), told(3, None, 5)]),
            Aim::Hopeless
        );
    }
}
