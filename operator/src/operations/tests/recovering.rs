//! A quorum that does not come back: what is asked of the InstanceSet, and what is read off its record.

use etcd_operator_api::recovery::{Recovery, RecoveryStep, RecoveryWish, Standing};

use super::*;

const RECOVER: &str =
    "{type: RecoverQuorum, recoverQuorum: [{componentName: etcd, acceptDataLoss: true}]}";

fn with(step: RecoveryStep, token: &str) -> InstanceSet {
    let standing = |pod: &str, index| Standing {
        pod_name: pod.to_owned(),
        member_id: "a".to_owned(),
        index,
        ..Standing::default()
    };
    let mut set = set(3, 3, 0);
    set.status.get_or_insert_default().recovery = Some(Recovery {
        token: token.to_owned(),
        step,
        survivor: Some("db-etcd-2".to_owned()),
        standings: vec![standing("db-etcd-1", None), standing("db-etcd-2", Some(50))],
        message: "db-etcd-2 stays".to_owned(),
        ..Recovery::default()
    });
    set
}

/// A request that has asked.
fn asked(spec: &str) -> (OpsRequest, Decision) {
    let mut request = request("a", 0, spec);
    let seen = seen(cluster(3, "Failed", 4), set(3, 3, 0));
    request.status = Some(decide(&request, &seen, &at(1)).status);
    let decision = decide(&request, &seen, &at(2));
    request.status = Some(decision.status.clone());
    (request, decision)
}

fn ask(mut set: InstanceSet, wish: &RecoveryWish) -> InstanceSet {
    let text = serde_json::to_string(wish).expect("text");
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(etcd_operator_api::labels::RECOVER.to_owned(), text);
    set
}

#[test]
fn the_instance_set_is_asked_by_the_request_s_uid() {
    let named = RECOVER.replace("acceptDataLoss", "survivor: db-etcd-1, acceptDataLoss");
    let furthest = RECOVER.replace("acceptDataLoss", "survivor: furthest, acceptDataLoss");
    for (spec, survivor) in [
        (RECOVER, None),
        (&furthest, None),
        (&named, Some("db-etcd-1")),
    ] {
        let (_, decision) = asked(spec);
        let wish = RecoveryWish {
            token: "a".to_owned(),
            request: "a".to_owned(),
            survivor: survivor.map(str::to_owned),
            dry_run: false,
        };
        let wishes = [("db-etcd".to_owned(), Some(wish))].into();
        assert_eq!(decision.act, Act::Recover(wishes));
    }
}

#[test]
fn what_is_not_approved_or_not_known_is_refused() {
    let refusal = |spec: &str| {
        let seen = seen(cluster(3, "Failed", 4), set(3, 3, 0));
        message(
            &decide(&request("a", 0, spec), &seen, &at(1)),
            ConditionType::Validated,
        )
    };
    let silent = RECOVER.replace(", acceptDataLoss: true", "");
    assert!(refusal(&silent).contains("acceptDataLoss: true, and not both"));
    let both = RECOVER.replace("acceptDataLoss", "dryRun: true, acceptDataLoss");
    assert!(refusal(&both).contains("and not both"));
    let stranger = RECOVER.replace("acceptDataLoss", "survivor: db-etcd-9, acceptDataLoss");
    assert!(refusal(&stranger).contains("\"db-etcd-9\" is not a member on record"));
}

#[test]
fn it_ends_by_what_is_on_record_of_this_request() {
    let (request, _) = asked(RECOVER);
    let told = |step, token: &str| {
        let mut cluster = cluster(3, "Running", 4);
        cluster.status.get_or_insert_default().observed_generation = Some(4);
        decide(&request, &seen(cluster, with(step, token)), &at(9))
    };
    for step in [
        RecoveryStep::Chosen,
        RecoveryStep::Isolated,
        RecoveryStep::Forced,
    ] {
        assert_eq!(phase(&told(step, "a")), Some(OpsPhase::Running), "{step:?}");
    }
    assert_eq!(
        phase(&told(RecoveryStep::Done, "another")),
        Some(OpsPhase::Running)
    );
    assert_eq!(
        phase(&told(RecoveryStep::Done, "a")),
        Some(OpsPhase::Succeed)
    );
    let refused = told(RecoveryStep::Refused, "a");
    assert_eq!(phase(&refused), Some(OpsPhase::Failed));
    assert!(message(&refused, ConditionType::Failed).contains("db-etcd-2 stays"));
}

#[test]
fn a_dry_run_tells_where_each_member_stands_while_the_cluster_is_down() {
    let (request, _) = asked(&RECOVER.replace("acceptDataLoss", "dryRun"));
    let seen = seen(cluster(3, "Failed", 4), with(RecoveryStep::Surveyed, "a"));
    let decision = decide(&request, &seen, &at(9));
    assert_eq!(phase(&decision), Some(OpsPhase::Succeed));
    let details = &decision.status.components["etcd"].progress_details;
    let texts: Vec<&str> = details
        .iter()
        .filter_map(|d| d.message.as_deref())
        .collect();
    assert!(texts[1].contains("index 50"), "{texts:?}");
    assert!(texts[0].contains("index unknown"), "{texts:?}");
    let text = message(&decision, ConditionType::Succeed);
    assert!(
        text.contains("nothing was done in etcd: db-etcd-2 stays"),
        "{text}"
    );
}

#[test]
fn what_asks_for_it_is_taken_off_before_it_ends() {
    let (request, decision) = asked(RECOVER);
    let Act::Recover(wishes) = decision.act else {
        panic!("{decision:?}")
    };
    let wish = wishes["db-etcd"].clone().expect("a request");
    let taken_off = Act::Recover([("db-etcd".to_owned(), None)].into());
    for step in [RecoveryStep::Done, RecoveryStep::Refused] {
        let set = ask(with(step, "a"), &wish);
        let decision = decide(&request, &seen(cluster(3, "Running", 4), set), &at(9));
        assert_eq!(
            (phase(&decision), &decision.act),
            (Some(OpsPhase::Running), &taken_off)
        );
    }
    let late = ask(with(RecoveryStep::Isolated, "a"), &wish);
    let decision = decide(&request, &seen(cluster(3, "Failed", 4), late), &at(4000));
    assert_eq!(decision.act, taken_off);
    let late = with(RecoveryStep::Isolated, "a");
    let decision = decide(&request, &seen(cluster(3, "Failed", 4), late), &at(4000));
    assert_eq!(phase(&decision), Some(OpsPhase::Aborted));
    let text = message(&decision, ConditionType::Aborted);
    assert!(text.contains("has begun and continues"), "{text}");
}
