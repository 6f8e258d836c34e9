//! The queue is driven by ends: a request that waits is looked at when it is its turn, and asks for nothing before.

use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::condition::ConditionType;
use etcd_operator_api::{OpsPhase, OpsRequest, labels};
use kube::ResourceExt;
use serde_json::json;

use super::super::decide::{Act, Decision, decide};
use super::super::finalizer::stand_in;
use super::super::observe::observe;
use super::super::observed::Seen;
use super::super::queue::{Patient, awake, before, followers, is_beside};
use super::{EXPOSE, SCALE_OUT, at, begun, cluster, message, phase, request, seen, set};
use crate::fake_api::server;

fn queue(names: &[(&str, i64)]) -> Vec<Arc<OpsRequest>> {
    let pending = |(name, made): &(&str, i64)| {
        let mut request = request(name, *made, SCALE_OUT);
        request.status.get_or_insert_default().phase = Some(OpsPhase::Pending);
        Arc::new(request)
    };
    names.iter().map(pending).collect()
}

fn names(found: &[Arc<OpsRequest>]) -> Vec<String> {
    found.iter().map(|request| request.name_any()).collect()
}

/// Whether what happens to its Cluster matters to the request.
fn is_awake(request: &OpsRequest, all: &[Arc<OpsRequest>]) -> bool {
    let beside = all.iter().filter(|other| is_beside(request, other));
    let beside: Vec<_> = beside.cloned().collect();
    awake(&beside).any(|known| known.uid() == request.uid())
}

#[test]
fn an_end_brings_up_the_next_and_nothing_else() {
    let (mut first, ..) = begun(SCALE_OUT);
    let mut all = queue(&[("b", 5), ("c", 6), ("d", 7)]);
    let mut elsewhere = request("x", 6, SCALE_OUT);
    elsewhere.spec.cluster_name = "other".to_owned();
    all.extend([Arc::new(elsewhere), Arc::new(first.clone())]);
    assert!(followers(&first, &all).is_empty(), "it is under way");
    assert!(is_awake(&first, &all));
    assert!(!all[..3].iter().any(|waits| is_awake(waits, &all)));

    first.status.get_or_insert_default().phase = Some(OpsPhase::Succeed);
    all[4] = Arc::new(first.clone());
    assert_eq!(names(&followers(&first, &all)), ["b"]);
    assert!(is_awake(&all[0], &all) && !is_awake(&all[1], &all));

    // One that is deleted while it waits: the next one reports what it waits for now, and it is the first one's turn.
    let gone = all.remove(1);
    assert_eq!(names(&followers(&gone, &all)), ["d", "b"]);
}

#[test]
fn one_that_cannot_be_read_any_more_and_goes_brings_up_the_next_of_its_cluster() {
    let (first, ..) = begun(SCALE_OUT);
    let all = queue(&[("b", 5), ("c", 6)]);
    let mut unread = first.metadata;
    assert!(stand_in(&unread).is_none(), "it stays");
    unread.deletion_timestamp = Some(at(7));
    let label = (labels::INSTANCE.to_owned(), "db".to_owned());
    unread.labels = Some([label].into());
    let stands = stand_in(&unread).expect("it is being deleted");
    assert_eq!(names(&followers(&stands, &all)), ["b"]);
}

#[test]
fn of_two_that_began_at_once_one_steps_back() {
    let admitted = |name: &str, second: i64| {
        let mut request = request(name, 0, SCALE_OUT);
        let seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
        request.status = Some(decide(&request, &seen, &at(second)).status);
        request
    };
    let (first, second) = (admitted("b", 1), admitted("a", 2));
    let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    seen.requests = vec![first.clone(), second.clone()];
    let back = decide(&second, &seen, &at(3));
    assert_eq!(
        (phase(&back), &back.act),
        (Some(OpsPhase::Pending), &Act::Record)
    );
    assert_eq!(back.status.start_timestamp, None);
    let on = decide(&first, &seen, &at(3));
    assert_eq!(phase(&on), Some(OpsPhase::Running));
    // Requests for services wait for each other only.
    let mut expose = admitted("c", 3);
    expose.spec = request("c", 0, EXPOSE).spec;
    assert_eq!(
        phase(&decide(&expose, &seen, &at(4))),
        Some(OpsPhase::Running)
    );
}

