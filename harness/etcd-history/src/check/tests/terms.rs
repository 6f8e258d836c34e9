//! Terms of answers beside those that members tell, and of the entries that they have applied; who may lead one.

use crate::check::test_support::*;
use crate::record::{Outcome, Response};

const A: (&str, &str) = ("etcd-0", "a");
const B: (&str, &str) = ("etcd-1", "b");

/// A put that is answered in this term.
fn put_in(story: Story, t: i64, term: u64) -> Story {
    let answer = Outcome::Ok {
        revision: 2,
        term,
        member: "a".to_owned(),
        response: Response::Put {},
    };
    story.op(1, (t, t + 1), put("a", "1"), answer)
}

#[test]
fn an_answer_is_not_of_an_older_term_than_a_member_told_of_before() {
    let story = || Story::new().sample(10, A, Some("a"), 3);
    put_in(story(), 20, 3).passes("raft");
    let told = "was answered in term 2, after etcd-0 reported term 3 at 0.010000 s";
    put_in(story(), 20, 2).violates("raft", told);
    // It was called before the member reported the term.
    put_in(story(), 10, 2).passes("raft");
    // A read of one member's own store may be as old as it likes.
    let old = Outcome::Ok {
        revision: 1,
        term: 2,
        member: "b".to_owned(),
        response: found(&[]),
    };
    let read = story().op(1, (20, 21), local_get("a"), old);
    read.passes("raft");
}

#[test]
fn a_member_that_names_another_leader_tells_of_a_later_term() {
    // All that is told is of term 2.
    let story = |first: &[i64], t: i64, term: u64| {
        let former = first.iter();
        let former = former.fold(Story::new(), |story, t| story.sample(*t, A, Some("a"), 2));
        let story = [40, 50]
            .into_iter()
            .fold(former, |story, t| story.sample(t, A, Some("b"), 2));
        put_in(story, t, term)
    };
    let both: &[i64] = &[10, 20];
    let told = "after etcd-0 reported term 3 at 0.040000 s, since it named b, and a before";
    story(both, 60, 2).violates("raft", told);
    story(both, 60, 3).passes("raft");
    story(both, 40, 2).passes("raft");
    // One status alone may have the name of one leader and the term of the next one.
    story(&[10], 60, 2).passes("raft");
    // Without a leader in between it is another one as well.
    let between = |story: Story| story.sample(30, A, None, 2);
    let former = Story::new()
        .sample(10, A, Some("a"), 2)
        .sample(20, A, Some("a"), 2);
    let story = between(former).sample(40, A, Some("b"), 2);
    put_in(story, 60, 2).violates("raft", told);
}

/// Statuses of a member that leads as a learner, each with what it has applied.
fn leads_as_a_learner(story: Story, from: i64, applied: &[u64]) -> Story {
    (from..).zip(applied).fold(story, |story, (t, applied)| {
        story.sample_with(t, A, |status| {
            status.learner = true;
            (status.raft_index, status.applied_index) = (*applied, *applied);
        })
    })
}

#[test]
fn a_member_without_a_vote_does_not_lead() {
    let leads = |applied: &[u64]| leads_as_a_learner(Story::new(), 10, applied);
    let told = "etcd-0 (member a) leads term 2 as a learner at 0.012000 s";
    leads(&[5, 6, 7]).violates("raft", told);
    leads(&[5, 5, 7]).violates("raft", told);
    // It has its vote, and its list of members does not know of it yet: nothing is applied meanwhile.
    leads(&[5, 5, 5, 5, 5]).passes("raft");
    leads(&[5, 6]).passes("raft");
    // It starts again, and says so once more.
    leads(&[5, 6, 4]).passes("raft");
    // It follows another one.
    let follows = |story: Story| {
        story.sample_with(12, A, |status| {
            status.learner = true;
            (status.raft_index, status.applied_index) = (6, 6);
            status.leader = Some("b".to_owned());
        })
    };
    let between = follows(leads_as_a_learner(Story::new(), 10, &[5, 6]));
    leads_as_a_learner(between, 13, &[7]).passes("raft");
    // One with a vote leads.
    let voter = [5, 6, 7];
    let voter = (10..).zip(voter).fold(Story::new(), |story, (t, applied)| {
        story.sample_with(t, A, |status| {
            (status.raft_index, status.applied_index) = (applied, applied);
        })
    });
    voter.passes("raft");
}

