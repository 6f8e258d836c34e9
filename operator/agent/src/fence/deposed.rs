//! Finds out that the own member was deposed without knowing it: a leader whose disk hangs keeps saying that it leads,
//! because its own news pass through the hanging disk, and one that is frozen says nothing, while the others have
//! elected another. They are asked.

use std::time::Duration;

use kbagent_protocol::{EtcdState, MemberStatus, Role};
use tokio::sync::watch;

use crate::config::Config;
use crate::etcd::{Client, Status};
use crate::watch::Knowledge;

/// Pause between two questions, each to the next of the others: cheap beside the polls of the own member.
const EVERY: Duration = Duration::from_millis(500);
/// The same while the own member does not answer.
const EVERY_IN_TROUBLE: Duration = Duration::from_millis(50);
/// Deadline of a question.
const DEADLINE: Duration = Duration::from_millis(400);

/// Publishes the newest term in which another member was seen to lead.
pub(super) async fn look(
    config: std::sync::Arc<Config>,
    knowledge: watch::Receiver<Knowledge>,
    newest: watch::Sender<u64>,
) {
    let clients: Vec<Client> = config
        .other_client_urls()
        .iter()
        .filter_map(|url| Client::new(url, &config.tls).ok())
        .collect();
    if clients.is_empty() {
        return;
    }
    for client in clients.iter().cycle() {
        pause(knowledge.clone()).await;
        let own = knowledge
            .borrow()
            .status()
            .filter(|own| own.role() == Role::Leader)
            .cloned();
        if let Some(own) = own
            && let Ok(other) = client.status(DEADLINE).await
            && deposed(&own, &other)
        {
            newest.send_if_modified(|known| {
                let news = other.raft_term > *known;
                *known = (*known).max(other.raft_term);
                news
            });
        }
    }
}

/// Waits for the next question's turn, which comes early when the own member falls silent.
async fn pause(mut knowledge: watch::Receiver<Knowledge>) {
    let silent =
        |known: &Knowledge| matches!(known.etcd(), EtcdState::Unreachable { refused: false, .. });
    let trouble = async {
        if knowledge.wait_for(silent).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(EVERY_IN_TROUBLE).await;
    };
    tokio::select! {
        () = tokio::time::sleep(EVERY) => {}
        () = trouble => {}
    }
}

/// True when `other` follows or is another leader, in the same cluster and a higher term: a majority has moved on.
fn deposed(own: &MemberStatus, other: &Status) -> bool {
    let header = other.header.unwrap_or_default();
    header.cluster_id == own.cluster_id.0
        && other.raft_term > own.term
        && other.leader != 0
        && other.leader != own.member_id.0
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::Id;

    use super::*;
    use crate::etcd::ResponseHeader;

    #[test]
    fn only_another_leader_in_a_higher_term_of_this_cluster_deposes() {
        let own = MemberStatus {
            member_id: Id(1),
            cluster_id: Id(9),
            leader_id: Some(Id(1)),
            leader: None,
            term: 4,
            revision: 0,
            raft_index: 0,
            applied_index: 0,
            is_learner: false,
            version: String::new(),
            db_size_bytes: 0,
            db_size_in_use_bytes: 0,
            db_quota_bytes: None,
            alarms: vec![],
        };
        let cases = [
            ("another in a higher term", 9, 2, 5, true),
            ("the same term", 9, 2, 4, false),
            ("a candidate", 9, 0, 5, false),
            ("ourselves, elected again", 9, 1, 5, false),
            ("another cluster", 8, 2, 5, false),
        ];
        for (name, cluster_id, leader, raft_term, expected) in cases {
            let header = Some(ResponseHeader {
                cluster_id,
                ..ResponseHeader::default()
            });
            let other = Status {
                header,
                leader,
                raft_term,
                ..Status::default()
            };
            assert_eq!(deposed(&own, &other), expected, "{name}");
        }
    }
}