#[tokio::test]
async fn one_that_waits_reads_the_cluster_and_the_queue_and_no_more() {
    let (first, ..) = begun(SCALE_OUT);
    let waits = request("b", 5, SCALE_OUT);
    let list = json!({ "apiVersion": "operations.kubeblocks.io/v1alpha1", "kind": "OpsRequestList", "metadata": {},
        "items": [first, waits] });
    let (context, asked) = server(move |line| match line.contains("/opsrequests") {
        true => (200, list.clone()),
        false => (200, json!(cluster(3, "Running", 4))),
    });
    let seen = observe(&context, &waits, &[]).await.expect("seen");
    assert_eq!(asked.lock().expect("no panic").len(), 2);
    let decision = decide(&waits, &seen, &at(6));
    assert_eq!((decision.act.clone(), decision.again), (Act::Record, None));
    assert_eq!(phase(&decision), Some(OpsPhase::Pending));
}

#[test]
fn only_one_whose_turn_it_is_is_rehearsed() {
    let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    seen.rehearsal = None;
    let (first, ..) = begun(SCALE_OUT);
    let waits = request("b", 5, SCALE_OUT);
    let asked = decide(&waits, &seen, &at(6));
    assert!(matches!(asked.act, Act::Rehearse(_)), "{asked:?}");
    seen.requests = vec![first];
    assert_eq!(decide(&waits, &seen, &at(6)).act, Act::Record);
}

/// The request that another one waits for.
fn waits_for(decision: &Decision) -> String {
    assert_eq!(phase(decision), Some(OpsPhase::Pending));
    let told = message(decision, ConditionType::WaitForProgressing);
    told.replace("waits for OpsRequest ", "")
}

#[test]
fn others_look_again_when_one_begins_to_wait_for_a_phase_and_not_whenever_it_is_touched() {
    let mut stopped = cluster(3, "Stopped", 4);
    stopped.spec.component_specs[0].stop = Some(true);
    let seen = seen(stopped, set(3, 3, 0));
    let spec = SCALE_OUT.replace("{type", "{preConditionDeadlineSeconds: 3600, type");
    let made = request("a", 0, &spec);
    let mut waits = made.clone();
    waits.status = Some(decide(&waits, &seen, &at(7)).status);
    let all = [Arc::new(waits.clone())];
    let mut patient = Patient::default();
    assert!(patient.is_news(&made, &all));
    assert!(patient.is_news(&waits, &all));
    assert!(!patient.is_news(&waits, &all), "it was touched");
    // It begins, and goes back to waiting.
    let mut begun = waits.clone();
    begun.status.get_or_insert_default().phase = Some(OpsPhase::Creating);
    assert!(patient.is_news(&begun, &all) && patient.is_news(&waits, &all));
    assert!(!patient.is_news(&waits, &all));
    let mut leaving = waits.clone();
    leaving.metadata.deletion_timestamp = Some(at(8));
    assert!(patient.is_news(&leaving, &all));
    assert!(patient.is_news(&waits, &[]), "it is gone");
}

#[test]
fn one_that_waits_for_a_phase_lets_those_go_first_that_may_begin_now() {
    let mut stopped = cluster(3, "Stopped", 4);
    stopped.spec.component_specs[0].stop = Some(true);
    let mut seen = seen(stopped, set(3, 3, 0));
    let patient = SCALE_OUT.replace("{type", "{preConditionDeadlineSeconds: 3600, type");
    let mut patient = request("a", 0, &patient);
    let start = request("b", 5, "{type: Start}");
    let scaling = request("c", 6, SCALE_OUT);

    seen.requests = vec![patient.clone(), start.clone(), scaling.clone()];
    let early = decide(&start, &seen, &at(7));
    assert_eq!(phase(&early), Some(OpsPhase::Pending), "a is not read yet");
    patient.status = Some(decide(&patient, &seen, &at(7)).status);
    let told: Vec<_> = patient.status.iter().flat_map(|s| &s.conditions).collect();
    assert!(told[0].message.contains("may not begin"), "{told:?}");

    seen.requests[0] = patient.clone();
    let all: Vec<_> = seen.requests.iter().cloned().map(Arc::new).collect();
    assert_eq!(names(&followers(&patient, &all)), ["b"]);
    assert!(is_awake(&all[0], &all) && is_awake(&all[1], &all) && !is_awake(&all[2], &all));
    let begun = decide(&start, &seen, &at(8));
    assert_eq!(phase(&begun), Some(OpsPhase::Creating));

    // One that may not begin either keeps its place, also when both may.
    seen.requests.remove(1);
    assert_eq!(waits_for(&decide(&scaling, &seen, &at(8))), "a");
    seen.cluster = Some(cluster(3, "Running", 5));
    assert_eq!(waits_for(&decide(&scaling, &seen, &at(8))), "a");

    // What went first has begun; the one that let it by goes next.
    let mut start = start;
    start.status = Some(begun.status);
    seen.requests = vec![patient.clone(), start.clone(), scaling];
    assert_eq!(waits_for(&decide(&patient, &seen, &at(9))), "b");
    start.status.get_or_insert_default().phase = Some(OpsPhase::Succeed);
    seen.requests[1] = start;
    let turn = decide(&patient, &seen, &at(99));
    assert_eq!(phase(&turn), Some(OpsPhase::Creating));
}

