//! A leader whose pod's object is gone while its etcd runs on, after a deletion by force: no service can lead to it,
//! and no other is elected until its kubelet stops it, most of a second later. Its agent is asked to transfer
//! leadership, to a member that reports to the operator: where policies are enforced the others refuse a pod whose
//! object is gone.
//!
//! Only a request: no label waits for the answer, and the election that follows is noticed like any other.

use etcd_operator_api::names::ComponentName;
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::{EtcdState, Id, MemberStatus};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tracing::{debug, info};

use super::facts::PodKey;
use super::store::Seen;
use crate::agent::{AgentClient, Peer};
use crate::token;

/// True when the last view of a member says that it leads.
pub(super) fn led(last: &Seen) -> bool {
    let status = last.view.status.as_ref();
    !last.silent && status.is_some_and(|status| status.leader_id == Some(status.member_id))
}

/// The voter with the longest log of those that follow the leader, by their last views. Each is given with whether its
/// pod is being deleted: such a one only where there is no other.
pub(super) fn heir(leader: &Seen, others: &[(Seen, bool)]) -> Option<Id> {
    let term = leader.view.status.as_ref().map(|status| status.term)?;
    let follower = |seen: &Seen| -> Option<MemberStatus> {
        let status = seen.view.status.clone()?;
        let led = leader.view.status.as_ref()?.member_id;
        let follows = status.leader_id == Some(led) && status.member_id != led;
        let runs = !seen.silent && seen.view.etcd == EtcdState::Running;
        (runs && follows && status.term == term && !status.is_learner).then_some(status)
    };
    let voters = others
        .iter()
        .filter_map(|(seen, leaves)| Some((follower(seen)?, *leaves)));
    let furthest = voters.max_by_key(|(status, leaves)| {
        let earlier = std::cmp::Reverse(status.member_id);
        (!*leaves, status.raft_index, earlier)
    });
    furthest.map(|(status, _)| status.member_id)
}

/// A pod whose object is gone.
pub(super) struct Departed {
    /// What it was called.
    pub(super) pod: PodKey,
    /// Its InstanceSet.
    pub(super) instance_set: String,
    /// Its agent, whose address another pod may have by now.
    pub(super) agent: Peer,
    /// Who is to lead.
    pub(super) heir: Option<Id>,
}

