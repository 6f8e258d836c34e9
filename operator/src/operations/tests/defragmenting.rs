//! Members that are defragmented on request: what is asked of the InstanceSet, and what is read off its record.

use etcd_operator_api::defragmentation::{
    Defragmentation, DefragmentationStep, DefragmentationWish, DefragmentedMember,
};
use etcd_operator_api::{ComponentPhase, labels};

use super::super::observe::{asked_for, observe};
use super::*;
use crate::fake_api::{failure, server};

const ALL: &str = "{type: Custom, custom: {opsDefinitionName: etcd-defragmentation, components: [{componentName: etcd}]}}";

/// The request for these members.
fn some(value: &str) -> String {
    let with = format!("componentName: etcd, parameters: [{{name: instances, value: '{value}'}}]");
    ALL.replace("componentName: etcd", &with)
}

/// A request that has asked.
fn asked(spec: &str) -> (OpsRequest, BTreeMap<String, Option<DefragmentationWish>>) {
    let mut request = request("a", 0, spec);
    let seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
    request.status = Some(decide(&request, &seen, &at(1)).status);
    let decision = decide(&request, &seen, &at(2));
    request.status = Some(decision.status.clone());
    match decision.act {
        Act::Defragment(wishes) => (request, wishes),
        act => panic!("{act:?}: {:?}", request.status),
    }
}

/// The InstanceSet with these members on record, and with what asks for them where it still does.
fn with(
    token: &str,
    steps: &[DefragmentationStep],
    wish: Option<&DefragmentationWish>,
) -> InstanceSet {
    let mut set = set(3, 3, 0);
    let member = |(at, step): (usize, &DefragmentationStep)| DefragmentedMember {
        pod_name: format!("db-etcd-{at}"),
        step: *step,
        bytes_before: Some(4096),
        bytes_after: Some(1024),
        message: (*step == DefragmentationStep::Refused).then(|| "an earlier release".to_owned()),
    };
    set.status.get_or_insert_default().defragmentation = Some(Defragmentation {
        token: token.to_owned(),
        members: steps.iter().enumerate().map(member).collect(),
    });
    if let Some(wish) = wish {
        let text = serde_json::to_string(wish).expect("text");
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::DEFRAGMENT.to_owned(), text);
    }
    set
}

