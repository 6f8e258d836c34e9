//! Names of members by identifier, so that a leader can be named. Off the hot path: a slow list delays no poll.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::etcd::Client;

/// Names by member identifier.
pub(crate) type Names = BTreeMap<u64, String>;

/// How often names are read again without being asked.
const EVERY: Duration = Duration::from_secs(2);
/// Shortest time between two reads.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Deadline of a read.
const DEADLINE: Duration = Duration::from_millis(500);

/// Keeps names: reads the member's own (serializable) list, when asked through `wanted` at once. A failed read keeps
/// what was known (M5); a learner answers none.
pub(super) async fn keep(client: Client, wanted: Arc<Notify>, names: watch::Sender<Names>) {
    loop {
        if let Ok(list) = client.members(false, DEADLINE).await {
            let read: Names = list
                .members
                .into_iter()
                .map(|member| (member.id, member.name))
                .collect();
            names.send_if_modified(|known| {
                let changed = *known != read;
                *known = read;
                changed
            });
        }
        tokio::time::sleep(AT_MOST_EVERY).await;
        // A timeout is the ordinary case: no caller wanted names.
        let _ = tokio::time::timeout(EVERY, wanted.notified()).await;
    }
}