#[test]
fn a_learner_answers_nothing_but_reads_that_may_be_old() {
    let learner = |story: Story, t, learner| {
        story.sample_with(t, A, |status| {
            status.leader = Some("b".to_owned());
            status.learner = learner;
        })
    };
    let asked = |request, response| {
        let story = learner(learner(Story::new(), 10, true), 40, true);
        story.ok(1, (20, 21), request, (2, response))
    };
    let told = "was answered by member a, a learner at 0.040000 s still";
    let twice = |story: Story| learner(story, 50, true);
    twice(asked(put("a", "1"), Response::Put {})).violates("raft", told);
    twice(asked(get("a"), found(&[]))).violates("raft", told);
    twice(asked(local_get("a"), found(&[]))).passes("raft");
    // That it was one is told late: it may have got its vote before it answered.
    asked(put("a", "1"), Response::Put {}).passes("raft");
    let voter = |story: Story| learner(story, 50, false);
    voter(asked(put("a", "1"), Response::Put {})).passes("raft");
    // Another member answers.
    let other = |t| {
        let outcome = Outcome::Ok {
            revision: 2,
            term: 2,
            member: "b".to_owned(),
            response: Response::Put {},
        };
        Story::new().op(1, (t, t + 1), put("a", "1"), outcome)
    };
    let follows = learner(learner(other(20), 10, true), 40, true);
    twice(follows).passes("raft");
}

/// Some statuses in a row that say the same.
fn still(
    story: Story,
    (from, times): (i64, i64),
    who: (&str, &str),
    (index, term): (u64, u64),
) -> Story {
    (from..from + times).fold(story, |story, t| {
        story.sample_with(t, who, |status| {
            (status.raft_index, status.applied_index) = (index, index);
            status.term = term;
        })
    })
}

#[test]
fn members_have_one_log() {
    let story = |a: (u64, u64), b: (u64, u64)| {
        let first = still(Story::new(), (10, 3), A, a);
        let second = still(first, (20, 3), B, b);
        still(second, (30, 1), A, a)
    };
    story((5, 2), (5, 2)).passes("raft");
    story((5, 2), (6, 2)).passes("raft");
    story((5, 2), (6, 3)).passes("raft");
    story((5, 3), (4, 2)).passes("raft");
    let told = "etcd-1 has applied index 5 in term 3 at 0.022000 s, etcd-0 had index 5 in term 2";
    story((5, 2), (5, 3)).violates("raft", told);
    let told = "etcd-1 has applied index 6 in term 2 at 0.022000 s, etcd-0 had index 5 in term 3";
    story((5, 3), (6, 2)).violates("raft", told);
    let told = "etcd-1 has applied index 4 in term 3 at 0.022000 s, etcd-0 had index 5 in term 2";
    story((5, 2), (4, 3)).violates("raft", told);
    // One that has applied nothing since it started has no term.
    story((5, 2), (6, 0)).passes("raft");
}

#[test]
fn logs_are_compared_of_members_that_answer_and_say_the_same_for_some_time() {
    // A forced new cluster has left it behind, with what no other has.
    let first = || still(Story::new(), (10, 3), A, (5, 2));
    still(first(), (20, 3), B, (5, 3)).passes("raft");
    // The term is read behind the index.
    let twice = still(first(), (20, 2), B, (5, 3));
    let torn = still(twice, (22, 1), B, (6, 3));
    still(torn, (30, 1), A, (5, 2)).passes("raft");
    // It is catching up.
    let behind = (20..23).fold(first(), |story, t| {
        story.sample_with(t, B, |status| {
            (status.raft_index, status.applied_index) = (9, 5);
            status.term = 3;
        })
    });
    still(behind, (30, 1), A, (5, 2)).passes("raft");
    // It is of another cluster, which another check tells.
    let other = (20..23).fold(first(), |story, t| {
        story.sample_with(t, B, |status| {
            (status.raft_index, status.applied_index) = (5, 5);
            status.term = 3;
            status.cluster = "d".to_owned();
        })
    });
    still(other, (30, 1), A, (5, 2)).passes("raft");
}