#[test]
fn a_phase_is_waited_for_from_its_turn_on() {
    let mut stopped = cluster(3, "Stopped", 4);
    stopped.spec.component_specs[0].stop = Some(true);
    let mut seen = seen(stopped, set(3, 3, 0));
    let spec = SCALE_OUT.replace("{type", "{preConditionDeadlineSeconds: 60, type");
    let mut waits = request("b", 5, &spec);
    let mut told = |seen: &Seen, second: i64| {
        let decision = decide(&waits, seen, &at(second));
        waits.status = Some(decision.status.clone());
        (phase(&decision), decision.again)
    };
    let pending = Some(OpsPhase::Pending);
    let (first, ..) = begun(SCALE_OUT);
    seen.requests = vec![first];
    assert_eq!(told(&seen, 6).0, pending);
    assert_eq!(told(&seen, 1000), (pending, None), "it waits in the queue");
    seen.requests.clear();
    let left = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(told(&seen, 2000), (pending, left(60)));
    assert_eq!(told(&seen, 2059), (pending, left(1)));
    assert_eq!(told(&seen, 2060).0, Some(OpsPhase::Failed));
}

#[test]
fn whose_turn_it_is_follows_from_the_queue_itself() {
    let mut all = queue(&[("c", 5), ("b", 5), ("a", 6), ("e", 7)]);
    let mut change = |at: usize, change: &dyn Fn(&mut OpsRequest)| {
        change(Arc::make_mut(&mut all[at]));
        // A Cluster in which all may begin: none is passed.
        let running = cluster(3, "Running", 4);
        let first = |own: &&Arc<OpsRequest>| {
            let others = all.iter().map(|known| &**known);
            before(own, others, &running).is_none()
        };
        let wanted: Vec<_> = all.iter().filter(first).cloned().collect();
        let found: Vec<_> = awake(&all).cloned().collect();
        assert_eq!(names(&found), names(&wanted));
        names(&found)
    };
    assert_eq!(change(0, &|_| {}), ["b"]);
    let expose = request("e", 7, EXPOSE).spec;
    assert_eq!(change(3, &|last| last.spec = expose.clone()), ["b", "e"]);
    assert_eq!(
        change(2, &|one| one.spec.force = Some(true)),
        ["b", "a", "e"]
    );
    let begins = |one: &mut OpsRequest| {
        let status = one.status.get_or_insert_default();
        status.phase = Some(OpsPhase::Creating);
        status.start_timestamp = Some(at(9));
    };
    assert_eq!(change(2, &begins), ["a", "e"]);
    assert_eq!(
        change(2, &|one| one.metadata.deletion_timestamp = Some(at(9))),
        ["b", "a", "e"]
    );
}

#[test]
fn ten_thousand_that_wait_are_not_held_against_each_other() {
    let gone = request("a", 0, SCALE_OUT);
    let made = |second: i64| {
        let mut request = gone.clone();
        request.metadata.uid = Some(second.to_string());
        request.metadata.creation_timestamp = Some(at(second));
        Arc::new(request)
    };
    let all: Vec<_> = (0..10_000).map(made).collect();
    let awake: Vec<_> = awake(&all).cloned().collect();
    assert_eq!(awake.len(), 1);
    assert!(Arc::ptr_eq(&awake[0], &all[0]));
    // The one that was made after it, and the one whose turn it is.
    let next = followers(&gone, &all);
    assert!(Arc::ptr_eq(&next[0], &all[1]) && Arc::ptr_eq(&next[1], &all[0]));
    assert_eq!(next.len(), 2);
}
