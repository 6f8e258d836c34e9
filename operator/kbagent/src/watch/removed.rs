//! Finds out that the own member was removed while its data is still here (M10): etcd then exits at every start and
//! cannot report it. The other members can. That there is data is known from the launcher's mark, so that kbagent needs
//! no access to etcd's files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{EtcdState, Id};
use tokio::sync::watch;

use super::view::{Knowledge, Refusal};
use crate::config::Config;
use crate::etcd::{Client, Member};
use crate::launch::BEGUN_FILE;

/// How often the others are asked while etcd is down.
const EVERY: Duration = Duration::from_secs(2);
/// How long etcd must be down first: an ordinary restart asks no other member.
const AWAY: Duration = Duration::from_secs(3);
/// Deadline of a list.
const DEADLINE: Duration = Duration::from_secs(1);

/// Watches for the removal of the own member and publishes it.
pub(super) async fn look(
    config: Arc<Config>,
    knowledge: watch::Receiver<Knowledge>,
    removed: watch::Sender<Option<Refusal>>,
) {
    let mut away_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let (gone, own_id) = {
            let known = knowledge.borrow();
            (
                is_gone(known.etcd()),
                known.status().map(|status| status.member_id),
            )
        };
        if !gone {
            away_since = None;
            removed.send_if_modified(|known| known.take().is_some());
            continue;
        }
        let since = *away_since.get_or_insert_with(Instant::now);
        if since.elapsed() < AWAY || !config.run_dir.join(BEGUN_FILE).exists() {
            continue;
        }
        if let Some(members) = ask_others(&config).await {
            let found = verdict(&members, &config.own_peer_url(), own_id);
            removed.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            });
        }
    }
}

fn is_gone(etcd: &EtcdState) -> bool {
    match etcd {
        EtcdState::Running | EtcdState::Unreachable { refused: false, .. } => false,
        EtcdState::Unreachable { refused: true, .. }
        | EtcdState::Starting { .. }
        | EtcdState::Refused { .. } => true,
    }
}

/// A linearizable list from any other member; `None` when none answers, which proves nothing (M5).
async fn ask_others(config: &Config) -> Option<Vec<Member>> {
    for url in config.other_client_urls() {
        let Ok(client) = Client::new(&url, &config.tls) else {
            continue;
        };
        if let Ok(list) = client.members(true, DEADLINE).await {
            return Some(list.members);
        }
    }
    None
}

fn verdict(members: &[Member], own_peer_url: &str, own_id: Option<Id>) -> Option<Refusal> {
    let with_url = members
        .iter()
        .find(|member| member.peer_urls.iter().any(|url| url == own_peer_url));
    let message = match (with_url, own_id) {
        (Some(member), Some(own)) if Id(member.id) != own => format!(
            "the member list holds {own_peer_url} as {:x}, but the data here belongs to {own}: \
             delete this volume, then let the new member join",
            member.id
        ),
        (Some(_), _) => return None,
        (None, _) => format!(
            "the member list does not hold {own_peer_url}: this member was removed; \
             delete its volume before the name is used again (M10)"
        ),
    };
    Some(Refusal {
        code: "RemovedMember".into(),
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_removed_only_when_the_list_says_so() {
        let own = "http://p0:2380";
        let member = |id, url: &str| Member {
            id,
            peer_urls: vec![url.into()],
            ..Member::default()
        };
        let cases = [
            ("still there", vec![member(1, own)], Some(Id(1)), false),
            (
                "still there, own id unknown",
                vec![member(1, own)],
                None,
                false,
            ),
            ("gone", vec![member(2, "http://p1:2380")], Some(Id(1)), true),
            (
                "gone, own id unknown",
                vec![member(2, "http://p1:2380")],
                None,
                true,
            ),
            (
                "replaced by a new member",
                vec![member(3, own)],
                Some(Id(1)),
                true,
            ),
        ];
        for (name, members, own_id, removed) in cases {
            assert_eq!(verdict(&members, own, own_id).is_some(), removed, "{name}");
        }
    }
}
