//! Terms of answers beside those that members tell.

use crate::check::test_support::*;
use crate::record::{Outcome, Response};

const A: (&str, &str) = ("etcd-0", "a");

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
