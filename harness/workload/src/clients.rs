//! The closed-loop clients: one operation at a time, of every kind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_history::{
    Outcome, Request,
    record::{OpId, Route},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    attempt::{self, Shared},
    connection::Held,
    locks::{Holder, Prize},
    mix::{Mix, Step},
    objects::Keeper,
    recorder::Attempt,
    schedule::until,
};

/// The route of a client's operation. Without a service members take all of them.
fn route(through_service: bool, local: u32) -> Route {
    match (through_service, local % 2) {
        (false, _) => Route::Member,
        (true, 0) => Route::ServiceHeld,
        (true, _) => Route::ServiceFresh,
    }
}

/// The number of the member that a client asks.
fn choose(pinned: bool, local: u32, members: usize, rng: &mut StdRng) -> usize {
    if pinned {
        return usize::try_from(local).unwrap_or_default() % members;
    }
    rng.random_range(0..members)
}

/// Number of the first client that takes locks.
const FIRST_HOLDER: u32 = 5000;
/// Number of the first client that keeps objects.
const FIRST_KEEPER: u32 = 6000;

/// What decides on the next request, from the answers so far.
trait Asks {
    fn next(&mut self, op: OpId) -> Step;
    fn learn(&mut self, request: &Request, outcome: &Outcome);
}

impl Asks for Mix {
    fn next(&mut self, op: OpId) -> Step {
        self.next(op)
    }

    fn learn(&mut self, request: &Request, outcome: &Outcome) {
        self.learn(request, outcome);
    }
}

impl Asks for Holder {
    fn next(&mut self, op: OpId) -> Step {
        self.next(op)
    }

    fn learn(&mut self, request: &Request, outcome: &Outcome) {
        self.learn(request, outcome);
    }
}

impl Asks for Keeper {
    fn next(&mut self, op: OpId) -> Step {
        self.next(op)
    }

    fn learn(&mut self, request: &Request, outcome: &Outcome) {
        self.learn(request, outcome);
    }
}

/// Runs one client of the mix until the traffic ends.
pub(crate) async fn run(shared: Arc<Shared>, local: u32) {
    let client = shared.recorder.client(local);
    let config = &shared.config;
    let mix = Mix::new(config.seed, client, &config.prefix, &config.rates);
    Box::pin(ask(&shared, local, mix)).await;
}

/// Runs one client that takes locks, or stands in elections.
pub(crate) async fn hold(shared: Arc<Shared>, number: u32) {
    let client = shared.recorder.client(FIRST_HOLDER + number);
    let config = &shared.config;
    let prize = if number.is_multiple_of(2) {
        Prize::Lock
    } else {
        Prize::Election
    };
    let holder = Holder::new(config.seed, client, &config.prefix, prize);
    Box::pin(ask(&shared, FIRST_HOLDER + number, holder)).await;
}

/// Runs one client that keeps objects.
pub(crate) async fn keep(shared: Arc<Shared>, number: u32) {
    let client = shared.recorder.client(FIRST_KEEPER + number);
    let config = &shared.config;
    let keeper = Keeper::new(config.seed, client, &config.prefix);
    Box::pin(ask(&shared, FIRST_KEEPER + number, keeper)).await;
}

/// Asks until the traffic ends. Even clients hold their connection, odd ones dial for every operation.
async fn ask(shared: &Arc<Shared>, local: u32, mut asks: impl Asks) {
    let client = shared.recorder.client(local);
    let config = &shared.config;
    let mut rng = StdRng::seed_from_u64(config.seed ^ u64::from(client));
    let service = shared.held_service();
    let members: Vec<Held> = config
        .members
        .iter()
        .map(|m| Held::new(Arc::clone(&shared.reach), &m.address))
        .collect();
    if config.rates.client_rate <= 0.0 {
        return;
    }
    let spacing = Duration::from_secs_f64(1.0 / config.rates.client_rate);
    while !shared.stopping() {
        let next = Instant::now() + spacing;
        let op = shared.recorder.op();
        let Step { request, at_member } = asks.next(op);
        let route = route(config.service.is_some() && !at_member, local);
        let attempt = Attempt {
            op,
            client,
            route,
            scheduled: None,
            request,
        };
        let outcome = match (route, &config.service, &service) {
            (Route::ServiceFresh, Some(name), _) => attempt::fresh(shared, name, &attempt).await,
            (Route::ServiceHeld, _, Some(service)) => {
                attempt::held(shared, service, &attempt).await
            }
            _ => {
                let number = choose(config.rates.pinned, local, members.len(), &mut rng);
                let member = &members[number];
                attempt::held(shared, member, &attempt).await
            }
        };
        asks.learn(&attempt.request, &outcome);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_client_asks_one_member_and_together_they_ask_all() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut asked = |pinned, local| -> Vec<usize> {
            (0..50)
                .map(|_| choose(pinned, local, 3, &mut rng))
                .collect()
        };
        for local in 0..6 {
            assert_eq!(asked(true, local), vec![local as usize % 3; 50]);
        }
        assert!((0..3).all(|member| asked(false, 0).contains(&member)));
    }

    #[test]
    fn no_operation_is_recorded_on_the_route_of_a_service_that_is_not_there() {
        for local in 0..4 {
            assert_eq!(route(false, local), Route::Member);
            assert_ne!(route(true, local), Route::Member);
        }
    }
}
