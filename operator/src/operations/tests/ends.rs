//! Every request ends, with the reason, and leaves nothing behind that would act later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use etcd_operator_api::{Cluster, OpsPhase, OpsRequest, labels};
use serde_json::{Value, json};

use super::super::claims;
use super::super::decide::{Act, Decision, decide};
use super::super::observed::{Moved, NotMoved, Seen};
use super::{REBUILD, SCALE_OUT, at, begun, cluster, message, phase, request, seen, set};
use crate::fake_api::{Asked, server};

const RESTART: &str = "{type: Restart, restart: [{componentName: etcd}]}";
const SWITCH: &str =
    "{type: Switchover, switchover: [{componentName: etcd, instanceName: db-etcd-0}]}";
const DEFRAGMENT: &str = "{type: Custom, custom: {opsDefinitionName: etcd-defragmentation, components: [{componentName: etcd}]}}";
const DAY: i64 = 86_400;

fn strategy(cluster: &mut Cluster, strategy: Value) {
    let strategy = serde_json::from_value(strategy).expect("a strategy");
    cluster.spec.component_specs[0].instance_update_strategy = Some(strategy);
}

fn refusal(spec: &str, seen: &Seen) -> String {
    let decision = decide(&request("a", 0, spec), seen, &at(1));
    let told = message(&decision, ConditionType::Validated);
    assert_eq!(phase(&decision), Some(OpsPhase::Failed), "{spec}: {told}");
    told
}

fn begins(spec: &str, seen: &Seen) {
    let decision = decide(&request("a", 0, spec), seen, &at(1));
    let told = message(&decision, ConditionType::Validated);
    assert_eq!(phase(&decision), Some(OpsPhase::Creating), "{spec}: {told}");
}

#[test]
fn what_can_never_be_done_is_refused_with_the_reason() {
    let mut on_delete = cluster(3, "Running", 4);
    strategy(&mut on_delete, json!({ "type": "OnDelete" }));
    let on_delete = seen(on_delete, set(3, 3, 0));
    assert!(refusal(RESTART, &on_delete).contains("OnDelete"));
    begins(SCALE_OUT, &on_delete);

    let mut partial = cluster(3, "Running", 4);
    strategy(
        &mut partial,
        json!({ "rollingUpdate": { "replicas": "50%" } }),
    );
    let partial = seen(partial, set(3, 3, 0));
    assert!(refusal(RESTART, &partial).contains("replicas 2 and 3 members"));
    let mut all = cluster(3, "Running", 4);
    strategy(&mut all, json!({ "rollingUpdate": { "replicas": 3 } }));
    begins(RESTART, &seen(all, set(3, 3, 0)));

    let mut paused = seen(cluster(3, "Running", 4), set(3, 3, 0));
    for set in paused.sets.values_mut() {
        set.spec.paused = true;
    }
    for spec in [RESTART, SCALE_OUT, SWITCH, "{type: Stop}", "{type: Start}"] {
        assert!(
            refusal(spec, &paused).contains("db-etcd is paused"),
            "{spec}"
        );
    }
    begins(super::EXPOSE, &paused);

    let mut stopped = cluster(3, "Stopped", 4);
    stopped.spec.component_specs[0].stop = Some(true);
    let stopped = seen(stopped, set(3, 3, 0));
    let forced = |spec: &str| spec.replace("{type", "{force: true, type");
    for spec in [RESTART, SCALE_OUT, SWITCH, super::EXPOSE] {
        let told = refusal(&forced(spec), &stopped);
        assert!(told.contains("start it first"), "{told}");
    }
    begins("{type: Start}", &stopped);
}

/// What comes of a request that is under way after so many seconds.
fn end(request: &OpsRequest, seen: &Seen, second: i64) -> (Option<OpsPhase>, String) {
    let decision = decide(request, seen, &at(second));
    let told = message(&decision, ConditionType::Aborted);
    (phase(&decision), told)
}

