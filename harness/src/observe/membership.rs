//! The member list while the cluster changes: asked of any member that answers, a few times a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_history::Record;
use etcd_history::record::{ListedMember, MembershipRecord, Nanos};
use kube::Client;
use serde_json::Value;

use super::clock::now;
use crate::cluster::proxy::{self, Target};
use crate::wait::pause;

/// Time between two lists: a learner of a test's small store has its vote after some seconds.
const EVERY: Duration = Duration::from_millis(250);
/// Where the agents are.
const AGENT: u16 = 5001;

/// Asks for ever. `pods` are all that may ever have a member.
pub(super) async fn follow(
    kube: Client,
    namespace: String,
    mut pods: Vec<String>,
    seen: Arc<Mutex<Vec<Record>>>,
    offset: Nanos,
) {
    loop {
        for at in 0..pods.len() {
            let target = Target {
                namespace: &namespace,
                kind: "pods",
                name: &pods[at],
                port: AGENT,
            };
            let answer = proxy::get(&kube, target, "v1.0/members").await;
            if let Some(list) = answer.ok().and_then(|text| read(&text, now(offset))) {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Record::Membership(list));
                // Who has answered is asked first the next time.
                pods.swap(0, at);
                break;
            }
        }
        pause(EVERY).await;
    }
}

fn read(text: &str, t: Nanos) -> Option<MembershipRecord> {
    let list: Value = serde_json::from_str(text).ok()?;
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let member = |value: &Value| {
        Some(ListedMember {
            id: word(&value["id"])?,
            name: word(&value["name"])?,
            learner: value["isLearner"].as_bool()?,
        })
    };
    Some(MembershipRecord {
        t,
        cluster: word(&list["clusterId"])?,
        members: list["members"]
            .as_array()?
            .iter()
            .map(member)
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_list_is_read_whole_or_not_at_all() {
        let text = r#"{"clusterId":"7","term":3,"members":[{"id":"a","name":"","peerUrls":[],"clientUrls":[],"isLearner":true}]}"#;
        let list = read(text, 5).expect("a list");
        assert_eq!((list.t, list.cluster.as_str()), (5, "7"));
        assert!(list.members[0].learner && list.members[0].name.is_empty());
        assert_eq!(read(r#"{"errorCode":"ERR_BUSY"}"#, 5), None);
        assert_eq!(read(&text.replace("isLearner", "x"), 5), None);
    }
}
