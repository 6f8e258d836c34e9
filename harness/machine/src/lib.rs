//! How busy this machine is, sampled ten times a second on a thread of its own, so that only the kernel's scheduler
//! makes it late. The samples go into the history of a run: what they mean is decided there.

mod kernel;

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use etcd_history::record::{MachineSample, Nanos};

use crate::kernel::Counters;

/// Spacing of the samples.
const PERIOD: Duration = Duration::from_millis(100);

/// A thread that samples until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts sampling. `source` names this process, `now` is the clock of the records, `sink` takes them.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        source: &str,
        now: impl Fn() -> Nanos + Send + 'static,
        mut sink: impl FnMut(MachineSample) + Send + 'static,
    ) -> io::Result<Self> {
        let source = source.to_owned();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("machine".to_owned());
        let thread = thread.spawn(move || {
            let mut before = (Instant::now(), Counters::read());
            loop {
                let due = before.0 + PERIOD;
                let wait = due.saturating_duration_since(Instant::now());
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                let awake = Instant::now();
                let t = now();
                let counters = Counters::read();
                sink(MachineSample {
                    t,
                    source: source.clone(),
                    interval: nanos(awake.duration_since(before.0)),
                    late: nanos(awake.saturating_duration_since(due)),
                    waiting: counters.waiting_since(&before.1),
                    stolen: counters.stolen_since(&before.1),
                    idle: counters.idle_since(&before.1),
                    processors: counters.processors(),
                    runnable: counters.runnable(),
                    delayed: counters.delayed_since(&before.1),
                    disk: counters.disk_since(&before.1),
                });
                before = (awake, counters);
            }
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_each_other_without_a_hole() {
        let (send, samples) = mpsc::channel();
        let begin = Instant::now();
        let clock = move || nanos(begin.elapsed());
        let sampler = Sampler::start("test", clock, move |sample| {
            let _ = send.send(sample);
        })
        .expect("a thread");
        let taken: Vec<MachineSample> = samples.iter().take(4).collect();
        drop(sampler);
        // Ends only when the thread has ended.
        let _left = samples.iter().count();
        for pair in taken.windows(2) {
            assert!(pair[0].t < pair[1].t);
            assert!(pair[1].interval >= nanos(PERIOD), "never early");
            assert_eq!(pair[1].late, pair[1].interval - nanos(PERIOD));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_its_processors_and_what_runs() {
        let counters = Counters::read();
        assert!(counters.processors().is_some_and(|count| count > 0));
        assert!(counters.runnable().is_some_and(|count| count > 0));
        assert_eq!(counters.stolen_since(&counters), Some(0));
        assert_eq!(counters.idle_since(&counters), Some(0));
        assert_eq!(counters.delayed_since(&counters), Some(0));
    }
}
