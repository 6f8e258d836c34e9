//! Pure: a leader has died; whose member campaigns, and who consents?
//!
//! A campaign from raft term R takes place in term R + 1. An agent consents to each R once, to one candidate, and a
//! campaign needs the consent of agents of a majority of voters, its own among them. The agent of the dead leader has
//! no say, so any two such majorities share two agents: two members never campaign in one term by our doing even if one
//! agent lies. Raft is safe without any of this; here is only what keeps it from doing the same work twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kbagent_protocol::{ElectionRequest, ElectionStanding, Id};

/// An agent that is younger may have forgotten its consents: it takes no part. Far longer than [`USE`].
const YOUNG: Duration = Duration::from_secs(2);
/// Consents are used within this time or not at all.
const USE: Duration = Duration::from_millis(400);
/// Time of one turn: an election takes some round trips and writes to disks.
const TURN: Duration = Duration::from_millis(60);
/// Rest after a needless election; doubled by each further one.
const REST: Duration = Duration::from_secs(30);
/// Doublings at most: eight hours.
const DOUBLINGS: u32 = 10;
/// Terms that a candidate may be ahead of who consents: that many elections in a row can have failed.
const AHEAD: u64 = 8;
/// No member has this identifier.
const NO_MEMBER: Id = Id(0);
/// Consents that are remembered.
const REMEMBERED: usize = 64;

/// A leader that seems to have died, and the term in which it led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died {
    /// Its member identifier.
    pub leader: Id,
    /// The term.
    pub term: u64,
}

/// What a quick connection to the leader's etcd found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It was refused or reset: no process listens there. Or nothing came back, after the kernel had ended an earlier
    /// connection.
    Gone,
    /// It was accepted.
    Alive,
    /// Nothing came back. Silence alone is no evidence.
    Silent,
    /// It has been silent for so long that [`super::suspicion`] takes it for hung, frozen or cut off.
    Suspected,
}

/// What one agent knows by itself.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The last leader that the own member followed.
    pub died: Option<Died>,
    /// Whether it is gone.
    pub evidence: Evidence,
    /// What raft says in the own member; `None` when etcd does not report it.
    pub own: Option<ElectionStanding>,
    /// True while the own pod stops.
    pub stopping: bool,
}

/// What a candidate's agent knows.
#[derive(Clone, Debug)]
pub struct Look {
    /// By itself.
    pub witness: Witness,
    /// What agents of other members said.
    pub others: Vec<ElectionStanding>,
    /// Members with a vote, by the member list.
    pub voters: BTreeSet<Id>,
}

/// What to do about a death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the other agents for consent.
    Ask(Ask),
    /// It is another member's turn: look again after this time, in which that one may win.
    Wait(Duration),
    /// Do nothing about this death any more.
    GiveWay(Reason),
}

/// A question for consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The own standing. Its term is that of the campaign's beginning.
    pub standing: ElectionStanding,
    /// The leader that died.
    pub leader: Id,
    /// True when it is only suspected.
    pub suspected: bool,
    voters: BTreeSet<Id>,
    asked: Instant,
}

/// The own member is to campaign from this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The own member.
    pub member: Id,
    /// Its raft term: a member that has left it takes no notice.
    pub term: u64,
}

/// Why an agent does nothing, or does not consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself")]
pub enum Reason {
    #[error("the agent came up just now and may have forgotten what it consented to")]
    Young,
    #[error("the agent rests after an election that there was no need for")]
    Rests,
    #[error("the own pod stops")]
    Stopping,
    #[error("the own member does not report its raft term")]
    Unreadable,
    #[error("the own member has no vote")]
    NoVote,
    #[error("another cluster")]
    Foreign,
    #[error("the own member did not follow that leader")]
    OtherLeader,
    #[error("a leader is known")]
    LeaderKnown,
    #[error("the leader's etcd accepts connections")]
    Alive,
    #[error("nothing came back from the leader's etcd, which is no news")]
    Silent,
    #[error("no majority of voters can be asked")]
    NoMajority,
    #[error("every voter had its turn")]
    Exhausted,
    #[error("it took so long that raft's own timeout has its turn")]
    RaftsTurn,
    #[error("the terms differ")]
    OtherTerm,
    #[error("the own member goes first")]
    Better,
    #[error("another has the consent for this term")]
    Given,
}

/// One death.
#[derive(Clone, Debug)]
struct Case {
    died: Died,
    began: Instant,
    /// Members that had their turn.
    passed: BTreeSet<Id>,
    /// When the newest turn is over.
    turn_until: Instant,
}