#[test]
fn the_instance_set_is_asked_for_all_members_or_for_those_that_are_named() {
    let pods = |spec: &str| {
        let (_, mut wishes) = asked(spec);
        let wish = wishes.remove("db-etcd").flatten().expect("a request");
        assert_eq!(wish.token, "a");
        wish.pods
    };
    assert_eq!(pods(ALL), ["db-etcd-0", "db-etcd-1", "db-etcd-2"]);
    assert_eq!(
        pods(&some("db-etcd-2, db-etcd-0")),
        ["db-etcd-2", "db-etcd-0"]
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_field() {
    let table = [
        (
            ALL.replace("etcd-defragmentation", "redis-flush"),
            "custom.opsDefinitionName is \"redis-flush\": the only one is",
        ),
        (
            ALL.replace("componentName: etcd", "componentName: web"),
            "custom.components names component \"web\"",
        ),
        (
            some("db-etcd-9"),
            "instances names \"db-etcd-9\", which is not a member of the component: db-etcd-0, db-etcd-1",
        ),
        (
            some("db-etcd-1,db-etcd-1"),
            "instances names \"db-etcd-1\" twice",
        ),
        (some("db-etcd-1,"), "instances names \"\", which"),
        (
            some("db-etcd-1").replace("instances", "endpoints"),
            "parameters names \"endpoints\": the only one is",
        ),
    ];
    for (spec, expected) in table {
        let seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
        let refused = decide(&request("a", 0, &spec), &seen, &at(1));
        assert_eq!(phase(&refused), Some(OpsPhase::Failed), "{spec}");
        let told = message(&refused, ConditionType::Validated);
        assert!(told.contains(expected), "{told}");
    }
    for state in ["Updating", "Abnormal", "Failed"] {
        let seen = seen(cluster(3, state, 4), set(3, 3, 0));
        let early = decide(&request("a", 0, ALL), &seen, &at(1));
        let told = message(&early, ConditionType::Validated);
        assert!(
            told.contains(&format!("while cluster db is {state}")),
            "{told}"
        );
    }
}

#[test]
fn it_ends_by_what_is_on_record_of_this_request_when_nothing_asks_for_it_any_more() {
    use DefragmentationStep::{Asked, Done, Left, Refused};
    let (request, wishes) = asked(ALL);
    let wish = wishes["db-etcd"].as_ref();
    let told = |set| {
        let mut seen = seen(cluster(3, "Running", 4), set);
        seen.pods = BTreeMap::new();
        decide(&request, &seen, &at(9))
    };
    let under_way = told(with("a", &[Done, Asked, Asked], wish));
    assert_eq!(phase(&under_way), Some(OpsPhase::Running));
    assert_eq!(under_way.status.progress.as_deref(), Some("1/3"));
    let another = told(with("another", &[Done; 3], None));
    assert_eq!(
        phase(&another),
        Some(OpsPhase::Running),
        "another request's"
    );
    let taken_off = Act::Defragment([("db-etcd".to_owned(), None)].into());
    for steps in [[Done, Done, Left], [Refused, Done, Asked]] {
        let asking = told(with("a", &steps, wish));
        assert_eq!(
            (phase(&asking), &asking.act),
            (Some(OpsPhase::Running), &taken_off)
        );
    }
    let done = told(with("a", &[Done, Done, Left], None));
    assert_eq!(phase(&done), Some(OpsPhase::Succeed));
    let text = message(&done, ConditionType::Succeed);
    assert!(
        text.contains("3/3; db-etcd-0 from 4 to 1 KiB")
            && text.contains("db-etcd-2 is no member any more"),
        "{text}"
    );
    let refused = told(with("a", &[Done, Refused, Asked], None));
    assert_eq!(phase(&refused), Some(OpsPhase::Failed));
    assert!(message(&refused, ConditionType::Failed).contains("db-etcd-1: an earlier release"));
}

#[test]
fn one_that_is_late_is_not_asked_for_any_more() {
    let (request, wishes) = asked(ALL);
    let late = |set| decide(&request, &seen(cluster(3, "Running", 4), set), &at(4000));
    let steps = [DefragmentationStep::Asked; 3];
    let asking = late(with("a", &steps, wishes["db-etcd"].as_ref()));
    assert_eq!(
        asking.act,
        Act::Defragment([("db-etcd".to_owned(), None)].into())
    );
    let ended = late(with("a", &steps, None));
    assert_eq!(phase(&ended), Some(OpsPhase::Aborted));
    let text = message(&ended, ConditionType::Aborted);
    assert!(
        text.contains("0/3, Pod/db-etcd-0: it is not defragmented yet"),
        "{text}"
    );
}

#[test]
fn one_that_was_forced_past_is_done_when_the_other_has_ended() {
    use DefragmentationStep::{Asked, Done};
    let (first, wishes) = asked(ALL);
    let wish = |token: &str| DefragmentationWish {
        token: token.to_owned(),
        pods: vec!["db-etcd-1".to_owned()],
    };
    let forced = ALL.replace("{type", "{force: true, type");
    let mut second = request("b", 5, &forced);
    for second_at in [6, 7] {
        let mut seen = seen(cluster(3, "Running", 4), set(3, 3, 0));
        seen.requests = vec![first.clone()];
        second.status = Some(decide(&second, &seen, &at(second_at)).status);
    }
    let told = |request: &OpsRequest, set: InstanceSet, others: &[&OpsRequest]| {
        let mut seen = seen(cluster(3, "Running", 4), set);
        seen.requests = others.iter().map(|other| (*other).clone()).collect();
        let decision = decide(request, &seen, &at(9));
        let condition = message(&decision, ConditionType::CustomOperation);
        (phase(&decision), decision.act, condition)
    };
    let running = Some(OpsPhase::Running);
    let both = [&first, &second];
    let taken = || with("b", &[Asked], Some(&wish("b")));
    let (phase, act, condition) = told(&first, taken(), &both);
    assert_eq!((phase, act), (running, Act::Record));
    assert!(condition.contains("OpsRequest b, which was"), "{condition}");
    let (_, act, condition) = told(&second, taken(), &both);
    assert_eq!(
        (act, condition.as_str()),
        (Act::Record, "it is in progress")
    );

    // Its end is on record, or it was deleted and has left what it asked for.
    let withdrawn = || with("b", &[Done], None);
    assert_eq!(
        told(&first, withdrawn(), &both).1,
        Act::Record,
        "not ended yet"
    );
    let mut ended = second.clone();
    ended.status.get_or_insert_default().phase = Some(OpsPhase::Succeed);
    let again = Act::Defragment(wishes);
    for (set, others) in [(withdrawn(), vec![&first, &ended]), (taken(), vec![&first])] {
        let (phase, act, condition) = told(&first, set, &others);
        assert_eq!((phase, &act), (running, &again));
        assert_eq!(condition, "it is in progress");
    }
    // Nothing is asked for again when all is done, whatever the Cluster is busy with.
    let mut busy = seen(cluster(3, "Updating", 4), with("a", &[Done; 3], None));
    let status = busy.cluster.as_mut().and_then(|it| it.status.as_mut());
    let components = &mut status.expect("a status").components;
    let component = components.get_mut("etcd").expect("a component");
    component.phase = Some(ComponentPhase::Updating);
    let waits = decide(&first, &busy, &at(9));
    assert_eq!((waits.status.phase, waits.act), (running, Act::Record));
}

/// What is seen of a request when its Cluster has this InstanceSet and no pod may be listed: whether all could be read,
/// whether the InstanceSet was, and how often all requests were listed.
async fn observed(request: &OpsRequest, set: &InstanceSet) -> (bool, bool, usize) {
    let (cluster, set) = (json!(cluster(3, "Running", 4)), json!(set));
    let (context, asked) = server(move |line| match line {
        line if line.contains("/clusters/db") => (200, cluster.clone()),
        line if line.contains("/instancesets/db-etcd") => (200, set.clone()),
        line if line.contains("/pods?") => failure(403, "Forbidden", "it is not permitted"),
        _ => (200, json!({ "metadata": {}, "items": [] })),
    });
    let seen = observe(&context, request, &[]).await;
    let asked = asked.lock().expect("no panic");
    let count = |part: &str| asked.iter().filter(|(line, _)| line.contains(part)).count();
    (
        seen.is_ok(),
        count("/instancesets/db-etcd") == 1,
        count("/opsrequests?"),
    )
}

#[tokio::test]
async fn requests_are_listed_only_while_an_instance_set_is_not_asked() {
    let (request, mut wishes) = asked(ALL);
    let wish = wishes.remove("db-etcd").flatten();
    let open = [DefragmentationStep::Asked];
    let carried = observed(&request, &with("a", &open, wish.as_ref())).await;
    assert_eq!(carried, (false, true, 0));
    let lost = observed(&request, &with("a", &open, None)).await;
    assert_eq!(lost, (false, true, 1));
}

#[tokio::test]
async fn one_that_is_deleted_needs_to_know_only_what_asks_for_it() {
    let (mut request, mut wishes) = asked(ALL);
    request.metadata.deletion_timestamp = Some(at(3));
    let wish = wishes.remove("db-etcd").flatten();
    let set = with("a", &[DefragmentationStep::Asked], wish.as_ref());
    let listed = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "items": [{ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": set.metadata }] });
    let (context, asked) = server(move |line| match line.contains("/instancesets?") {
        true => (200, listed.clone()),
        false => failure(403, "Forbidden", "it is not permitted"),
    });
    let seen = asked_for(&context, &request).await.expect("enough is read");
    assert_eq!(seen.sets.into_keys().collect::<Vec<_>>(), ["db-etcd"]);
    assert_eq!(asked.lock().expect("no panic").len(), 1);
}
