//! The open-loop writers through the leader service: what they miss is the gap.
//!
//! Each write has a key of its own, so that the end of the run shows every one that was acknowledged.

use std::{sync::Arc, time::Instant};

use etcd_history::{
    Request,
    record::{Nanos, Route},
};
use tokio::task::JoinSet;

use crate::{
    attempt::{self, Pool, Shared},
    recorder::Attempt,
    schedule::{Schedule, until},
};

/// One open-loop writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    /// The route it takes.
    pub(crate) route: Route,
    /// Writes a second.
    pub(crate) rate: f64,
    /// First of its client numbers.
    pub(crate) first_client: u32,
}

impl Writer {
    /// Writes through the service, if there is one, until the traffic ends; every write that left is waited for.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let (Some(service), Some(held)) = (shared.config.service.clone(), shared.held_service())
        else {
            return;
        };
        let (service, held) = (Arc::<str>::from(service), Arc::new(held));
        let pool = Arc::new(Pool::from(shared.recorder.client(self.first_client)));
        let Some(schedule) = Schedule::new(Instant::now(), self.rate) else {
            return;
        };
        let mut open = JoinSet::new();
        for n in 0.. {
            let at = schedule.at(n);
            until(at).await;
            if shared.stopping() {
                break;
            }
            let scheduled = shared.recorder.clock.at(at);
            let (shared, held, pool) = (Arc::clone(&shared), Arc::clone(&held), Arc::clone(&pool));
            let service = Arc::clone(&service);
            open.spawn(async move {
                let attempt = unique_put(&shared, self.route, pool.take(), Some(scheduled));
                if self.route == Route::ServiceFresh {
                    attempt::fresh(&shared, &service, &attempt).await;
                } else {
                    attempt::held(&shared, &held, &attempt).await;
                }
                pool.give(attempt.client);
            });
            while open.try_join_next().is_some() {}
        }
        while open.join_next().await.is_some() {}
    }
}

/// A put of a key that is written once in the run.
pub(crate) fn unique_put(
    shared: &Shared,
    route: Route,
    client: u32,
    scheduled: Option<Nanos>,
) -> Attempt {
    let op = shared.recorder.op();
    let word = match route {
        Route::ServiceHeld => "held",
        Route::ServiceFresh => "fresh",
        Route::DialAll => "all",
        Route::Member => "member",
    };
    let request = Request::Put {
        key: format!("{}w/{word}/{op:012}", shared.config.prefix),
        value: format!("c{client}-{op}"),
        lease: 0,
    };
    Attempt {
        op,
        client,
        route,
        scheduled,
        request,
    }
}
