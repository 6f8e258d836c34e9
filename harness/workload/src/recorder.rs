//! The history file: one line a record, in the kernel before the request leaves.
//!
//! A line is one `write(2)`, so that what a killed process had recorded is in the file. A restarted process appends to
//! the same file: a line that was cut off is removed, a new start is recorded, and numbers of operations and clients
//! continue in a range of their own, because calls that the dead process left open may still happen.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use etcd_history::{
    History, Outcome, Record, Request,
    history::write_header,
    record::{Call, Nanos, OpId, Return, Route},
};

use crate::{clock::Clock, judge::Judge, progress::Progress};

/// Operation numbers that one process has for itself.
const OPERATIONS: OpId = 1_000_000_000;
/// Where the numbers of a process that joins another one begin.
const JOINED: OpId = 900_000_000;
/// Client numbers that one process has for itself.
const CLIENTS: u32 = 10_000;

/// Writes records; shared by all clients of the process.
#[derive(Debug)]
pub(crate) struct Recorder {
    sink: Mutex<Sink>,
    /// The one clock.
    pub(crate) clock: Clock,
    /// Counters for the progress line.
    pub(crate) progress: Progress,
    next: AtomicU64,
    generation: u32,
}

/// Where a record goes, in one order.
#[derive(Debug)]
struct Sink {
    file: File,
    /// Absent where there is none, and when it takes no more.
    judge: Option<Judge>,
}

/// An operation that is about to be attempted.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its number.
    pub(crate) op: OpId,
    /// The client.
    pub(crate) client: u32,
    /// The route.
    pub(crate) route: Route,
    /// When the schedule wanted it; `None` for closed-loop clients.
    pub(crate) scheduled: Option<Nanos>,
    /// What is asked.
    pub(crate) request: Request,
}

impl Recorder {
    /// Opens the file, mends its end and counts the processes that wrote to it before. `judged`: what is recorded is
    /// judged as it comes.
    pub(crate) fn open(path: &Path, judged: bool) -> io::Result<Self> {
        let file = append(path)?;
        let text = std::fs::read(path)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        if whole == 0 {
            write_header(&file)?;
        }
        let before = History::read(&text[..whole]).map_err(io::Error::other)?;
        let generation = starts(&before);
        let next = OpId::from(generation) * OPERATIONS + 1;
        let mut recorder = Self::new((file, Clock::of(path)?), generation, next);
        if judged {
            let judge = Judge::start(before.records, recorder.progress.said())?;
            let sink = recorder
                .sink
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            sink.judge = Some(judge);
        }
        Ok(recorder)
    }

    /// Opens the file beside the process that writes to it, whose clock it continues. It is appended to and never
    /// mended.
    pub(crate) fn join(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let text = std::fs::read(path)?;
        let before = History::read(text.as_slice()).map_err(io::Error::other)?;
        let generation = starts(&before).saturating_sub(1);
        let first = OpId::from(generation) * OPERATIONS + JOINED;
        let used = before.records.iter().filter_map(|record| match record {
            Record::Call(call) => Some(call.op + 1),
            _ => None,
        });
        Ok(Self::new(
            (file, Clock::joined(path)?),
            generation,
            used.max().unwrap_or(0).max(first),
        ))
    }

    fn new((file, clock): (File, Clock), generation: u32, next: OpId) -> Self {
        Self {
            sink: Mutex::new(Sink { file, judge: None }),
            clock,
            progress: Progress::default(),
            next: AtomicU64::new(next),
            generation,
        }
    }

    /// A number for a new operation.
    pub(crate) fn op(&self) -> OpId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a client of this process.
    pub(crate) fn client(&self, local: u32) -> u32 {
        self.generation
            .saturating_mul(CLIENTS)
            .saturating_add(local)
    }

    /// Writes one record.
    ///
    /// Ends the process when the file cannot be written: a request that is not recorded must not leave.
    pub(crate) fn record(&self, record: &Record) {
        if let Err(reason) = self.write(record) {
            eprintln!("failed to write the history: {reason}");
            std::process::exit(70);
        }
    }

    fn write(&self, record: &Record) -> Result<(), String> {
        let mut line = serde_json::to_vec(record).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = sink.file.write_all(&line) {
            let written = sink.file.metadata().map_or(0, |file| file.len());
            return Err(unwritten(&error, written));
        }
        if sink.judge.as_ref().is_some_and(|judge| !judge.feed(record)) {
            sink.judge = None;
        }
        Ok(())
    }

