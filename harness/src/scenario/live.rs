//! Progress for the user: a line a step, with the seconds since the run began.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::timeouts;
use crate::wait::pause;

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Live {
    begin: Instant,
    loud: bool,
    kept: Arc<Mutex<Kept>>,
}

/// What was said.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    /// When something was said last.
    last: f64,
    /// What is being done, and since when.
    doing: String,
    since: f64,
    /// True while lines wait to be said, so that they do not stand among those of another run.
    held: bool,
    /// Seconds until they were.
    ahead: f64,
}

impl Live {
    /// Lines go to standard error at once.
    pub fn loud() -> Self {
        Self {
            begin: Instant::now(),
            loud: true,
            kept: Arc::default(),
        }
    }

    /// Lines are only kept, for the run directory and for a failure's message.
    pub fn quiet() -> Self {
        Self {
            loud: false,
            ..Self::loud()
        }
    }

    /// Keeps its lines back until [`Self::release`].
    #[must_use]
    pub fn held(self) -> Self {
        self.kept().held = true;
        self
    }

    /// Says what was kept back; from now on lines go out at once.
    pub fn release(&self) {
        let mut kept = self.kept();
        if !kept.held {
            return;
        }
        kept.held = false;
        kept.ahead = self.seconds();
        if self.loud {
            eprintln!("{}", kept.lines.join("\n"));
        }
    }

    /// Seconds that lines were kept back from the beginning on.
    pub fn ahead_seconds(&self) -> f64 {
        self.kept().ahead
    }

    /// The same voice for a new run: its clock begins now and nothing is kept yet.
    pub fn anew(&self) -> Self {
        Self {
            loud: self.loud,
            ..Self::loud()
        }
    }

    /// Says a line.
    pub fn say(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        let now = self.put(line);
        let mut kept = self.kept();
        line.clone_into(&mut kept.doing);
        kept.since = now;
    }

    /// Does work and, whenever nothing was said for five seconds, says that it is still at work.
    pub async fn telling<T>(&self, work: impl Future<Output = T>) -> T {
        self.telling_after(timeouts::TELL, work).await
    }

    async fn telling_after<T>(&self, silence: Duration, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let silent = self.seconds() - self.kept().last;
            let rest = silence.saturating_sub(Duration::from_secs_f64(silent.max(0.0)));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = pause(rest) => {}
            }
            self.tell_on(silence);
        }
    }

    /// Says what is in progress unless something was said.
    fn tell_on(&self, silence: Duration) {
        let (now, kept) = (self.seconds(), self.kept());
        if now - kept.last < silence.as_secs_f64() {
            return;
        }
        let line = format!("   {:.0} s since: {}", now - kept.since, kept.doing.trim());
        drop(kept);
        self.put(&line);
    }

    fn put(&self, line: &str) -> f64 {
        let now = self.seconds();
        let line = format!("{now:>6.1}s  {line}");
        let mut kept = self.kept();
        if self.loud && !kept.held {
            eprintln!("{line}");
        }
        kept.last = now;
        kept.lines.push(line);
        now
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Everything that was said.
    pub fn text(&self) -> String {
        self.kept().lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_begins_with_an_empty_page() {
        let live = Live::quiet();
        live.say("first");
        let next = live.anew();
        next.say("second");
        assert!(live.text().contains("first") && !next.text().contains("first"));
    }

    #[tokio::test]
    async fn lines_before_its_turn_are_kept_and_their_time_is_told() {
        let live = Live::quiet().held();
        live.say("setting up");
        assert!(live.ahead_seconds() < f64::EPSILON, "its turn has not come");
        let same = live.clone();
        pause(Duration::from_millis(5)).await;
        same.release();
        let ahead = live.ahead_seconds();
        assert!(ahead > 0.0);
        same.release();
        assert!((live.ahead_seconds() - ahead).abs() < f64::EPSILON, "once");
        assert!(live.text().contains("setting up"));
        assert!(live.anew().ahead_seconds() < f64::EPSILON);
    }

    #[tokio::test]
    async fn only_silence_is_told_of() {
        let live = Live::quiet();
        live.say("setting up");
        assert_eq!(live.telling(async { 7 }).await, 7);
        let told = async {
            while live.text().lines().count() < 2 {
                pause(Duration::from_millis(5)).await;
            }
        };
        let telling = live.telling_after(Duration::from_millis(50), told);
        let guard = Duration::from_secs(60);
        let ended = tokio::time::timeout(guard, telling).await;
        let text = live.text();
        assert!(ended.is_ok(), "{text}");
        assert!(text.ends_with(" s since: setting up"), "{text}");
    }
}
