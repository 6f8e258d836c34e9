//! Knows the other members and where their agents are, so that nothing has to be looked up when etcd has died.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::etcd::{Client, Member};

/// How often list and addresses are read.
const EVERY: Duration = Duration::from_secs(10);
/// Deadline of one reading.
const DEADLINE: Duration = Duration::from_millis(500);
/// Members that are known: etcd itself advises against more than seven.
const MOST: usize = 16;

/// The members of the own cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Voters, the own member perhaps among them.
    pub(super) voters: usize,
    /// Agents of the other members, by the names of their pods.
    pub(super) agents: BTreeMap<String, SocketAddr>,
}

/// Keeps them, by the own member's list; before there was one, by the pod's environment. A failed reading keeps what
/// was known.
pub(super) async fn keep(config: Arc<Config>, own: Client, others: watch::Sender<Others>) {
    let peers = config.peers.iter().map(|peer| peer.name.clone());
    let mut names: Vec<String> = peers.take(MOST).collect();
    let mut voters = names.len();
    loop {
        if let Ok(list) = own.members(false, DEADLINE).await {
            (voters, names) = listed(&list.members);
        }
        let mut agents = others.borrow().agents.clone();
        agents.retain(|name, _| names.contains(name));
        for name in names.iter().filter(|name| **name != config.pod_name) {
            let host = config.host_of(name);
            let found = timeout(DEADLINE, lookup_host((host.as_str(), config.listen.port()))).await;
            if let Ok(Ok(mut addresses)) = found
                && let Some(address) = addresses.next()
            {
                agents.insert(name.clone(), address);
            }
        }
        others.send_replace(Others { voters, agents });
        sleep(EVERY).await;
    }
}

/// Count of voters, and all names. A member that has never started has none.
fn listed(members: &[Member]) -> (usize, Vec<String>) {
    let voters = members.iter().filter(|member| !member.is_learner);
    let names = members.iter().map(|member| member.name.clone());
    (
        voters.count(),
        names.filter(|name| !name.is_empty()).take(MOST).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_have_a_name_and_no_vote_and_who_never_started_has_no_name() {
        let member = |name: &str, is_learner| Member {
            name: name.to_owned(),
            is_learner,
            ..Member::default()
        };
        let list = [member("p0", false), member("p1", true), member("", false)];
        assert_eq!(listed(&list), (2, vec!["p0".to_owned(), "p1".to_owned()]));
        let many = vec![member("p0", false); 99];
        assert_eq!(listed(&many).1.len(), MOST);
    }
}
