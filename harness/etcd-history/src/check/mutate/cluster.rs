//! Spoiled members.

use super::{Mutation, Spoiler};
use crate::record::{ListedMember, MemberSample, MembershipRecord, RaftStatus, Record};

/// Member lists, one after the other, at the end: identifiers and whether they are learners.
fn lists(s: &mut Spoiler, lists: &[&[(&str, bool)]]) -> bool {
    let last = s
        .history
        .records
        .iter()
        .map(Record::time)
        .max()
        .unwrap_or_default();
    for (at, list) in (1..).zip(lists) {
        let member = |(id, learner): &(&str, bool)| ListedMember {
            id: (*id).to_owned(),
            name: format!("m-{id}"),
            learner: *learner,
        };
        s.add(Record::Membership(MembershipRecord {
            t: last + at,
            cluster: "1".to_owned(),
            members: list.iter().map(member).collect(),
        }));
    }
    true
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "two members join at once",
        check: "membership",
        apply: |s| lists(s, &[&[("a", false), ("b", true), ("c", true)]]),
    },
    Mutation {
        name: "removed member is back",
        check: "membership",
        apply: |s| {
            let both: &[_] = &[("a", false), ("b", false)];
            lists(s, &[both, &both[..1], both])
        },
    },
    Mutation {
        name: "voter has lost its vote",
        check: "membership",
        apply: |s| lists(s, &[&[("a", false)], &[("a", true)]]),
    },
    Mutation {
        name: "two members get their votes at once",
        check: "membership",
        apply: |s| {
            let learner: &[_] = &[("a", false), ("b", true)];
            lists(s, &[learner, &[("a", false), ("b", false), ("c", false)]])
        },
    },
    Mutation {
        name: "member that never was a learner",
        check: "membership",
        apply: |s| lists(s, &[&[("a", false)], &[("a", false), ("b", false)]]),
    },
    Mutation {
        name: "flipped hash",
        check: "agreement",
        apply: |s| {
            one(s, |r| {
                if let Record::Hash(h) = r {
                    h.hash ^= 1;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "dumps differ",
        check: "agreement",
        apply: |s| {
            one(s, |r| {
                if let Record::FinalState(state) = r {
                    state.kvs[0].value += "x";
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "dump has one more key",
        check: "agreement",
        apply: |s| {
            one(s, |r| {
                if let Record::FinalState(state) = r {
                    let mut kv = state.kvs[0].clone();
                    kv.key = "t/zz".to_owned();
                    state.kvs.push(kv);
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "second cluster",
        check: "agreement",
        apply: |s| status(s, |status| status.cluster += "f"),
    },
    Mutation {
        name: "status without a revision",
        check: "agreement",
        apply: |s| status(s, |status| status.revision = 0),
    },
    Mutation {
        name: "two leaders in one term",
        check: "raft",
        apply: two_leaders,
    },
    Mutation {
        name: "leader without a vote",
        check: "raft",
        apply: without_a_vote,
    },
    Mutation {
        name: "answers of a learner",
        check: "raft",
        apply: |s| {
            // It leads for a while, and does not say so.
            each_of_one(s, |status| {
                (status.learner, status.leader) = (true, None);
            });
            true
        },
    },
    Mutation {
        name: "members of different terms at one index",
        check: "raft",
        apply: two_logs,
    },
    Mutation {
        name: "term goes back",
        check: "raft",
        apply: term_back,
    },
    Mutation {
        name: "applied ahead of committed",
        check: "raft",
        apply: applied_ahead,
    },
    Mutation {
        name: "committed index that stands still",
        check: "raft",
        apply: |s| {
            each_of_one(s, |status| status.raft_index = 1);
            true
        },
    },
    Mutation {
        name: "member with a new identity",
        check: "raft",
        apply: |s| status(s, |status| status.member = "beef".to_owned()),
    },
    Mutation {
        name: "two pods of one member",
        check: "raft",
        apply: two_pods,
    },
];

/// Changes one record that `change` can do something with.
pub(super) fn one(spoiler: &mut Spoiler, change: impl Fn(&mut Record) -> bool) -> bool {
    let at = spoiler.pick(|record| change(&mut record.clone()));
    at.is_some_and(|at| change(&mut spoiler.history.records[at]))
}

/// Changes one member's answer in the first half of the samples, while a member leads.
fn status(spoiler: &mut Spoiler, change: impl Fn(&mut RaftStatus)) -> bool {
    one(spoiler, |record| match record {
        Record::Member(MemberSample {
            status: Some(status),
            ..
        }) if status.leader.is_some() => {
            change(status);
            true
        }
        _ => false,
    })
}

/// One member follows a leader of its own, all the time: a single odd answer is how etcd answers after an election.
fn two_leaders(spoiler: &mut Spoiler) -> bool {
    each_of_one(spoiler, |status| {
        if status.leader.is_some() {
            status.leader = Some("beef".to_owned());
        }
    });
    true
}

/// Whatever member leads has no vote, as it says itself.
fn without_a_vote(spoiler: &mut Spoiler) -> bool {
    let mut any = false;
    for record in &mut spoiler.history.records {
        if let Record::Member(MemberSample {
            status: Some(status),
            ..
        }) = record
            && status.leader.as_deref() == Some(status.member.as_str())
        {
            status.learner = true;
            any = true;
        }
    }
    any
}

/// Behind the run two members have applied the same index, and each says of it another term, again and again.
fn two_logs(spoiler: &mut Spoiler) -> bool {
    let mut samples: Vec<MemberSample> = Vec::new();
    let (mut last, mut revision) = (0, 0);
    for record in &spoiler.history.records {
        last = record.time().max(last);
        if let Record::Member(sample) = record
            && let Some(status) = &sample.status
        {
            revision = status.revision.max(revision);
            if !samples.iter().any(|known| known.pod == sample.pod) {
                samples.push(sample.clone());
            }
        }
    }
    samples.truncate(2);
    if samples.len() < 2 {
        return false;
    }
    for (term, sample) in (50..).zip(&mut samples) {
        if let Some(status) = &mut sample.status {
            (status.raft_index, status.applied_index) = (1_000_000, 1_000_000);
            (status.revision, status.term) = (revision, term);
            status.leader = Some("beef".to_owned());
        }
    }
    for t in (last + 1..).take(8) {
        for sample in samples.iter().cloned() {
            spoiler.add(Record::Member(MemberSample { t, ..sample }));
        }
    }
    true
}

fn term_back(spoiler: &mut Spoiler) -> bool {
    one(spoiler, |record| match record {
        Record::Member(MemberSample {
            status: Some(status),
            ..
        }) if status.term > 2 && status.revision > 100 => {
            status.term = 1;
            status.leader = None;
            true
        }
        _ => false,
    })
}

/// One member applies what was never committed, all the time.
fn applied_ahead(spoiler: &mut Spoiler) -> bool {
    each_of_one(spoiler, |status| status.applied_index += 100_000);
    true
}

/// Changes every answer of one member.
fn each_of_one(spoiler: &mut Spoiler, change: impl Fn(&mut RaftStatus)) {
    for record in &mut spoiler.history.records {
        if let Record::Member(MemberSample {
            pod,
            status: Some(status),
            ..
        }) = record
            && pod.ends_with("-1")
        {
            change(status);
        }
    }
}

fn two_pods(spoiler: &mut Spoiler) -> bool {
    one(spoiler, |record| match record {
        Record::Member(sample) if sample.status.is_some() => {
            sample.pod = "demo-etcd-9".to_owned();
            true
        }
        _ => false,
    })
}