impl Case {
    fn pass(&mut self, member: Id, now: Instant) {
        self.passed.insert(member);
        self.turn_until = now + TURN;
    }
}

/// One agent's memory of elections.
#[derive(Clone, Debug)]
pub struct Planner {
    election_timeout: Duration,
    born: Instant,
    /// The candidate that has the consent, by term.
    given: BTreeMap<u64, Id>,
    /// Consents up to this term may be forgotten.
    forgotten: u64,
    /// Newest term from which the own member was told to campaign.
    ordered: u64,
    /// After a death that was none, and after a suspicion that was wrong.
    rests: [Rest; 2],
    case: Option<Case>,
}

/// Rest after needless elections.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Option<Instant>,
    needless: u32,
}

impl Planner {
    /// Of an agent that comes up at `now`. `election_timeout` is etcd's.
    pub fn new(election_timeout: Duration, now: Instant) -> Self {
        Self {
            election_timeout,
            born: now,
            given: BTreeMap::new(),
            forgotten: 0,
            ordered: 0,
            rests: [Rest::default(); 2],
            case: None,
        }
    }

    /// The next step about a death.
    pub fn step(&mut self, look: &Look, now: Instant) -> Step {
        match self.turn(look, now) {
            Ok(Some(ask)) => Step::Ask(ask),
            Ok(None) => {
                let until = self.case.as_ref().map_or(now, |case| case.turn_until);
                let rest = until.saturating_duration_since(now);
                Step::Wait(if rest.is_zero() { TURN } else { rest })
            }
            Err(reason) => Step::GiveWay(reason),
        }
    }

    fn turn(&mut self, look: &Look, now: Instant) -> Result<Option<Ask>, Reason> {
        let (own, died) = self.takes_part(&look.witness, now)?;
        let case = open(&mut self.case, died, now);
        if now.saturating_duration_since(case.began) > self.election_timeout {
            return Err(Reason::RaftsTurn);
        }
        if !look.voters.contains(&own.member_id) {
            return Err(Reason::NoVote);
        }
        let votes = |standing: &&ElectionStanding| {
            look.voters.contains(&standing.member_id)
                && standing.cluster_id == own.cluster_id
                && standing.member_id != died.leader
                && standing.member_id != own.member_id
        };
        let mut others: BTreeMap<Id, &ElectionStanding> = BTreeMap::new();
        for standing in look.others.iter().filter(votes) {
            others.insert(standing.member_id, standing);
        }
        let led = |standing: &&ElectionStanding| {
            standing.term >= own.term && standing.leader_id.is_some_and(|id| id != died.leader)
        };
        if others.values().any(led) {
            return Err(Reason::LeaderKnown);
        }
        if others.len() + 1 < majority(look.voters.len()) {
            return Err(Reason::NoMajority);
        }
        if now < case.turn_until {
            return Ok(None);
        }
        // An election that no agent began is in progress: it gets the time of one turn.
        if own.leader_id.is_none() && case.passed.is_empty() {
            case.pass(NO_MEMBER, now);
            return Ok(None);
        }
        let waiting = others.values().copied().chain([own]);
        let first = waiting
            .filter(|standing| !case.passed.contains(&standing.member_id))
            .max_by_key(|standing| rank(standing))
            .ok_or(Reason::Exhausted)?;
        if first.member_id != own.member_id {
            case.pass(first.member_id, now);
            return Ok(None);
        }
        // The own member does not know yet of a term that has begun elsewhere: what it sends now would be void.
        let behind = others.values().any(|other| other.term > own.term);
        let given = self
            .given
            .get(&own.term)
            .is_some_and(|to| *to != own.member_id);
        if behind || given || own.term <= self.ordered.max(self.forgotten) {
            return Ok(None);
        }
        Ok(Some(Ask {
            standing: own.clone(),
            leader: died.leader,
            suspected: look.witness.evidence == Evidence::Suspected,
            voters: look.voters.clone(),
            asked: now,
        }))
    }

