//! Phase and status of a Component, by what its InstanceSet says.

use super::*;

fn phase_after(before: Option<ComponentPhase>, its: &InstanceSet, second: i64) -> ComponentPhase {
    let mut component = component();
    component.status = before.map(|phase| etcd_operator_api::ComponentStatus {
        phase: Some(phase),
        ..Default::default()
    });
    applied(&component, its, second).phase.expect("phase")
}

fn applied(
    component: &Component,
    its: &InstanceSet,
    second: i64,
) -> etcd_operator_api::ComponentStatus {
    let (applied, secured) = (Outcome::Applied, Secured::default());
    status(component, Some(its), &applied, &secured, &at(second))
}

#[test]
fn phases_follow_the_instance_set() {
    use ComponentPhase::{Creating, Failed, Running, Starting, Stopped, Updating};
    let latched = "clusterID: abc\n";
    let failure = "conditions: [{type: InstanceFailure, status: \"True\", reason: InstanceFailure, message: m, lastTransitionTime: \"1970-01-01T00:00:00Z\"}]\n";
    let ready_since = "clusterID: abc\nconditions: [{type: InstanceReady, status: \"True\", reason: Ready, message: m, lastTransitionTime: \"1970-01-01T00:00:10Z\"}]\n";
    let table = [
        (None, instance_set(1, 0, ""), 20, Creating),
        (Some(Creating), instance_set(3, 3, latched), 20, Running),
        (Some(Running), instance_set(2, 2, latched), 20, Updating),
        (Some(Updating), instance_set(3, 2, latched), 20, Updating),
        (Some(Stopped), instance_set(0, 0, latched), 20, Starting),
        (Some(Running), instance_set(2, 2, failure), 20, Failed),
        (Some(Running), instance_set(3, 2, ready_since), 69, Updating),
        (Some(Running), instance_set(3, 2, ready_since), 71, Failed),
    ];
    let mut goes_back = instance_set(3, 3, latched);
    let annotations = goes_back.annotations_mut();
    annotations.insert(labels::SERVICE_VERSION.to_owned(), "3.7.3".to_owned());
    let table = table
        .into_iter()
        .chain([(Some(Running), goes_back, 20, Updating)]);
    for (before, its, second, expected) in table {
        assert_eq!(
            phase_after(before, &its, second),
            expected,
            "{before:?} {second}"
        );
    }
}

#[test]
fn an_alarm_is_told_while_it_stands_and_outweighs_what_is_waited_for() {
    let raised = |truth: &str| {
        let since = "lastTransitionTime: \"1970-01-01T00:00:00Z\"";
        let alarm = format!(
            "{{type: AlarmRaised, status: \"{truth}\", reason: NoSpace, message: full, {since}}}"
        );
        let waiting = "waitingOn: [{reason: NotAlone, message: wait}]";
        let its = instance_set(3, 3, &format!("conditions: [{alarm}]\n{waiting}\n"));
        applied(&component(), &its, 20)
    };
    let seen = raised("True");
    let told = condition::find(&seen.conditions, ConditionType::AlarmRaised).expect("told");
    assert_eq!(
        (told.reason.as_str(), told.message.as_str()),
        ("NoSpace", "full")
    );
    assert!(seen.message.values().any(|text| text == "NoSpace: full"));
    let seen = raised("False");
    assert!(condition::find(&seen.conditions, ConditionType::AlarmRaised).is_none());
    assert!(seen.message.values().any(|text| text == "NotAlone: wait"));
}

#[test]
fn tainted_nodes_are_told_while_they_are_there() {
    let tainted = |truth: &str| {
        let since = "lastTransitionTime: \"1970-01-01T00:00:00Z\"";
        let told = format!(
            "{{type: NodeTainted, status: \"{truth}\", reason: TaintLeft, message: n1, {since}}}"
        );
        let its = instance_set(3, 3, &format!("conditions: [{told}]\n"));
        applied(&component(), &its, 20).conditions
    };
    let seen = tainted("True");
    let told = condition::find(&seen, ConditionType::NodeTainted).expect("told");
    assert_eq!(
        (told.status.as_str(), told.message.as_str()),
        ("True", "n1")
    );
    assert!(condition::find(&tainted("False"), ConditionType::NodeTainted).is_none());
}

#[test]
fn of_one_that_goes_what_it_waits_for_is_told_first() {
    let lost = "conditions: [{type: Quorate, status: \"False\", reason: QuorumLost, message: m, lastTransitionTime: \"1970-01-01T00:00:00Z\"}]";
    let waiting = "waitingOn: [{reason: NodeNotReady, message: wait}]";
    let mut its = instance_set(0, 0, &format!("{lost}\n{waiting}\n"));
    let told = |its: &InstanceSet| applied(&component(), its, 20).message;
    assert!(told(&its).values().any(|text| text == "QuorumLost: m"));
    its.metadata.deletion_timestamp = Some(at(1));
    assert!(told(&its).values().any(|text| text == "NodeNotReady: wait"));
}

#[test]
fn an_instance_set_of_an_older_spec_is_not_running() {
    let mut its = instance_set(3, 3, "clusterID: abc\n");
    its.annotations_mut()
        .insert(labels::GENERATION.into(), "6".into());
    assert_eq!(
        phase_after(Some(ComponentPhase::Running), &its, 20),
        ComponentPhase::Updating
    );
}

#[test]
fn availability_needs_a_leader_and_a_quorum() {
    let available = |its: &InstanceSet| {
        let seen = applied(&component(), its, 20);
        condition::holds(&seen.conditions, ConditionType::Available)
    };
    assert!(available(&instance_set(2, 2, "")));
    assert!(!available(&instance_set(1, 1, "")));
    let mut headless = instance_set(3, 3, "");
    let members = &mut headless.status.as_mut().expect("status").members_status;
    members[0].role.is_exclusive = false;
    assert!(!available(&headless));
}
