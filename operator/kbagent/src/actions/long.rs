//! Work that may take longer than a caller waits: it continues, the view shows it, and the next caller joins it.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::outcome::{Failure, Success};
use crate::watch::Own;

/// How long a caller waits. Shorter than the operator's own limit of a call.
const PATIENCE: Duration = Duration::from_secs(3);

type End = Result<String, Failure>;

/// One kind of long work, once at a time.
pub(super) struct Long {
    name: &'static str,
    shown: watch::Sender<Own>,
    rest: Rest,
    state: Mutex<State>,
}

/// How long an end answers those who ask again, instead of another beginning.
#[derive(Clone, Copy, Default)]
pub(super) struct Rest {
    pub(super) after_success: Duration,
    pub(super) after_failure: Duration,
}

#[derive(Default)]
struct State {
    running: Option<JoinHandle<End>>,
    last: Option<(Instant, End)>,
}

impl Long {
    pub(super) fn new(name: &'static str, shown: watch::Sender<Own>, rest: Rest) -> Self {
        Self {
            name,
            shown,
            rest,
            state: Mutex::default(),
        }
    }

    /// Begins `work` when `may` allows it, or joins what is under way.
    pub(super) async fn run(
        &self,
        may: impl Future<Output = Result<(), Failure>>,
        work: impl Future<Output = End> + Send + 'static,
    ) -> Result<Success, Failure> {
        let mut state = self.state.lock().await;
        let ended = state.running.as_ref().is_some_and(JoinHandle::is_finished);
        if let Some(task) = state.running.take_if(|_| ended) {
            // It ended while no caller waited: this one gets its result.
            let end = flat(task.await);
            state.last = Some((Instant::now(), end.clone()));
            return told(end);
        }
        if state.running.is_none() {
            if let Some(end) = self.recent(&state) {
                return told(end);
            }
            may.await?;
            let shown = Shown::new(self.shown.clone(), self.name);
            state.running = Some(tokio::spawn(async move {
                let _shown = shown;
                work.await
            }));
        }
        let Some(task) = state.running.as_mut() else {
            return Err(Failure::Failed(format!("{} did not begin", self.name)));
        };
        let Ok(end) = tokio::time::timeout(PATIENCE, task).await else {
            let text = format!("{} is in progress: ask again", self.name);
            return Err(Failure::InProgress(text));
        };
        let end = flat(end);
        state.running = None;
        state.last = Some((Instant::now(), end.clone()));
        told(end)
    }

    fn recent(&self, state: &State) -> Option<End> {
        let (at, end) = state.last.as_ref()?;
        let rest = match end {
            Ok(_) => self.rest.after_success,
            Err(_) => self.rest.after_failure,
        };
        // No figure: the operator puts the text on record, and writes the record when it changes (C6).
        let again =
            |failure: Failure| Failure::Failed(format!("{failure}; it is tried again later"));
        (at.elapsed() < rest).then(|| end.clone().map_err(again))
    }
}

/// Shows the work while it runs, however it ends.
struct Shown(watch::Sender<Own>);

impl Shown {
    fn new(shown: watch::Sender<Own>, name: &'static str) -> Self {
        shown.send_modify(|own| own.under_way = Some(name));
        Self(shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.send_modify(|own| own.under_way = None);
    }
}

fn flat(end: Result<End, tokio::task::JoinError>) -> End {
    end.unwrap_or_else(|error| Err(Failure::Failed(format!("the action ended early: {error}"))))
}

fn told(end: End) -> Result<Success, Failure> {
    end.map(|text| Success::text(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn may() -> Result<(), Failure> {
        Ok(())
    }

    async fn ends(after: Duration, end: End) -> End {
        tokio::time::sleep(after).await;
        end
    }

    fn well() -> impl Future<Output = End> + Send + 'static {
        ends(Duration::ZERO, Ok("done".to_owned()))
    }

    fn wrong() -> Failure {
        Failure::Failed("no space".to_owned())
    }

    fn long() -> (Long, watch::Receiver<Own>) {
        let (shown, seen) = watch::channel(Own::default());
        let rest = Rest {
            after_success: SECOND * 60,
            after_failure: SECOND * 600,
        };
        (Long::new("work", shown, rest), seen)
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_goes_on_is_seen_and_is_joined() {
        let (long, seen) = long();
        let first = long.run(may(), ends(SECOND * 5, well().await)).await;
        assert!(matches!(first, Err(Failure::InProgress(_))));
        assert_eq!(seen.borrow().under_way, Some("work"));
        let second = ends(Duration::ZERO, Err(wrong()));
        assert!(long.run(may(), second).await.is_ok(), "a second one began");
        assert_eq!(seen.borrow().under_way, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_answers_for_a_while_and_then_another_begins() {
        let (long, _seen) = long();
        assert!(long.run(may(), well()).await.is_ok());
        let no = async { Err(Failure::Precondition("not now".to_owned())) };
        assert!(long.run(no, well()).await.is_ok(), "it has just ended");
        tokio::time::advance(SECOND * 60).await;
        let no = async { Err(Failure::Precondition("not now".to_owned())) };
        assert!(long.run(no, well()).await.is_err(), "another would begin");
        let failing = ends(Duration::ZERO, Err(wrong()));
        assert!(long.run(may(), failing).await.is_err());
        for seconds in [1, 598] {
            tokio::time::advance(SECOND * seconds).await;
            let told = long.run(may(), well()).await.err();
            let told = told.map(|failure| failure.to_string());
            assert_eq!(told.as_deref(), Some("no space; it is tried again later"));
        }
        tokio::time::advance(SECOND).await;
        assert!(long.run(may(), well()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_waited_for_is_told_to_the_next() {
        let (long, seen) = long();
        let first = long.run(may(), ends(SECOND * 5, Err(wrong()))).await;
        assert!(matches!(first, Err(Failure::InProgress(_))));
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(seen.borrow().under_way, None);
        assert_eq!(long.run(may(), well()).await.err(), Some(wrong()));
    }
}
