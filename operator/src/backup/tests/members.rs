//! Archives of Clusters whose members become more or fewer: what keeps one is ended only where it must be.

use super::archives::{archive, decided_of, full, kept, report, with};
use super::*;
use crate::backup::keeper;
use crate::backup::observed::KeeperSeen;

/// What is seen of a Cluster with these members.
fn of(pods: &[u32], own_ca: bool, keeper: Option<KeeperSeen>) -> Seen {
    let mut seen = with(vec![full("f", 7)], keeper);
    let cluster = seen.cluster.as_mut().expect("a cluster");
    cluster.pods = pods.iter().map(|at| format!("c-{at}")).collect();
    cluster.own_ca = own_ca;
    cluster.tls = own_ca.then(|| "c-tls".to_owned());
    seen
}

fn decided_with(seen: &Seen) -> Decision {
    decided_of(&archive(), seen, 100)
}

/// What keeps the archive of three members, behind by so much.
fn keeper(own_ca: bool, lag: i64) -> KeeperSeen {
    let begun = decided_with(&of(&[0, 1, 2], own_ca, None));
    let (frame, keep) = kept(&begun);
    let mut report = report(20, 100, lag);
    report.failure = Some("connection refused".to_owned());
    KeeperSeen {
        made_of: keep.made_of(frame),
        after: Some(7),
        members: keep.members.clone(),
        stuck: None,
        waits: None,
        report: Some(report),
    }
}

/// The members that its pod is given.
fn given(decision: &Decision) -> Vec<String> {
    let (frame, keep) = kept(decision);
    let spec = keeper::keep(frame, None, keep).spec.expect("a spec");
    let pod = spec.template.spec.expect("a pod");
    let arguments = pod.containers[0].args.iter().flatten();
    let members = arguments.filter_map(|argument| argument.strip_prefix("--member="));
    members.map(str::to_owned).collect()
}

fn named(pods: &[u32]) -> Vec<String> {
    let url = |at| format!("https://c-{at}.h.demo.svc.cluster.local:2379");
    pods.iter().map(url).collect()
}

#[test]
fn another_number_of_members_does_not_end_the_writer_of_an_archive() {
    for own_ca in [false, true] {
        for pods in [&[0, 1, 2, 3, 4][..], &[0], &[2, 3, 4]] {
            let decision = decided_with(&of(pods, own_ca, Some(keeper(own_ca, 300))));
            assert_eq!(decision.act, Act::Record, "{own_ca} {pods:?}");
        }
    }
    let begun = decided_with(&of(&[0, 1, 2], false, None));
    assert_eq!(given(&begun), ["http://h.demo.svc.cluster.local:2379"]);
    let others = decided_with(&of(&[5, 6, 7], false, Some(keeper(false, 300))));
    assert_eq!(others.act, Act::Record, "one name leads to all");
}

#[test]
fn a_writer_that_knows_no_member_any_more_or_does_not_get_on_is_given_those_that_are_there() {
    let begun = decided_with(&of(&[0, 1, 2], true, None));
    assert_eq!(given(&begun), named(&[0, 1, 2]));
    let others = decided_with(&of(&[3, 4, 5], true, Some(keeper(true, 300))));
    assert_eq!(given(&others), named(&[3, 4, 5]));
    let behind = decided_with(&of(&[2, 3, 4], true, Some(keeper(true, 200_000))));
    assert_eq!(given(&behind), named(&[2, 3, 4]));
}

#[test]
fn a_stopped_cluster_leaves_its_archive_as_it_is() {
    let decision = decided_with(&of(&[], true, Some(keeper(true, 200_000))));
    assert_eq!(decision.act, Act::Record);
    let told = decision.status.failure_reason.expect("a reason");
    assert!(told.contains("start it"), "{told}");
}

#[test]
fn what_its_pod_was_given_is_on_record() {
    let begun = decided_with(&of(&[0, 1, 2], true, None));
    let (frame, keep) = kept(&begun);
    let deployment = keeper::keep(frame, None, keep);
    let noted = &deployment.metadata.annotations.expect("annotations")[keeper::MEMBERS];
    assert_eq!(
        noted.split_whitespace().collect::<Vec<_>>(),
        named(&[0, 1, 2])
    );
}
