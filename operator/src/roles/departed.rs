//! A leader whose pod's object is gone while its etcd runs on, after a deletion by force: no service can lead to it,
//! and no other is elected until its kubelet stops it, most of a second later. Its agent is asked to transfer
//! leadership.
//!
//! Only a request: no label waits for the answer, and the election that follows is noticed like any other.

use std::net::{IpAddr, SocketAddr};

use etcd_operator_api::names::ComponentName;
use kbagent_protocol::PORT;
use kube::Client;
use tracing::{debug, info};

use super::facts::PodKey;
use super::store::Seen;
use crate::agent::AgentClient;
use crate::token;

/// True when the last view of a member says that it leads.
pub(super) fn led(last: &Seen) -> bool {
    let status = last.view.status.as_ref();
    !last.silent && status.is_some_and(|status| status.leader_id == Some(status.member_id))
}

/// Asks the agent that was the pod's. Two operators may do so: the second request joins the first one's hand-over.
pub(super) async fn ask_to_hand_over(
    client: Client,
    pod: PodKey,
    instance_set: String,
    address: IpAddr,
) {
    let component = ComponentName::existing(&instance_set);
    let token = match token::read(&client, &pod.namespace, &component).await {
        Ok(token) => token,
        // The whole cluster is being deleted: no member is left to lead.
        Err(error) => {
            return debug!(pod = %pod.name, %error, "skipped the switchover of a leader without a pod: no token");
        }
    };
    let address = SocketAddr::new(address, PORT);
    match AgentClient.hand_over(address, &token).await {
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

    use super::super::testing::running;
    use super::*;

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
