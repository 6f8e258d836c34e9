//! One recorded attempt of an operation over one route.
//!
//! Exactly one attempt an operation: a request that may have left is never sent again. A request that certainly has
//! not left - the held connection was closed when it came to it - may go out on a new connection within its deadline,
//! and so may one that etcd has refused because of who asked, as etcd's own client does.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use etcd_client::Client;
use etcd_history::{Outcome, Request};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until, timeout_at},
};

use crate::{
    classify::{BeforeSend, LOG_IN_AGAIN, Meaning},
    config::Config,
    connection::{DIAL, Held, dial},
    execute,
    reach::Reach,
    recorder::{Attempt, Recorder},
};

/// Least time from one dial to the next.
const DIAL_PAUSE: Duration = Duration::from_millis(10);

/// What all clients of the process share.
pub(crate) struct Shared {
    /// The configuration.
    pub(crate) config: Config,
    /// The history.
    pub(crate) recorder: Recorder,
    /// How clients reach the cluster.
    pub(crate) reach: Arc<Reach>,
    /// How members are asked what only an administrator is told.
    pub(crate) admin: Arc<Reach>,
    /// True once the traffic is to end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Shared {
    /// True once the traffic is to end.
    pub(crate) fn stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// A connection through the leader service, held as the configuration says; none where there is no service.
    pub(crate) fn held_service(&self) -> Option<Held> {
        let service = self.config.service.as_deref()?;
        let mut held = Held::new(Arc::clone(&self.reach), service);
        held.redials_on_deadline = self.config.held_redials_on_deadline;
        Some(held)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.deadline()
    }
}

/// Sends on a connection of its own, which is dialled until the deadline as etcd's own client does: nothing is sent
/// before there is one, so dialling again repeats nothing.
pub(crate) async fn fresh(shared: &Shared, name: &str, attempt: &Attempt) -> Outcome {
    shared.recorder.call(attempt);
    let deadline = shared.deadline();
    let outcome = loop {
        let started = Instant::now();
        match dial(&shared.reach, name, deadline.min(started + DIAL)).await {
            Ok(mut client) => {
                let outcome = sent(shared, &mut client, (&attempt.request, deadline)).await;
                if !repeats_nothing(&outcome) || Instant::now() >= deadline {
                    break outcome;
                }
            }
            Err(error) if Instant::now() >= deadline => break error.outcome(),
            Err(_) => {}
        }
        sleep_until(deadline.min(started + DIAL_PAUSE)).await;
    };
    shared.recorder.returned(attempt, &outcome);
    outcome
}

/// Sends on a held connection, and gives that connection up when the outcome says that it is of no use.
pub(crate) async fn held(shared: &Shared, held: &Held, attempt: &Attempt) -> Outcome {
    shared.recorder.call(attempt);
    let deadline = shared.deadline();
    let outcome = loop {
        let (number, mut client) = match held.get(deadline).await {
            Ok(connection) => connection,
            Err(error) if Instant::now() >= deadline => break error.outcome(),
            Err(_) => {
                sleep_until(deadline.min(Instant::now() + DIAL_PAUSE)).await;
                continue;
            }
        };
        let outcome = sent(shared, &mut client, (&attempt.request, deadline)).await;
        if unsent(&outcome) || useless(&outcome, held.redials_on_deadline) {
            held.give_up(number).await;
        }
        if !repeats_nothing(&outcome) || Instant::now() >= deadline {
            break outcome;
        }
        if refused_for_login(&outcome) {
            sleep_until(deadline.min(Instant::now() + DIAL_PAUSE)).await;
        }
    };
    shared.recorder.returned(attempt, &outcome);
    outcome
}

async fn sent(
    shared: &Shared,
    client: &mut Client,
    (request, deadline): (&Request, Instant),
) -> Outcome {
    let compares = shared.config.rates.compares;
    match timeout_at(deadline, execute::send(client, request, compares)).await {
        Ok(outcome) => outcome,
        Err(elapsed) => Meaning::Unknown("deadline").outcome(elapsed.to_string()),
    }
}

fn unsent(outcome: &Outcome) -> bool {
    let Meaning::Definite(closed) = BeforeSend::Closed.meaning() else {
        return false;
    };
    matches!(outcome, Outcome::Failed { class, .. } if class == closed)
}

/// True when it may be sent once more within its deadline.
fn repeats_nothing(outcome: &Outcome) -> bool {
    unsent(outcome) || refused_for_login(outcome)
}

/// True when etcd has refused who asked, and not what: a token that it does not know, or users that have just changed.
fn refused_for_login(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { class, .. } if LOG_IN_AGAIN.contains(&class.as_str()))
}

/// True when the connection and not etcd has failed.
fn useless(outcome: &Outcome, on_deadline: bool) -> bool {
    let Outcome::Unknown { class, .. } = outcome else {
        return false;
    };
    match class.as_str() {
        "deadline" => on_deadline,
        "connection_lost" | "unavailable" | "cancelled" | "unclassified" => true,
        _ => false,
    }
}

/// Client numbers for operations that overlap: a number has one operation open at a time.
#[derive(Debug)]
pub(crate) struct Pool {
    base: u32,
    busy: Mutex<BTreeSet<u32>>,
}

impl Pool {
    /// Numbers from `base` on.
    pub(crate) fn from(base: u32) -> Self {
        Self {
            base,
            busy: Mutex::new(BTreeSet::new()),
        }
    }

    /// Takes the lowest free number.
    pub(crate) fn take(&self) -> u32 {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (self.base..)
            .find(|number| !busy.contains(number))
            .unwrap_or(self.base);
        busy.insert(free);
        free
    }

    /// Gives a number back.
    pub(crate) fn give(&self, number: u32) {
        self.busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_not_taken_twice_at_once() {
        let pool = Pool::from(100);
        let (a, b) = (pool.take(), pool.take());
        assert_eq!((a, b), (100, 101));
        pool.give(a);
        assert_eq!(pool.take(), 100);
    }

    #[test]
    fn etcds_own_refusals_keep_the_connection() {
        let outcome = |class: &str| Outcome::Unknown {
            class: class.into(),
            message: String::new(),
        };
        assert!(useless(&outcome("connection_lost"), false));
        assert!(useless(&outcome("deadline"), true));
        assert!(!useless(&outcome("deadline"), false));
        assert!(!useless(&outcome("etcd_timeout"), true));
        assert!(unsent(&BeforeSend::Closed.meaning().outcome("")));
        assert!(!unsent(&BeforeSend::Refused.meaning().outcome("")));
        for class in LOG_IN_AGAIN {
            let refused = Meaning::Definite(class).outcome("");
            assert!(repeats_nothing(&refused) && !unsent(&refused), "{class}");
        }
        assert!(!repeats_nothing(
            &Meaning::Definite("no_leader").outcome("")
        ));
        assert!(!repeats_nothing(&outcome("unauthenticated")));
    }
}
