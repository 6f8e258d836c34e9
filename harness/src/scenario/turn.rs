//! When a run may continue after its set-up. A suite sets up the cluster of one run while the run before is judged;
//! that run's traffic and faults wait for their turn, and when it does not come the cluster is deleted again.

use tokio::sync::watch;

/// Whether the turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotYet,
    Now,
    Never,
}

/// The turn of a run.
#[derive(Clone, Debug)]
pub struct Turn {
    state: watch::Receiver<State>,
}

/// Who gives a run its turn. If it is dropped, the turn never comes.
#[derive(Debug)]
pub struct TurnGiver {
    state: watch::Sender<State>,
}

impl Turn {
    /// Now.
    pub fn now() -> Self {
        // A value outlives its sender.
        Self {
            state: watch::channel(State::Now).1,
        }
    }

    /// When the giver says so.
    pub fn later() -> (TurnGiver, Self) {
        let (sender, state) = watch::channel(State::NotYet);
        let giver = TurnGiver { state: sender };
        (giver, Self { state })
    }

    /// Waits for it; false when it will never come.
    pub async fn comes(&self) -> bool {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| *state != State::NotYet).await;
        decided.is_ok_and(|state| *state == State::Now)
    }
}

impl TurnGiver {
    /// It is this run's turn.
    pub fn give(self) {
        self.state.send_replace(State::Now);
    }
}

impl Drop for TurnGiver {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            let undecided = *state == State::NotYet;
            if undecided {
                *state = State::Never;
            }
            undecided
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_it_is_given_and_not_before() {
        assert!(Turn::now().comes().await);
        let (giver, turn) = Turn::later();
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), turn.comes()).await;
        assert!(early.is_err(), "it came before it was given");
        giver.give();
        assert!(turn.comes().await);
        assert!(turn.comes().await, "it stays");
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_never_comes() {
        let (giver, turn) = Turn::later();
        let waiting = tokio::spawn(async move { turn.comes().await });
        drop(giver);
        assert!(!waiting.await.expect("an end"));
    }
}