#[test]
fn a_request_that_is_never_done_ends_with_what_is_lacking() {
    for (spec, limit) in [(SCALE_OUT, 7200), (RESTART, 3600), ("{type: Stop}", 600)] {
        let (request, edited, _) = begun(spec);
        let behind = seen(edited, set(5, 3, 1));
        assert_eq!(
            end(&request, &behind, limit).0,
            Some(OpsPhase::Running),
            "{spec}"
        );
        let (phase, told) = end(&request, &behind, limit + 2);
        assert_eq!(phase, Some(OpsPhase::Aborted), "{spec}");
        assert!(told.contains(&format!("within {limit} s")), "{told}");
        assert!(told.contains("Pod/db-etcd-"), "{told}");
        assert!(told.contains("stays in the Cluster"), "{told}");
    }
    let short = SCALE_OUT.replace("{type", "{timeoutSeconds: 5, type");
    let (request, edited, _) = begun(&short);
    assert_eq!(
        end(&request, &seen(edited, set(5, 3, 1)), 8).0,
        Some(OpsPhase::Aborted)
    );
}

#[test]
fn what_comes_in_the_way_later_ends_it_but_for_a_pause() {
    let (request, mut edited, _) = begun(RESTART);
    let mut paused = seen(edited.clone(), set(3, 3, 1));
    for set in paused.sets.values_mut() {
        set.spec.paused = true;
    }
    assert_eq!(end(&request, &paused, 9).0, Some(OpsPhase::Running));
    edited.spec.component_specs[0].stop = Some(true);
    let (phase, told) = end(&request, &seen(edited, set(3, 3, 1)), 9);
    assert_eq!(phase, Some(OpsPhase::Aborted));
    assert!(told.contains("is stopped"), "{told}");
}

#[test]
fn a_cancel_that_is_never_done_ends_too() {
    let (mut request, edited, _) = begun(SCALE_OUT);
    request.spec.cancel = Some(true);
    let late = 2 * DAY;
    let cancelled = decide(&request, &seen(edited, set(5, 3, 1)), &at(late));
    assert_eq!(phase(&cancelled), Some(OpsPhase::Cancelling));
    request.status = Some(cancelled.status);
    let undone = seen(cluster(3, "Running", 6), set(3, 3, 1));
    assert_eq!(
        end(&request, &undone, late + 7199).0,
        Some(OpsPhase::Cancelling)
    );
    let (phase, told) = end(&request, &undone, late + 7200);
    assert_eq!(phase, Some(OpsPhase::Aborted));
    assert!(told.contains("former values are in the Cluster"), "{told}");
}

#[test]
fn leadership_is_not_asked_to_move_while_the_set_is_paused() {
    let mut request = request("a", 0, SWITCH);
    let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    for second in 1..3 {
        request.status = Some(decide(&request, &seen, &at(second)).status);
    }
    assert_eq!(decide(&request, &seen, &at(3)).act, Act::Switchover);
    for set in seen.sets.values_mut() {
        set.spec.paused = true;
    }
    let decision = decide(&request, &seen, &at(3));
    assert_eq!(
        (decision.act.clone(), phase(&decision)),
        (Act::Record, Some(OpsPhase::Aborted))
    );
}

/// A switchover that was asked for, and a set whose roles are declared.
fn switching() -> (OpsRequest, Seen) {
    let mut request = request("a", 0, SWITCH);
    let mut set = set(3, 3, 0);
    let leader = json!({ "name": "leader", "isExclusive": true, "updatePriority": 5 });
    set.spec.roles = serde_json::from_value(json!([leader])).expect("roles");
    let seen = seen(cluster(3, "Running", 4), set);
    for second in 1..3 {
        request.status = Some(decide(&request, &seen, &at(second)).status);
    }
    (request, seen)
}

