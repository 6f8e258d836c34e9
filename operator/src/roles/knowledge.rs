//! What agents said about leadership, folded over time. Pure: no clock, no transport.
//!
//! Two kinds of fact come out. "Member M leads term T" stays true for ever, whichever member reports it and however old
//! it is, because raft elects one leader a term. "M no longer leads T" is only taken from M's own agent, and
//! only after that agent had said that it leads.

use std::collections::BTreeMap;

use kbagent_protocol::{EtcdState, Id, MemberView};

/// So many terms further than any other member knows of, a member is believed: far more than elections take place while
/// an operator looks away, and far less than a lie needs to last.
const LEAP: u64 = 1000;

/// The newest view of one pod's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The view.
    pub view: MemberView,
    /// True when the agent has been silent for longer than its heartbeat takes. Says nothing about etcd.
    pub silent: bool,
}

impl Heard {
    /// True when the agent itself said that etcd does not run.
    pub(crate) fn etcd_is_gone(&self) -> bool {
        matches!(
            self.view.etcd,
            EtcdState::Refused { .. } | EtcdState::Unreachable { refused: true, .. }
        )
    }

    /// True when an etcd that had seen `term` or a later one is gone: whatever starts in its place leads no such term.
    /// An older report proves nothing: the member may have restarted and been elected while the report was in flight.
    pub(crate) fn went_at(&self, term: u64) -> bool {
        let seen = self.view.status.as_ref().map(|status| status.term);
        self.etcd_is_gone() && seen >= Some(term)
    }

    /// The term and role facts of a member that answers now.
    pub(crate) fn running(&self) -> Option<&kbagent_protocol::MemberStatus> {
        match self.view.etcd {
            EtcdState::Running => self.view.status.as_ref(),
            _ => None,
        }
    }

    fn leads(&self) -> Option<u64> {
        self.running()
            .filter(|status| status.leader_id == Some(status.member_id))
            .map(|s| s.term)
    }
}

/// Who leads, in the highest term that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// The term.
    pub term: u64,
    /// The pod.
    pub name: String,
}

/// All that the agents of one InstanceSet have reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentReports {
    heard: BTreeMap<String, Heard>,
    /// By pod UID: the highest term whose leadership the pod is known to have had and lost.
    lost: BTreeMap<String, u64>,
}

impl AgentReports {
    /// Takes in a view. Returns false for one that is older than what is known.
    pub(crate) fn hear(&mut self, view: MemberView) -> bool {
        let before = self.heard.get(&view.instance);
        if let Some(before) = before
            && before.view.pod_uid == view.pod_uid
            && before.view.agent_incarnation == view.agent_incarnation
            && before.view.sequence > view.sequence
        {
            return false;
        }
        let now = Heard {
            view,
            silent: false,
        };
        if let Some(before) = before
            && before.view.pod_uid == now.view.pod_uid
            && let Some(term) = before.leads()
            && now.leads() != Some(term)
            && (now.running().is_some() || now.etcd_is_gone())
        {
            let lost = self.lost.entry(now.view.pod_uid.clone()).or_default();
            *lost = term.max(*lost);
        }
        self.heard.insert(now.view.instance.clone(), now);
        true
    }

    /// Notes that the agent of the pod has become silent.
    pub(crate) fn silence(&mut self, pod: &str, uid: &str) {
        if let Some(heard) = self.heard.get_mut(pod)
            && heard.view.pod_uid == uid
        {
            heard.silent = true;
        }
    }

    /// Forgets a pod that is gone. What it said of terms and leaders is said by the others too.
    pub(crate) fn forget(&mut self, pod: &str, uid: &str) {
        self.heard
            .retain(|name, heard| name != pod || heard.view.pod_uid != uid);
        self.lost.remove(uid);
    }

    /// What the agent in this incarnation of the pod said last.
    pub(crate) fn of(&self, pod: &str, uid: &str) -> Option<&Heard> {
        self.heard
            .get(pod)
            .filter(|heard| heard.view.pod_uid == uid)
    }

    /// True when the pod is known to have led `term` and to lead it no longer.
    pub(crate) fn has_lost(&self, uid: &str, term: u64) -> bool {
        self.lost.get(uid).is_some_and(|lost| *lost >= term)
    }

    /// The leader of the highest term for which a member named one. A term far beyond `recorded`, the highest that was
    /// written before, needs the report of a second member, unless the group has one pod only: terms grow by elections,
    /// and one agent that lies would shut out every later leader.
    pub(crate) fn leader(&self, recorded: u64, alone: bool) -> Option<Leader> {
        let cluster = self.cluster()?;
        let statuses = || {
            let all = self.heard.values();
            let all = all.filter_map(|heard| heard.view.status.as_ref());
            all.filter(|status| status.cluster_id == cluster)
        };
        let mut terms: Vec<u64> = statuses().map(|status| status.term).collect();
        terms.sort_unstable_by(|one, other| other.cmp(one));
        let confirmed = terms.get(1).copied().max(Some(recorded)).unwrap_or(0);
        let highest = if alone {
            u64::MAX
        } else {
            confirmed.saturating_add(LEAP)
        };
        statuses()
            .filter(|status| status.term <= highest)
            .filter_map(|status| {
                let name = match (&status.leader, status.leader_id?) {
                    (Some(name), _) if !name.is_empty() => name.clone(),
                    (_, id) => self.name_of(id)?,
                };
                Some(Leader {
                    term: status.term,
                    name,
                })
            })
            .max_by_key(|leader| leader.term)
    }

    /// The cluster that most members report; none when two share the lead, so that a stray member with a
    /// high term of its own never takes the service (B5).
    pub(super) fn cluster(&self) -> Option<Id> {
        let mut votes: BTreeMap<Id, usize> = BTreeMap::new();
        for status in self
            .heard
            .values()
            .filter_map(|heard| heard.view.status.as_ref())
        {
            *votes.entry(status.cluster_id).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        let mut best = votes.iter().filter(|(_, count)| **count == most);
        let (id, _) = best.next()?;
        best.next().is_none().then_some(*id)
    }

    fn name_of(&self, member: Id) -> Option<String> {
        let named = |heard: &&Heard| {
            heard
                .view
                .status
                .as_ref()
                .is_some_and(|status| status.member_id == member)
        };
        self.heard
            .values()
            .find(named)
            .map(|heard| heard.view.instance.clone())
    }
}
