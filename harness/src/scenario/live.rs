//! What is going on, for whoever looks on: a line a step, with the seconds since the run began.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Live {
    begin: Instant,
    loud: bool,
    kept: Arc<Mutex<Vec<String>>>,
}

impl Live {
    /// Lines go to standard error at once.
    #[must_use]
    pub fn loud() -> Self {
        Self {
            begin: Instant::now(),
            loud: true,
            kept: Arc::default(),
        }
    }

    /// Lines are only kept, for the run directory and for a failure's message.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            loud: false,
            ..Self::loud()
        }
    }

    /// The same voice for a new run: its clock begins now and nothing is kept yet.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            loud: self.loud,
            ..Self::loud()
        }
    }

    /// Says a line.
    pub fn say(&self, line: impl AsRef<str>) {
        let line = format!("{:>6.1}s  {}", self.seconds(), line.as_ref());
        if self.loud {
            eprintln!("{line}");
        }
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Everything that was said.
    #[must_use]
    pub fn text(&self) -> String {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
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
}
