//! Linearizability while the traffic runs: each record is also given to [`Stream`], on a thread of its own.
//!
//! It sees what this process recorded. Where others write to the same keys, or data is given up on purpose, its
//! findings would be wrong: the configuration says so, and there is no judge.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use etcd_history::{
    Record,
    check::{Finding, Stream},
};

/// Records that may wait for the judge. A machine that lets it fall so far behind has no time for it.
const WAITING: usize = 1 << 16;

/// What the judge has to say: once, and nothing while all holds.
pub(crate) type Said = Arc<OnceLock<String>>;

/// Where records go, in the order of the file.
#[derive(Debug)]
pub(crate) struct Judge {
    records: SyncSender<Record>,
    said: Said,
}

impl Judge {
    /// Begins with what a former process recorded.
    pub(crate) fn start(before: Vec<Record>, said: &Said) -> io::Result<Self> {
        let (records, waiting) = sync_channel(WAITING);
        let found = Arc::clone(said);
        thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || {
                let all = before.into_iter().chain(waiting);
                if let Some(violation) = first_violation(all) {
                    let line = format!("not linearizable, by what is recorded so far: {violation}");
                    // Said already: it is behind, and its finding stands in the verdict of the whole run.
                    let _ = found.set(line);
                }
            })?;
        let said = Arc::clone(said);
        Ok(Self { records, said })
    }

    /// Gives it a record; false when it takes no more.
    pub(crate) fn feed(&self, record: &Record) -> bool {
        match self.records.try_send(record.clone()) {
            Ok(()) => true,
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => false,
            Err(std::sync::mpsc::TrySendError::Full(_)) => {
                let line = format!("not judged while it runs: {WAITING} records wait to be judged");
                let _ = self.said.set(line);
                false
            }
        }
    }
}

fn first_violation(records: impl Iterator<Item = Record>) -> Option<String> {
    let mut stream = Stream::default();
    for record in records {
        stream.feed(record);
        if stream.broken() {
            return match stream.verdict().finding {
                Finding::Violation { explanation, .. } => Some(explanation),
                _ => None,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use etcd_history::{
        History, Outcome, Request, Response,
        record::{Call, KeyValue, Return, Route},
    };

    use super::*;
    use crate::recorder::Recorder;

    const S: i64 = 1_000_000_000;

    fn call(t: i64, op: u64, request: Request) -> Record {
        Record::Call(Call {
            t,
            op,
            client: 1,
            route: Route::Member,
            scheduled: t,
            request,
        })
    }

    fn answer(t: i64, op: u64, revision: i64, response: Response) -> Record {
        Record::Return(Return {
            t,
            op,
            outcome: Outcome::Ok {
                revision,
                term: 2,
                member: "m".to_owned(),
                response,
            },
        })
    }

    fn put(value: &str) -> Request {
        Request::Put {
            key: "k".to_owned(),
            value: value.to_owned(),
            lease: 0,
        }
    }

    fn get() -> Request {
        Request::Range {
            key: "k".to_owned(),
            range_end: None,
            limit: 0,
            serializable: false,
            revision: 0,
        }
    }

    fn read(value: &str, revision: i64, version: i64) -> Response {
        let kv = KeyValue {
            key: "k".to_owned(),
            value: value.to_owned(),
            create_revision: 2,
            mod_revision: revision,
            version,
            lease: 0,
        };
        Response::Range {
            kvs: vec![kv],
            count: 1,
            more: false,
        }
    }

    /// Two writes that are acknowledged, and a read of the first one behind them.
    fn stale() -> [Record; 6] {
        [
            call(S, 1, put("a")),
            answer(2 * S, 1, 2, Response::Put {}),
            call(3 * S, 2, put("b")),
            answer(4 * S, 2, 3, Response::Put {}),
            call(5 * S, 3, get()),
            answer(6 * S, 3, 2, read("a", 2, 1)),
        ]
    }

    fn said(said: &Said) -> String {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if let Some(line) = said.get() {
                return line.clone();
            }
            thread::yield_now();
        }
        panic!("nothing was said");
    }

    #[test]
    fn a_stale_read_is_said_while_records_still_come() {
        let line = Said::default();
        let judge = Judge::start(Vec::new(), &line).unwrap();
        for record in &stale() {
            assert!(judge.feed(record));
        }
        let told = said(&line);
        assert!(
            told.starts_with("not linearizable") && told.contains("op 3"),
            "{told}"
        );
    }

    #[test]
    fn what_a_former_process_recorded_counts() {
        let [first @ .., last] = stale();
        let line = Said::default();
        let judge = Judge::start(first.to_vec(), &line).unwrap();
        judge.feed(&last);
        assert!(said(&line).starts_with("not linearizable"));
    }

    #[test]
    fn what_is_recorded_behind_its_end_is_not_judged() {
        let [first @ .., last] = stale();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::open(&path, true).unwrap();
        first.iter().for_each(|record| recorder.record(record));
        recorder.end_judging();
        recorder.record(&last);
        // Its thread has its own hold of what it has to say until it has judged all that it was given.
        let begin = Instant::now();
        while Arc::strong_count(recorder.progress.said()) > 1 {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "it has not ended"
            );
            thread::yield_now();
        }
        assert_eq!(recorder.progress.said().get(), None);
        let text = std::fs::read(&path).unwrap();
        let history = History::read(text.as_slice()).unwrap();
        assert_eq!(history.records, stale(), "it is recorded");
    }

    #[test]
    fn nothing_is_said_while_all_holds() {
        let [writes @ .., read_call, _] = stale();
        let good = answer(6 * S, 3, 3, read("b", 3, 2));
        let records = writes.into_iter().chain([read_call, good]);
        assert_eq!(first_violation(records), None);
    }
}
