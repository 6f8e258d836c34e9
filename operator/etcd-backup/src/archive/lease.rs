//! For how long leases were granted, as far as the member still knows; and keeping those of a private etcd alive.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::segment::Event;
use crate::error::Error;
use crate::member::{Member, SHORT, answer};

/// Leases that are remembered.
const KNOWN: usize = 100_000;
/// Requests under way at a time.
const AT_ONCE: usize = 32;

/// What is known of leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    seconds: HashMap<i64, i64>,
}

impl Leases {
    /// Writes into events for how long their leases were granted. What the member does not answer stays 0: the lease
    /// has ended, or will be asked for again with the next event.
    pub async fn fill(&mut self, member: &Member, events: &mut [Event]) {
        let unknown = |event: &&mut Event| event.lease != 0 && event.lease_seconds == 0;
        let mut ask: Vec<i64> = events
            .iter_mut()
            .filter(unknown)
            .map(|event| event.lease)
            .collect();
        ask.sort_unstable();
        ask.dedup();
        ask.retain(|lease| !self.seconds.contains_key(lease));
        if self.seconds.len() + ask.len() > KNOWN {
            self.seconds.clear();
        }
        let mut answers = futures::stream::iter(ask)
            .map(|lease| async move {
                let mut client = member.client();
                let asked = timeout(SHORT, client.lease_time_to_live(lease, None)).await;
                asked.ok()?.ok().map(|answer| (lease, answer.granted_ttl()))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(known) = answers.next().await {
            self.seconds
                .extend(known.filter(|(_, seconds)| *seconds > 0));
        }
        for event in events.iter_mut().filter(|event| event.lease != 0) {
            event.lease_seconds = self.seconds.get(&event.lease).copied().unwrap_or_default();
        }
    }
}

/// Keeps all leases of a private etcd alive, which must not end while it is filled. Ends when a call fails.
///
/// # Errors
/// Always, when it ends.
pub async fn keep_alive(member: &Member, every: Duration) -> Error {
    loop {
        let mut client = member.client();
        let leases = timeout(SHORT, client.leases()).await;
        let leases = match answer("list the leases", member.endpoint(), leases) {
            Ok(leases) => leases,
            Err(error) => return error,
        };
        let ids: Vec<i64> = leases
            .leases()
            .iter()
            .map(etcd_client::LeaseStatus::id)
            .collect();
        let mut kept = futures::stream::iter(ids)
            .map(|id| timeout(SHORT, refresh(member, id)))
            .buffer_unordered(AT_ONCE);
        while let Some(kept) = kept.next().await {
            if let Err(error) = answer("keep a lease alive", member.endpoint(), kept) {
                return error;
            }
        }
        sleep(every).await;
    }
}

async fn refresh(member: &Member, lease: i64) -> Result<(), etcd_client::Error> {
    let (mut keeper, mut stream) = member.client().lease_keep_alive(lease).await?;
    keeper.keep_alive().await?;
    stream.message().await.map(drop)
}
