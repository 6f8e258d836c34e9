//! Listens to the leader's own agent. A follower learns that its leader died only after an election timeout, and would
//! poll slowly until then; the agent beside the leader knows at once. A message from it, or a broken stream, only makes
//! the own member be polled at the fast interval, and is a hint that [`crate::election`] looks into: nothing is
//! concluded from it.

use std::sync::Arc;
use std::time::Duration;

use kbagent_protocol::{EtcdState, MemberView, PATH_WATCH, Role};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::view::Knowledge;
use crate::actions::Token;
use crate::config::Config;
use crate::http::Lines;

/// A stream that says nothing for so long is dead: it has a sign of life each second.
const SILENT: Duration = Duration::from_millis(1500);
/// Pause before the next attempt.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest line that is read: a view is about a kilobyte.
const LINE: usize = 64 * 1024;

/// Notifies `alarm` and `news` when the leader seems to be in trouble.
pub(super) async fn listen(
    config: Arc<Config>,
    mut knowledge: watch::Receiver<Knowledge>,
    alarm: Arc<Notify>,
    news: Arc<Notify>,
) {
    let token = Token::new(config.token_file.clone());
    loop {
        let leader = other_leader(&knowledge.borrow_and_update(), &config.pod_name);
        let Some(leader) = leader else {
            if knowledge.changed().await.is_err() {
                return;
            }
            continue;
        };
        let address = format!("{}:{}", config.host_of(&leader), config.listen.port());
        tokio::select! {
            heard = follow(&config, &address, &leader, &token) => {
                if heard {
                    news.notify_one();
                    alarm.notify_one();
                }
                tokio::time::sleep(AGAIN).await;
            }
            () = another(&mut knowledge, &config.pod_name, &leader) => {}
        }
    }
}

fn other_leader(knowledge: &Knowledge, own: &str) -> Option<String> {
    let leader = knowledge.status()?.leader.clone()?;
    (leader != own).then_some(leader)
}

/// Waits until `leader` is no longer the leader: another member leads, or none.
async fn another(knowledge: &mut watch::Receiver<Knowledge>, own: &str, leader: &str) {
    // An error means that the watcher ended, and the process with it.
    let _ = knowledge
        .wait_for(|known| other_leader(known, own).as_deref() != Some(leader))
        .await;
}

/// Reads the leader's stream until it tells trouble or breaks; false when it could not be read at all.
async fn follow(config: &Config, address: &str, leader: &str, token: &Token) -> bool {
    let Ok(Some(mut lines)) = timeout(SILENT, open(config, address, leader, token)).await else {
        return false;
    };
    while let Ok(Some(line)) = timeout(SILENT, lines.next()).await {
        let view = serde_json::from_slice::<MemberView>(&line);
        if view.is_ok_and(|view| in_trouble(&view)) {
            return true;
        }
    }
    true
}

/// A reader with authority keeps its place when there are too many. The stream is open without, too.
async fn open(config: &Config, address: &str, leader: &str, token: &Token) -> Option<Lines> {
    let tls = config.agents_tls(leader);
    let place = (address, &tls);
    if let Ok(token) = token.read() {
        let opens = config.opens(&token, leader);
        let lines = Lines::open(place, PATH_WATCH, Some(opens), LINE).await;
        if let Ok(lines) = lines {
            return Some(lines);
        }
    }
    Lines::open(place, PATH_WATCH, None, LINE).await.ok()
}

fn in_trouble(view: &MemberView) -> bool {
    let leads = view
        .status
        .as_ref()
        .is_some_and(|status| status.role() == Role::Leader);
    view.etcd != EtcdState::Running || !leads
}
