//! For how long leases were granted, as far as the member still knows; and keeping those of a private etcd alive.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::segment::Event;
use crate::error::Error;
use crate::member::{Member, SHORT, answer};

/// Leases that are remembered.
const KNOWN: usize = 100_000;
/// Requests under way at a time.
const AT_ONCE: usize = 32;
/// Pause after leases could not be renewed, and how long that may last.
const AGAIN: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Keeps all leases of a private etcd alive, which must not end while it is filled. Ends when that fails for too long:
/// a busy disk holds single calls up, and a lease that has ended meanwhile is found when changes are compared.
///
/// # Errors
/// Always, when it ends.
pub async fn keep_alive(member: &Member, every: Duration) -> Error {
    again_and_again((every, AGAIN, PATIENCE), async || renew(member).await).await
}

async fn again_and_again(
    (every, again, patience): (Duration, Duration, Duration),
    mut renew: impl AsyncFnMut() -> Result<(), Error>,
) -> Error {
    let mut failing: Option<Instant> = None;
    loop {
        let Err(error) = renew().await else {
            failing = None;
            sleep(every).await;
            continue;
        };
        let since = *failing.get_or_insert_with(Instant::now);
        if since.elapsed() >= patience {
            return error;
        }
        eprintln!("the leases of the private etcd are renewed again: {error}");
        sleep(again).await;
    }
}

/// Renews every lease once; the first error, when all were tried.
async fn renew(member: &Member) -> Result<(), Error> {
    let mut client = member.client();
    let leases = timeout(SHORT, client.leases()).await;
    let leases = answer("list the leases", member.endpoint(), leases)?;
    let ids: Vec<i64> = leases
        .leases()
        .iter()
        .map(etcd_client::LeaseStatus::id)
        .collect();
    let mut kept = futures::stream::iter(ids)
        .map(|id| timeout(SHORT, refresh(member, id)))
        .buffer_unordered(AT_ONCE);
    let mut all = Ok(());
    while let Some(kept) = kept.next().await {
        let kept = answer("keep a lease alive", member.endpoint(), kept);
        all = all.and(kept);
    }
    all
}

async fn refresh(member: &Member, lease: i64) -> Result<(), etcd_client::Error> {
    let (mut keeper, mut stream) = member.client().lease_keep_alive(lease).await?;
    keeper.keep_alive().await?;
    stream.message().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_is_repeated_and_only_a_lasting_failure_ends_it() {
        let short = Duration::from_millis(1);
        let patience = Duration::from_millis(200);
        let mut calls = 0;
        let began = Instant::now();
        let ended = again_and_again((short, short, patience), async || {
            calls += 1;
            match calls {
                1 | 3 => Ok(()),
                _ => Err(Error::Settings(format!("call {calls}"))),
            }
        });
        let ended = ended.await.to_string();
        assert!(began.elapsed() >= patience);
        assert!(
            calls > 4 && ended.ends_with(&format!("call {calls}")),
            "{ended}"
        );
    }
}
