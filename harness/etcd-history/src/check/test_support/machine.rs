//! What the machine was like in a story.

use super::{Story, ms};
use crate::record::{MachineSample, Record};

/// What a process saw of the machine in the 100 ms before a time; in milliseconds.
fn machine(source: &str, t: i64, late: i64, waiting: i64) -> Record {
    Record::Machine(MachineSample {
        t: ms(t),
        source: source.into(),
        interval: ms(100 + late),
        late: ms(late),
        waiting: Some(ms(waiting)),
        stolen: None,
        idle: None,
        processors: None,
        runnable: None,
        delayed: None,
        disk: None,
    })
}

impl Story {
    /// A machine on which a process waits for a processor all the time between two times.
    pub(crate) fn busy(mut self, from: i64, to: i64) -> Self {
        for t in (from / 100 + 1)..=(to / 100) {
            self.add(machine("harness", t * 100, 0, 100));
        }
        self
    }

    /// Two processors on which so many processes are ready between two times.
    pub(crate) fn queued(mut self, from: i64, to: i64, runnable: u32) -> Self {
        for t in (from / 100 + 1)..=(to / 100) {
            let mut record = machine("harness", t * 100, 0, 60);
            if let Record::Machine(sample) = &mut record {
                (sample.processors, sample.runnable) = (Some(2), Some(runnable));
            }
            self.add(record);
        }
        self
    }

    /// Some process waits for a disk for so many milliseconds of each 100 between two times.
    pub(crate) fn disk_busy(mut self, from: i64, to: i64, waits: i64) -> Self {
        for t in (from / 100 + 1)..=(to / 100) {
            let mut record = machine("harness", t * 100, 0, 0);
            if let Record::Machine(sample) = &mut record {
                sample.disk = Some(ms(waits));
            }
            self.add(record);
        }
        self
    }

    /// A timer of the recording client that was late.
    pub(crate) fn client_late(mut self, t: i64, late: i64) -> Self {
        self.add(machine("workload", t, late, 0));
        self
    }
}
