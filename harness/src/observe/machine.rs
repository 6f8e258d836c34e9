//! How busy this host is in the course of a run, as records of its history.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use etcd_history::Record;
use etcd_history::record::{MachineSample, Nanos};
use machine::Sampler;

use super::now;

/// Samples until it is asked for what it saw.
#[derive(Debug)]
pub(crate) struct MachineLog {
    seen: Arc<Mutex<Vec<MachineSample>>>,
    sampler: Sampler,
}

impl MachineLog {
    /// Starts sampling, on this host's clock.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start() -> io::Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let samples = Arc::clone(&seen);
        let sink = move |sample| lock(&samples).push(sample);
        let sampler = Sampler::start("harness", || now(0), sink)?;
        Ok(Self { seen, sampler })
    }

    /// Stops. `offset` is what must be added to this host's clock to get the recording client's.
    pub(crate) fn finish(self, offset: Nanos) -> Vec<Record> {
        drop(self.sampler);
        let samples = std::mem::take(&mut *lock(&self.seen)).into_iter();
        let shifted = samples.map(|sample| MachineSample {
            t: sample.t + offset,
            ..sample
        });
        shifted.map(Record::Machine).collect()
    }
}

fn lock(samples: &Mutex<Vec<MachineSample>>) -> std::sync::MutexGuard<'_, Vec<MachineSample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}
