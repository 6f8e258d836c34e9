//! Progress lines: what is being done and how long it took. Talk goes to stderr; results go to stdout.

use std::time::{Duration, Instant};

use crate::cluster::took;
use crate::timeouts;
use crate::wait::telling;

/// Prints phases with their durations and remembers them, for the report wants them too.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    quiet: bool,
    phases: Vec<(String, Duration)>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Talks on stderr.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            quiet: false,
            phases: Vec::new(),
        }
    }

    /// Says nothing (a runner that has its own display).
    pub fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::new()
        }
    }

    /// Says something within a phase.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
        }
    }

    /// Runs one phase: says when it begins, every five seconds how far it is, and how long it took.
    ///
    /// # Errors
    /// The phase's own, after saying how long it took to fail.
    pub async fn phase<T, E>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = self.begin(name);
        let result = self.wait(name, work).await;
        if result.is_ok() {
            took::remember(name, start.elapsed());
        }
        self.end(name, start, result)
    }

    /// As [`Self::phase`], for a script below `images/`: that tells itself how far it is.
    ///
    /// # Errors
    /// The script's own.
    pub async fn script<T, E>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = self.begin(name);
        let result = work.await;
        self.end(name, start, result)
    }

    /// Waits for something that is usually there already: says so only when it takes long.
    pub async fn wait<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let last = took::last(name);
        let tell = |elapsed| self.say(&format!("{name}: {}", so_far(elapsed, last)));
        telling(timeouts::TELL, work, tell).await
    }

    fn begin(&self, name: &str) -> Instant {
        self.say(&format!("{name} ..."));
        Instant::now()
    }

    fn end<T, E>(&mut self, name: &str, start: Instant, result: Result<T, E>) -> Result<T, E> {
        let took = start.elapsed();
        let word = if result.is_ok() { "done" } else { "failed" };
        self.say(&format!("{name}: {word} in {:.1} s", took.as_secs_f64()));
        self.phases.push((name.to_owned(), took));
        result
    }

    /// The phases so far.
    pub fn phases(&self) -> &[(String, Duration)] {
        &self.phases
    }
}

/// Time gone by, and what is expected where that is known.
fn so_far(elapsed: Duration, last: Option<Duration>) -> String {
    let gone = elapsed.as_secs();
    match last {
        Some(last) => format!("{gone} s of about {}", last.as_secs()),
        None => format!("{gone} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_expected_of_what_was_never_seen() {
        let seconds = Duration::from_secs;
        assert_eq!(so_far(seconds(5), None), "5 s");
        assert_eq!(so_far(seconds(5), Some(seconds(40))), "5 s of about 40");
    }
}