/// Whether the address is another pod's by now, as far as the operator may see: the token is not for that one.
async fn is_taken(
    client: &Client,
    served: Option<&str>,
    departed: &Departed,
) -> kube::Result<bool> {
    let pods: Api<Pod> = match served {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let there =
        ListParams::default().fields(&format!("status.podIP={}", departed.agent.address.ip()));
    let found = pods.list_metadata(&there).await?;
    Ok(found
        .items
        .iter()
        .any(|pod| pod.uid().as_ref() != Some(&departed.agent.uid)))
}

/// Asks the agent that was the pod's. Two operators may do so: the second request joins the first one's hand-over.
pub(super) async fn ask_to_hand_over(
    (client, agents): (Client, AgentClient),
    served: Option<String>,
    departed: Departed,
) {
    match is_taken(&client, served.as_deref(), &departed).await {
        Ok(false) => {}
        Ok(true) => {
            return debug!(pod = %departed.pod.name, "skipped the switchover of a leader without a pod: its address has another pod");
        }
        Err(error) => {
            return debug!(pod = %departed.pod.name, %error, "skipped the switchover of a leader without a pod: its address is not known to be free");
        }
    }
    let Departed {
        pod,
        instance_set,
        agent,
        heir,
    } = departed;
    let component = ComponentName::existing(&instance_set);
    let token = match token::read(&client, &pod.namespace, &component).await {
        Ok(token) => token,
        // The whole cluster is being deleted: no member is left to lead.
        Err(error) => {
            return debug!(pod = %pod.name, %error, "skipped the switchover of a leader without a pod: no token");
        }
    };
    match agents.hand_over(&agent, &token, heir).await {
        Ok(answer) => info!(pod = %pod.name, moved = answer.moved, to = answer.leader,
            said = answer.message, "asked a leader without a pod to transfer leadership"),
        // It is stopped meanwhile, or was long ago.
        Err(error) => {
            debug!(pod = %pod.name, %error, "the agent of a leader without a pod did not answer")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use kbagent_protocol::Authorization;
    use serde_json::json;

    use super::super::test_support::{member, running};
    use super::*;
    use crate::fake_api::{failure, server};

    #[tokio::test]
    async fn no_token_is_read_for_an_address_that_is_another_pods() {
        let pod =
            |uid: &str| json!({ "metadata": { "name": "a-0", "namespace": "n", "uid": uid } });
        let list = |items| json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items });
        for (items, asked_for_token) in [
            (Some(json!([pod("other")])), false),
            (None, false),
            (Some(json!([])), true),
            (Some(json!([pod("u0")])), true),
        ] {
            let (context, asked) = server(move |line| match (&items, line.contains("/pods")) {
                (Some(items), true) => (200, list(items.clone())),
                _ => failure(404, "NotFound", "none"),
            });
            let departed = Departed {
                pod: PodKey {
                    namespace: "n".into(),
                    name: "a-0".into(),
                },
                instance_set: "a".into(),
                agent: Peer {
                    address: ([10, 0, 0, 9], 5001).into(),
                    namespace: "n".into(),
                    component: ComponentName::existing("a"),
                    tls: None,
                    pod: "a-0".into(),
                    uid: "u0".into(),
                    takes: Authorization::Signed,
                },
                heir: None,
            };
            ask_to_hand_over(
                (context.client.clone(), context.agents.clone()),
                None,
                departed,
            )
            .await;
            let asked = asked.lock().expect("no panic");
            assert!(
                asked[0].0.contains("status.podIP%3D10.0.0.9"),
                "{}",
                asked[0].0
            );
            let read = asked.iter().any(|(line, _)| line.contains("/secrets/"));
            assert_eq!(read, asked_for_token, "{asked:?}");
        }
    }

    fn seen(pod: &str, leader: Option<&str>, term: u64, silent: bool) -> Seen {
        Seen {
            view: running(pod, "u", 1, leader, term),
            at: Instant::now(),
            silent,
        }
    }

    #[test]
    fn the_follower_with_the_longest_log_is_to_lead() {
        let leader = seen("a-0", Some("a-0"), 3, false);
        let follower = |pod, index, learner| {
            let mut seen = seen(pod, Some("a-0"), 3, false);
            if let Some(status) = &mut seen.view.status {
                (status.raft_index, status.is_learner) = (index, learner);
            }
            seen
        };
        let among = |others: Vec<(Seen, bool)>| heir(&leader, &others);
        let heir =
            |others: &[Seen]| among(others.iter().cloned().map(|one| (one, false)).collect());
        let (one, two) = (follower("a-1", 8, false), follower("a-2", 9, false));
        assert_eq!(heir(&[one.clone(), two.clone()]), Some(member("a-2")));
        let both = vec![(one.clone(), false), (two.clone(), true)];
        assert_eq!(among(both), Some(member("a-1")), "it stays");
        assert_eq!(among(vec![(two, true)]), Some(member("a-2")));
        let learner = follower("a-2", 9, true);
        assert_eq!(heir(&[one, learner.clone()]), Some(member("a-1")));
        let mut stopped = follower("a-1", 9, false);
        stopped.view.etcd = EtcdState::Unreachable {
            reason: String::new(),
            refused: true,
        };
        let unfit = [
            leader.clone(),
            learner,
            stopped,
            seen("a-1", Some("a-0"), 3, true),
            seen("a-1", Some("a-0"), 2, false),
            seen("a-1", Some("a-2"), 3, false),
            seen("a-1", None, 3, false),
        ];
        for other in unfit {
            assert_eq!(heir(std::slice::from_ref(&other)), None, "{other:?}");
        }
    }

    #[test]
    fn only_who_led_by_its_own_last_word_is_asked() {
        let last = |leader, silent| seen("a-0", leader, 3, silent);
        assert!(led(&last(Some("a-0"), false)));
        assert!(!led(&last(Some("a-1"), false)), "a follower");
        assert!(!led(&last(None, false)), "no leader known");
        assert!(
            !led(&last(Some("a-0"), true)),
            "an agent that was not reached"
        );
    }
}
