//! What a member says of its store of API v2 is on record, in bounds, and stays while its agent is silent.

use kbagent_protocol::V2Store;

use super::*;

#[test]
fn what_a_member_says_of_its_old_store_stays_while_its_agent_is_silent() {
    let mut world = grown(3);
    let told = |world: &World, told: Option<V2Store>, heard: bool| {
        let mut seen = world.observe();
        let pod = seen.pods.get_mut("a-1").expect("a pod");
        pod.heard = heard;
        pod.view.as_mut().expect("a view").v2_store = told;
        let status = plan(&world.desired, &seen).status.expect("a status").status;
        let mut members = status.members.clone().into_iter();
        let one = members.find(|member| member.pod_name == "a-1");
        (one.expect("a member").v2_store, status.members)
    };
    assert_eq!(told(&world, None, true).0, None);
    let found = V2Store {
        clean: Some(false),
        message: Some("x".repeat(9000)),
    };
    let (known, members) = told(&world, Some(found), true);
    let known = known.expect("on record");
    assert_eq!(known.clean, Some(false));
    assert_eq!(known.message.as_ref().map(String::len), Some(512));
    world.desired.recorded.members = members;
    assert_eq!(told(&world, None, false).0, Some(known));
    // One that was upgraded says nothing of it any more.
    assert_eq!(told(&world, None, true).0, None);
}