#[test]
fn a_switchover_is_done_when_the_new_leader_has_the_role() {
    let (mut request, mut seen) = switching();
    let told =
        |request: &OpsRequest, seen: &Seen, second| phase(&decide(request, seen, &at(second)));
    seen.moved = Some(Err(NotMoved::Unknown("no answer".into())));
    assert_eq!(told(&request, &seen, 4), Some(OpsPhase::Running));
    assert_eq!(told(&request, &seen, 90), Some(OpsPhase::Aborted));
    seen.moved = Some(Err(NotMoved::Refused("it lags".into())));
    assert_eq!(told(&request, &seen, 4), Some(OpsPhase::Failed));
    let moved = Moved {
        text: "moved to db-etcd-2".into(),
        leaders: [("etcd".to_owned(), "db-etcd-2".to_owned())].into(),
    };
    seen.moved = Some(Ok(moved));
    let asked = decide(&request, &seen, &at(4));
    assert_eq!(
        phase(&asked),
        Some(OpsPhase::Running),
        "no label was seen yet"
    );
    request.status = Some(asked.status);
    // It is asked once: what follows is looking.
    seen.moved = None;
    let waits = decide(&request, &seen, &at(5));
    assert_eq!(
        (waits.act, waits.status.phase),
        (Act::Record, Some(OpsPhase::Running))
    );
    assert_eq!(told(&request, &seen, 90), Some(OpsPhase::Aborted));
    let mut lead = |pod: usize| {
        let set = seen.sets.get_mut("etcd").expect("a set");
        let members = &mut set.status.get_or_insert_default().members_status;
        for (at, member) in members.iter_mut().enumerate() {
            member.role.is_exclusive = at == pod;
        }
        decide(&request, &seen, &at(6))
    };
    assert_eq!(phase(&lead(1)), Some(OpsPhase::Running));
    let done = lead(2);
    assert_eq!(phase(&done), Some(OpsPhase::Succeed));
    assert_eq!(message(&done, ConditionType::Succeed), "moved to db-etcd-2");
    assert_eq!(done.status.progress.as_deref(), Some("1/1"));
}

/// A rebuild that is under way, and its claim marked.
fn rebuilding() -> (OpsRequest, Seen) {
    let (mut request, mut seen) = admitted(REBUILD);
    request.status = Some(decide(&request, &seen, &at(2)).status);
    seen.marks = [("data-db-etcd-1".to_owned(), "77".to_owned())].into();
    (request, seen)
}

/// A request that is to begin.
fn admitted(spec: &str) -> (OpsRequest, Seen) {
    let mut with_claims = set(3, 3, 0);
    let template = json!({ "name": "data", "spec": {} });
    let template = serde_json::from_value(template).expect("a template");
    with_claims.spec.volume_claim_templates = vec![template];
    let mut seen = seen(cluster(3, "Running", 4), with_claims);
    seen.claims = [("data-db-etcd-1".to_owned(), "c1".to_owned())].into();
    let mut request = request("a", 0, spec);
    request.status = Some(decide(&request, &seen, &at(1)).status);
    (request, seen)
}

#[test]
fn what_was_asked_for_is_followed_although_its_record_was_lost() {
    let recover =
        "{type: RecoverQuorum, recoverQuorum: [{componentName: etcd, acceptDataLoss: true}]}";
    for spec in [REBUILD, recover, DEFRAGMENT] {
        let (request, mut seen) = admitted(spec);
        let act = decide(&request, &seen, &at(2)).act;
        // The status could not be written, and meanwhile the owner has edited the Cluster.
        seen.cluster = Some(cluster(3, "Running", 5));
        let back = decide(&request, &seen, &at(3));
        assert_eq!(phase(&back), Some(OpsPhase::Pending), "nothing was asked");
        let asks = match &act {
            Act::Rebuild => {
                seen.marks = [("data-db-etcd-1".to_owned(), "77".to_owned())].into();
                None
            }
            Act::Recover(wishes) => Some((labels::RECOVER, json!(wishes["db-etcd"]))),
            Act::Defragment(wishes) => Some((labels::DEFRAGMENT, json!(wishes["db-etcd"]))),
            other => panic!("{other:?}"),
        };
        let set = seen.sets.get_mut("etcd").expect("a set");
        let asks = asks.map(|(annotation, wish)| (annotation.to_owned(), wish.to_string()));
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.extend(asks);
        let on = decide(&request, &seen, &at(3));
        assert_eq!((phase(&on), &on.act), (Some(OpsPhase::Running), &act));
    }
}

