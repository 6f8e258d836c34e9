//! The member list while the cluster changes: asked of etcd itself a few times a second; the member that answers first
//! gives it.

use std::future::ready;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_history::Record;
use etcd_history::record::{ListedMember, MembershipRecord, Nanos};
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt};
use kube::Client;
use serde_json::Value;
use tokio::time::timeout;

use super::clock::now;
use crate::cluster::proxy::{self, Endpoint};
use crate::wait::pause;

/// Time between two lists: a learner of a test's small store has its vote after some seconds.
const EVERY: Duration = Duration::from_millis(250);
/// For how long one member is asked alone. One without a quorum answers after seven seconds, and one that is gone may
/// never.
const ALONE: Duration = Duration::from_millis(250);
/// Longest time for a list. Members that had none to give are then asked again.
const ANSWER: Duration = Duration::from_secs(3);
/// Where etcd serves clients, and the JSON gateway.
const ETCD: u16 = 2379;

/// Lists as etcd's JSON gateway has them, asked through the API server for ever. `pods` are all that may ever have a
/// member.
pub(crate) fn lists(
    kube: Client,
    namespace: String,
    pods: Vec<String>,
) -> BoxStream<'static, String> {
    let ask = move |pod: String| {
        let (kube, namespace) = (kube.clone(), namespace.clone());
        async move {
            let target = Endpoint {
                namespace: &namespace,
                kind: "pods",
                name: &pod,
                port: ETCD,
            };
            let list = "v3/cluster/member/list";
            proxy::post(&kube, target, list, r#"{"linearizable":true}"#).await
        }
    };
    stream::unfold((ask, pods), |(ask, mut pods)| async {
        loop {
            pause(EVERY).await;
            if let Some((at, text)) = first_answer(&pods, &ask).await {
                // Who has answered is asked first the next time.
                pods.swap(0, at);
                return Some((text, (ask, pods)));
            }
        }
    })
    .boxed()
}

/// The first answer, and which of these gave it: the first is asked, and where it has not answered soon all the others
/// are too.
async fn first_answer<A, F>(pods: &[String], ask: &A) -> Option<(usize, String)>
where
    A: Fn(String) -> F,
    F: Future<Output = Result<String, String>>,
{
    let asked = pods.iter().enumerate().map(|(at, pod)| async move {
        if at > 0 {
            pause(ALONE).await;
        }
        Some((at, ask(pod.clone()).await.ok()?))
    });
    let asked: FuturesUnordered<_> = asked.collect();
    let mut answers = pin!(asked.filter_map(ready));
    timeout(ANSWER, answers.next()).await.ok().flatten()
}

/// Writes down what these lists say, for ever.
pub(super) async fn follow(mut lists: BoxStream<'static, String>, seen: Arc<Mutex<Vec<Record>>>) {
    while let Some(text) = lists.next().await {
        if let Some(list) = read(&text, now(0)) {
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

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_answer_keeps_no_other_from_being_asked() {
        let pods = ["silent", "away", "well"].map(str::to_owned);
        let ask = |pod: String| async move {
            match pod.as_str() {
                "silent" => std::future::pending().await,
                "away" => Err("no route".to_owned()),
                _ => Ok(pod),
            }
        };
        let begin = tokio::time::Instant::now();
        let answer = first_answer(&pods, &ask).await;
        assert_eq!(answer, Some((2, "well".to_owned())));
        assert_eq!(begin.elapsed(), ALONE);
        // Who answers is asked alone.
        let only = |pod: String| {
            assert_eq!(pod, "silent");
            async { Ok(pod) }
        };
        let answer = first_answer(&pods, &only).await;
        assert_eq!(answer, Some((0, "silent".to_owned())));
        // None: they are asked again.
        assert_eq!(first_answer(&pods[..2], &ask).await, None);
        assert_eq!(begin.elapsed(), ALONE + ANSWER);
    }

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
