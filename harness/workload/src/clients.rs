//! The closed-loop clients: one operation at a time, of every kind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_history::{Outcome, record::Route};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    attempt::{self, Shared},
    connection::Held,
    mix::{Mix, Step},
    recorder::Attempt,
    schedule::until,
};

/// Runs one client until the traffic ends. Even ones hold their connection, odd ones dial for every operation.
pub(crate) async fn run(shared: Arc<Shared>, local: u32) {
    let client = shared.recorder.client(local);
    let config = &shared.config;
    let mut mix = Mix::new(config.seed, client, &config.prefix, &config.rates);
    let mut rng = StdRng::seed_from_u64(config.seed ^ u64::from(client));
    let service = shared.held_service();
    let members: Vec<Held> = config
        .members
        .iter()
        .map(|m| Held::new(Arc::clone(&shared.names), &m.address))
        .collect();
    if config.rates.client_rate <= 0.0 {
        return;
    }
    let spacing = Duration::from_secs_f64(1.0 / config.rates.client_rate);
    while !shared.stopping() {
        let next = Instant::now() + spacing;
        let op = shared.recorder.op();
        let Step { request, at_member } = mix.next(op);
        let route = match (at_member, local % 2) {
            (true, _) => Route::Member,
            (false, 0) => Route::ServiceHeld,
            (false, _) => Route::ServiceFresh,
        };
        let attempt = Attempt {
            op,
            client,
            route,
            scheduled: None,
            request,
        };
        let outcome = match route {
            Route::Member => {
                let member = &members[rng.random_range(0..members.len())];
                attempt::held(&shared, member, &attempt).await
            }
            Route::ServiceFresh => attempt::fresh(&shared, &config.service, &attempt).await,
            _ => attempt::held(&shared, &service, &attempt).await,
        };
        mix.learn(&attempt.request, &outcome);
        // A refused connection is refused again at once: without the pause a gap would be a busy loop.
        let idle = !matches!(outcome, Outcome::Ok { .. });
        until(if idle {
            next.max(Instant::now() + spacing)
        } else {
            next
        })
        .await;
    }
}