#[test]
fn one_that_waits_and_has_asked_takes_that_back() {
    let (mut request, mut seen) = rebuilding();
    request.status.get_or_insert_default().phase = Some(OpsPhase::Pending);
    assert_eq!(decide(&request, &seen, &at(9)).act, Act::Unmark);
    seen.marks.clear();
    let again = decide(&request, &seen, &at(9));
    assert_eq!(phase(&again), Some(OpsPhase::Creating));
}

#[test]
fn a_rebuild_that_is_given_up_takes_its_marks_off_first() {
    let (request, mut seen) = rebuilding();
    let given_up = |seen: &Seen, second| -> Decision {
        let decision = decide(&request, seen, &at(second));
        assert_eq!(decision.act == Act::Unmark, !seen.marks.is_empty());
        decision
    };
    assert_eq!(phase(&given_up(&seen, DAY)), Some(OpsPhase::Running));
    let mut deleted = seen.clone();
    deleted.cluster = None;
    assert_eq!(phase(&given_up(&deleted, 9)), Some(OpsPhase::Running));
    seen.marks.clear();
    let ended = given_up(&seen, DAY);
    assert_eq!(phase(&ended), Some(OpsPhase::Aborted));
    let told = message(&ended, ConditionType::Aborted);
    assert!(told.contains("db-etcd-1 stays as it is"), "{told}");
    let set = seen.sets.get_mut("etcd").expect("a set");
    set.status.get_or_insert_default().members.remove(1);
    let told = message(&given_up(&seen, DAY), ConditionType::Aborted);
    assert!(told.contains("member 1 is removed"), "{told}");
}

#[test]
fn what_could_not_be_read_is_told_no_longer_when_it_can() {
    let (mut request, edited, _) = begun(SCALE_OUT);
    let seen = seen(edited, set(5, 3, 0));
    let waits = |request: &OpsRequest| {
        let decision = decide(request, &seen, &at(4));
        let conditions = &decision.status.conditions;
        condition::holds(conditions, ConditionType::WaitForProgressing)
    };
    assert!(waits(&request));
    let status = request.status.as_mut().expect("recorded");
    let told = Observation::new(
        ConditionType::WaitForProgressing,
        false,
        Reason::WaitForProgressing,
        "failed to read the pods",
    );
    condition::record(&mut status.conditions, &[told], Some(1), &at(3));
    assert!(waits(&request), "it continues");
}

#[tokio::test]
async fn only_the_marks_that_were_seen_are_taken_off() {
    let (request, seen) = rebuilding();
    let (context, asked): (_, Arc<Mutex<Vec<Asked>>>) = server(|_| {
        let metadata = json!({ "name": "data-db-etcd-1", "namespace": "ns" });
        (
            200,
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata }),
        )
    });
    let unmarked = claims::unmark(&context, &request, &seen.marks).await;
    unmarked.expect("unmarked");
    let asked = asked.lock().expect("no panic");
    let path = "PATCH /api/v1/namespaces/ns/persistentvolumeclaims/data-db-etcd-1?";
    let nothing: BTreeMap<&str, Option<String>> =
        [(labels::REBUILD, None), (labels::REBUILD_NODE, None)].into();
    let body = json!({ "metadata": { "resourceVersion": "77", "annotations": nothing } });
    assert_eq!(*asked, [(path.to_owned(), body)]);
}
