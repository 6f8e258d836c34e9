//! A leader whose pod's object is gone while its etcd runs on, after a deletion by force: no service can lead to it,
//! and no other is elected until its kubelet stops it, most of a second later. Its agent is asked to transfer
//! leadership.
//!
//! Only a request: no label waits for the answer, and the election that follows is noticed like any other.

use etcd_operator_api::names::ComponentName;
use k8s_openapi::api::core::v1::Pod;
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

/// A pod whose object is gone.
pub(super) struct Departed {
    /// What it was called.
    pub(super) pod: PodKey,
    /// Its InstanceSet.
    pub(super) instance_set: String,
    /// Its agent, whose address another pod may have by now.
    pub(super) agent: Peer,
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
    } = departed;
    let component = ComponentName::existing(&instance_set);
    let token = match token::read(&client, &pod.namespace, &component).await {
        Ok(token) => token,
        // The whole cluster is being deleted: no member is left to lead.
        Err(error) => {
            return debug!(pod = %pod.name, %error, "skipped the switchover of a leader without a pod: no token");
        }
    };
    match agents.hand_over(&agent, &token).await {
        Ok(answer) => info!(pod = %pod.name, moved = answer.moved, to = answer.leader,
            "asked a leader without a pod to transfer leadership"),
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

    use super::super::test_support::running;
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

    #[test]
    fn only_who_led_by_its_own_last_word_is_asked() {
        let last = |leader, silent| Seen {
            view: running("a-0", "u0", 1, leader, 3),
            at: Instant::now(),
            silent,
        };
        assert!(led(&last(Some("a-0"), false)));
        assert!(!led(&last(Some("a-1"), false)), "a follower");
        assert!(!led(&last(None, false)), "no leader known");
        assert!(
            !led(&last(Some("a-0"), true)),
            "an agent that was not reached"
        );
    }
}
