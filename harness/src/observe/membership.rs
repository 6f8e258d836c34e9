//! The member list while the cluster changes: asked of etcd itself, of the first member that answers, a few times a
//! second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_history::Record;
use etcd_history::record::{ListedMember, MembershipRecord, Nanos};
use futures::stream::{self, BoxStream, StreamExt};
use kube::Client;
use serde_json::Value;

use super::clock::now;
use crate::cluster::proxy::{self, Endpoint};
use crate::wait::pause;

/// Time between two lists: a learner of a test's small store has its vote after some seconds.
const EVERY: Duration = Duration::from_millis(250);
/// Where etcd serves clients, and the JSON gateway.
const ETCD: u16 = 2379;

/// Lists as etcd's JSON gateway has them, asked through the API server for ever. `pods` are all that may ever have a
/// member.
pub(crate) fn lists(
    kube: Client,
    namespace: String,
    pods: Vec<String>,
) -> BoxStream<'static, String> {
    stream::unfold(
        (kube, namespace, pods),
        |(kube, namespace, mut pods)| async {
            loop {
                pause(EVERY).await;
                for at in 0..pods.len() {
                    let target = Endpoint {
                        namespace: &namespace,
                        kind: "pods",
                        name: &pods[at],
                        port: ETCD,
                    };
                    let list = "v3/cluster/member/list";
                    let answer = proxy::post(&kube, target, list, r#"{"linearizable":true}"#).await;
                    if let Ok(text) = answer {
                        // Who has answered is asked first the next time.
                        pods.swap(0, at);
                        return Some((text, (kube, namespace, pods)));
                    }
                }
            }
        },
    )
    .boxed()
}

/// Writes down what these lists say, for ever.
pub(super) async fn follow(
    mut lists: BoxStream<'static, String>,
    seen: Arc<Mutex<Vec<Record>>>,
    offset: Nanos,
) {
    while let Some(text) = lists.next().await {
        if let Some(list) = read(&text, now(offset)) {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Record::Membership(list));
        }
    }
}

/// Identifiers are decimal here, and hexadecimal everywhere else.
fn read(text: &str, t: Nanos) -> Option<MembershipRecord> {
    let list: Value = serde_json::from_str(text).ok()?;
    let id = |value: &Value| Some(format!("{:x}", value.as_str()?.parse::<u64>().ok()?));
    let member = |value: &Value| {
        Some(ListedMember {
            id: id(&value["ID"])?,
            // The gateway leaves out what is empty or false.
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            learner: value["isLearner"].as_bool().unwrap_or_default(),
        })
    };
    Some(MembershipRecord {
        t,
        cluster: id(&list["header"]["cluster_id"])?,
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
    fn a_list_of_etcd_is_read_whole_or_not_at_all() {
        let text = r#"{"header":{"cluster_id":"17","raft_term":"3"},"members":[
            {"ID":"18446744073709551615","name":"q-0","peerURLs":["http://q-0:2380"]},
            {"ID":"10","peerURLs":["http://q-1:2380"],"isLearner":true}]}"#;
        let list = read(text, 5).expect("a list");
        assert_eq!((list.t, list.cluster.as_str()), (5, "11"));
        let told: Vec<_> = list
            .members
            .iter()
            .map(|member| (member.id.as_str(), member.name.as_str(), member.learner))
            .collect();
        assert_eq!(told, [("ffffffffffffffff", "q-0", false), ("a", "", true)]);
        assert_eq!(
            read(r#"{"code":14,"message":"etcdserver: no leader"}"#, 5),
            None
        );
        assert_eq!(read(&text.replace("\"10\"", "\"x\""), 5), None);
    }
}
