//! What the leader's agent says of etcd's users is on record, in bounds, and stays while it says nothing.

use etcd_operator_api::instance_set::AccountsStatus;
use kbagent_protocol::AccountsReport;

use super::*;

#[test]
fn users_are_recorded_as_the_leaders_agent_reports_them() {
    let mut world = grown(3);
    let told = |world: &World, report: Option<AccountsReport>| {
        let mut seen = world.observe();
        let pod = seen.pods.get_mut("a-1").expect("a pod");
        pod.view.as_mut().expect("a view").accounts = report;
        let status = plan(&world.desired, &seen).status.expect("a status");
        status.status.accounts
    };
    assert_eq!(told(&world, None), None);
    let report = |fault: Option<String>| AccountsReport {
        applied: Some("one".to_owned()),
        fault,
    };
    let known = told(&world, Some(report(None))).expect("on record");
    assert_eq!(known.applied.as_deref(), Some("one"));
    let long = told(&world, Some(report(Some("x".repeat(9000)))));
    let long = long.and_then(|known| known.fault).expect("a fault");
    assert_eq!(long.len(), 512);
    let before = AccountsStatus {
        applied: Some("zero".to_owned()),
        fault: None,
    };
    world.desired.recorded.accounts = Some(before.clone());
    assert_eq!(told(&world, None), Some(before));
}