    /// Consents to a request for consent, or says why not. Asked again by the same candidate it consents again.
    ///
    /// # Errors
    /// When it does not consent.
    pub fn consent(
        &mut self,
        request: &ElectionRequest,
        witness: &Witness,
        now: Instant,
    ) -> Result<(), Reason> {
        let (own, died) = self.takes_part(witness, now)?;
        let candidate = &request.standing;
        if candidate.cluster_id != own.cluster_id {
            return Err(Reason::Foreign);
        }
        if request.leader != died.leader {
            return Err(Reason::OtherLeader);
        }
        if candidate.is_learner
            || candidate.member_id == own.member_id
            || candidate.member_id == died.leader
        {
            return Err(Reason::NoVote);
        }
        let term = candidate.term;
        if term < own.term || term > own.term.saturating_add(AHEAD) || term <= self.forgotten {
            return Err(Reason::OtherTerm);
        }
        match self.given.get(&term) {
            Some(known) if *known == candidate.member_id => return Ok(()),
            Some(_) => return Err(Reason::Given),
            None => {}
        }
        let case = open(&mut self.case, died, now);
        if !case.passed.contains(&own.member_id) && rank(own) > rank(candidate) {
            return Err(Reason::Better);
        }
        case.pass(candidate.member_id, now);
        self.give(term, candidate.member_id);
        Ok(())
    }

    /// The order to campaign, if agents of enough voters have consented to `ask`.
    pub fn elect(&mut self, ask: &Ask, consenting: &BTreeSet<Id>, now: Instant) -> Option<Order> {
        let (own, term) = (ask.standing.member_id, ask.standing.term);
        let mine = self.given.get(&term).is_none_or(|known| *known == own);
        let late = now.saturating_duration_since(ask.asked) > USE;
        if late || !mine || term <= self.ordered.max(self.forgotten) {
            return None;
        }
        let others = consenting
            .iter()
            .filter(|id| ask.voters.contains(id) && **id != own && **id != ask.leader);
        if others.count() + 1 < majority(ask.voters.len()) {
            return None;
        }
        self.give(term, own);
        self.ordered = term;
        if let Some(case) = &mut self.case {
            case.pass(own, now);
        }
        Some(Order { member: own, term })
    }

    /// An election after a suspicion, or after a death, turned out to have been needless.
    pub fn was_needless(&mut self, suspected: bool, now: Instant) {
        let rest = &mut self.rests[usize::from(suspected)];
        rest.until = Some(now + REST * 2u32.pow(rest.needless.min(DOUBLINGS)));
        rest.needless += 1;
    }

    /// The leader that was suspected is there after all. What was consented to stays.
    pub fn was_there(&mut self) {
        self.case = None;
    }

    /// The own standing and the death, if there is one and this agent may do something about it.
    fn takes_part<'a>(
        &self,
        witness: &'a Witness,
        now: Instant,
    ) -> Result<(&'a ElectionStanding, Died), Reason> {
        let leader = witness.own.as_ref().and_then(|own| own.leader_id);
        if leader.is_some_and(|id| witness.died.is_some_and(|died| died.leader != id)) {
            return Err(Reason::LeaderKnown);
        }
        match witness.evidence {
            Evidence::Gone | Evidence::Suspected => {}
            Evidence::Alive => return Err(Reason::Alive),
            Evidence::Silent => return Err(Reason::Silent),
        }
        if now.saturating_duration_since(self.born) < YOUNG {
            return Err(Reason::Young);
        }
        let rest = self.rests[usize::from(witness.evidence == Evidence::Suspected)];
        if rest.until.is_some_and(|until| now < until) {
            return Err(Reason::Rests);
        }
        if witness.stopping {
            return Err(Reason::Stopping);
        }
        let own = witness.own.as_ref().ok_or(Reason::Unreadable)?;
        let died = witness.died.ok_or(Reason::OtherLeader)?;
        if own.is_learner {
            return Err(Reason::NoVote);
        }
        // Raft numbers terms from 1 on; a message without a term would be taken at any time.
        if own.term == 0 || own.term < died.term {
            return Err(Reason::OtherTerm);
        }
        Ok((own, died))
    }

    fn give(&mut self, term: u64, candidate: Id) {
        self.given.insert(term, candidate);
        while self.given.len() > REMEMBERED {
            if let Some((term, _)) = self.given.pop_first() {
                self.forgotten = term;
            }
        }
    }
}

/// The case of this death, which may have begun already.
fn open(case: &mut Option<Case>, died: Died, now: Instant) -> &mut Case {
    if case.as_ref().is_some_and(|known| known.died != died) {
        *case = None;
    }
    case.get_or_insert_with(|| Case {
        died,
        began: now,
        passed: BTreeSet::new(),
        turn_until: now,
    })
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Who is greater goes first: the furthest log that is known, then the lowest identifier.
fn rank(standing: &ElectionStanding) -> (u64, Reverse<Id>) {
    (standing.commit, Reverse(standing.member_id))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
