//! Progress lines: what is being done and how long it took. Talk goes to stderr; results go to stdout.

use std::time::{Duration, Instant};

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
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            quiet: false,
            phases: Vec::new(),
        }
    }

    /// Says nothing (a runner that has its own display).
    #[must_use]
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

    /// Runs one phase: says when it begins and how long it took.
    ///
    /// # Errors
    /// The phase's own, after saying how long it took to fail.
    pub async fn phase<T, E>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = Instant::now();
        self.say(&format!("{name} ..."));
        let result = work.await;
        let took = start.elapsed();
        let word = if result.is_ok() { "done" } else { "failed" };
        self.say(&format!("{name}: {word} in {:.1} s", took.as_secs_f64()));
        self.phases.push((name.to_owned(), took));
        result
    }

    /// The phases so far.
    #[must_use]
    pub fn phases(&self) -> &[(String, Duration)] {
        &self.phases
    }
}