    /// What is recorded from now on is judged with the whole run alone.
    pub(crate) fn end_judging(&self) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.judge = None;
    }

    /// True while what is recorded is judged as it comes.
    #[cfg(test)]
    pub(crate) fn judged(&self) -> bool {
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.judge.is_some()
    }

    /// Records that an operation is about to leave; returns the time recorded.
    pub(crate) fn call(&self, attempt: &Attempt) -> Nanos {
        let t = self.clock.now();
        self.record(&Record::Call(Call {
            t,
            op: attempt.op,
            client: attempt.client,
            route: attempt.route,
            scheduled: attempt.scheduled.unwrap_or(t),
            request: attempt.request.clone(),
        }));
        t
    }

    /// Records how it ended.
    pub(crate) fn returned(&self, attempt: &Attempt, outcome: &Outcome) {
        let t = self.clock.now();
        self.record(&Record::Return(Return {
            t,
            op: attempt.op,
            outcome: outcome.clone(),
        }));
        self.progress.count(attempt.route, outcome);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Processes that have written to the file as the main one.
fn starts(history: &History) -> u32 {
    let starts = history
        .records
        .iter()
        .filter(|r| matches!(r, Record::Start { .. }))
        .count();
    u32::try_from(starts).unwrap_or(u32::MAX)
}

/// Why a line was not written, after so many bytes of history.
fn unwritten(error: &io::Error, written: u64) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
            "its volume is full, with {} MiB of history; the run is too long for its load ({error})",
            written >> 20
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(recorder: &Recorder) -> Attempt {
        Attempt {
            op: recorder.op(),
            client: recorder.client(3),
            route: Route::ServiceHeld,
            scheduled: None,
            request: Request::LeaseRevoke { id: 9 },
        }
    }

    const HOUR: Nanos = 3_600_000_000_000;

    #[test]
    fn a_full_volume_is_named() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let recorder = Recorder::new((file, Clock::anchored()), 0, 1);
        let refused = recorder.write(&Record::Phase {
            t: 1,
            name: "ready".into(),
        });
        let reason = refused.unwrap_err();
        assert!(
            reason.starts_with("its volume is full, with 0 MiB"),
            "{reason}"
        );
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!unwritten(&other, 7).contains("full"));
    }

    #[test]
    fn a_restart_mends_the_file_and_takes_new_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let first = Recorder::open(&path, false).unwrap();
        first.record(&Record::Start {
            t: 1,
            incarnation: 1,
            config: serde_json::Value::Null,
        });
        let one = attempt(&first);
        first.call(&one);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"type\":\"ret").unwrap();

        let second = Recorder::open(&path, true).unwrap();
        let two = attempt(&second);
        second.call(&two);
        second.returned(
            &two,
            &Outcome::Unknown {
                class: "deadline".into(),
                message: "".into(),
            },
        );

        let text = std::fs::read(&path).unwrap();
        assert!(text.starts_with(b"{\"type\":\"format\""));
        let history = History::read(text.as_slice()).unwrap();
        assert_eq!(
            history.records.len(),
            4,
            "the torn line is gone, the rest is there"
        );
        assert_eq!(second.generation, 1);
        assert!(
            two.op > OPERATIONS && one.op < OPERATIONS,
            "operation numbers never meet"
        );
        assert_ne!(
            one.client, two.client,
            "a dead client's open call is not the new client's"
        );

        let third = Recorder::join(&path).unwrap();
        let three = attempt(&third);
        third.call(&three);
        assert!(three.op > two.op, "a joined process has numbers of its own");
        assert!(
            Recorder::join(&path).unwrap().op() > three.op,
            "and so has the next one"
        );

        // Its time is that of the process that records, wherever the wall clock is: here an hour behind it.
        let kept = path.with_extension("clock");
        let text = std::fs::read_to_string(&kept).unwrap();
        let mut clock: serde_json::Value = serde_json::from_str(&text).unwrap();
        clock["clock"] = (clock["clock"].as_i64().unwrap() + HOUR).into();
        std::fs::write(&kept, clock.to_string()).unwrap();
        for later in [Recorder::join(&path), Recorder::open(&path, false)] {
            let ahead = later.unwrap().clock.now() - first.clock.now();
            assert!((ahead - HOUR).abs() < HOUR / 60, "{ahead}");
        }
    }
}
