//! The reference client: sends to every member and uses the first response.
//!
//! In quiet times it asks the member that answered last. As soon as that one fails, or is silent for the hedge time,
//! every write goes to all members at once until one is acknowledged: no client of this cluster could know
//! sooner that it is served again. Each attempt is an operation of its own with its own key, so a second attempt
//! is never mistaken for the first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_history::{
    Outcome,
    record::{Nanos, Route},
};
use tokio::{task::JoinSet, time::timeout_at};

use crate::{
    attempt::{self, Pool, Shared},
    connection::Held,
    schedule::{Schedule, until},
    writers::unique_put,
};

/// First client number of the reference client.
const FIRST_CLIENT: u32 = 3000;

struct ReferenceClient {
    shared: Arc<Shared>,
    members: Vec<Held>,
    /// Member that acknowledged last.
    good: AtomicUsize,
    /// True while no member is known to answer.
    searching: AtomicBool,
    pool: Pool,
}

/// Writes until the traffic ends; every write that left is waited for.
pub(crate) async fn run(shared: Arc<Shared>) {
    let held =
        |member: &crate::config::Member| Held::new(Arc::clone(&shared.reach), &member.address);
    let client = Arc::new(ReferenceClient {
        members: shared.config.members.iter().map(held).collect(),
        good: AtomicUsize::new(0),
        searching: AtomicBool::new(true),
        pool: Pool::from(shared.recorder.client(FIRST_CLIENT)),
        shared: Arc::clone(&shared),
    });
    let Some(schedule) = Schedule::new(Instant::now(), shared.config.rates.dial_all) else {
        return;
    };
    let mut open = JoinSet::new();
    for n in 0.. {
        let at = schedule.at(n);
        until(at).await;
        if shared.stopping() {
            break;
        }
        open.spawn(Arc::clone(&client).tick(shared.recorder.clock.at(at)));
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
}

impl ReferenceClient {
    /// One scheduled write.
    async fn tick(self: Arc<Self>, scheduled: Nanos) {
        let mut attempts = JoinSet::new();
        if self.searching.load(Ordering::Relaxed) {
            for index in 0..self.members.len() {
                attempts.spawn(Arc::clone(&self).attempt(index, scheduled));
            }
        } else {
            let good = self.good.load(Ordering::Relaxed);
            attempts.spawn(Arc::clone(&self).attempt(good, scheduled));
            let hedge = Duration::from_millis(self.shared.config.rates.hedge_ms);
            let by = tokio::time::Instant::now() + hedge;
            let acknowledged = timeout_at(by, attempts.join_next()).await;
            if !matches!(acknowledged, Ok(Some(Ok(true)))) {
                self.searching.store(true, Ordering::Relaxed);
                for index in (0..self.members.len()).filter(|index| *index != good) {
                    attempts.spawn(Arc::clone(&self).attempt(index, scheduled));
                }
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    /// One attempt at one member; true when it was acknowledged.
    async fn attempt(self: Arc<Self>, index: usize, scheduled: Nanos) -> bool {
        let client = self.pool.take();
        let attempt = unique_put(&self.shared, Route::DialAll, client, Some(scheduled));
        let outcome = attempt::held(&self.shared, &self.members[index], &attempt).await;
        self.pool.give(client);
        let acknowledged = matches!(outcome, Outcome::Ok { .. });
        if acknowledged {
            self.good.store(index, Ordering::Relaxed);
            self.searching.store(false, Ordering::Relaxed);
        }
        acknowledged
    }
}
