//! How to use this crate for a client of your own: record what was asked and answered, judge it.
//!
//! `cargo run -p etcd-history --example judge` judges two small histories made here; with the names of files it judges
//! those: `cargo run -p etcd-history --example judge -- runs/*/history.jsonl`.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use etcd_history::check::{self, Expectations};
use etcd_history::record::{Call, KeyValue, Nanos, OpId, Return, Route};
use etcd_history::{Finding, History, Outcome, Record, Request, Response};

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        println!("a read that is as old as it may be:");
        judge(&small(7, 20));
        println!("a read that began after a write was acknowledged and does not know it:");
        judge(&small(12, 20));
        return ExitCode::SUCCESS;
    }
    let mut well = true;
    for name in files {
        println!("{name}:");
        match File::open(&name).map(|file| History::read(BufReader::new(file))) {
            Ok(Ok(history)) => well &= judge(&history),
            Ok(Err(error)) => {
                println!("  {error}");
                well = false;
            }
            Err(error) => {
                println!("  failed to open it: {error}");
                well = false;
            }
        }
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints what each check says; true when nothing is violated.
fn judge(history: &History) -> bool {
    // Without Kubernetes there is no leader service, and no pods to look at.
    let expectations = Expectations {
        kubernetes: false,
        ..Expectations::default()
    };
    let mut well = true;
    for verdict in check::all(history, &expectations) {
        match verdict.finding {
            Finding::Pass => println!("  {:<13} pass", verdict.check),
            Finding::Violation { explanation, .. } => {
                well = false;
                println!("  {:<13} VIOLATION {explanation}", verdict.check);
            }
            Finding::Inconclusive { reason } | Finding::NotJudged { reason } => {
                println!("  {:<13} not judged: {reason}", verdict.check);
            }
        }
    }
    well
}

/// One client writes a key twice, another reads the first value. A read that begins at 7 overlaps the second write,
/// which returns at 10; one that begins at 12 does not.
fn small(read_from: Nanos, read_to: Nanos) -> History {
    let put = |value: &str| Request::Put {
        key: "a".to_owned(),
        value: value.to_owned(),
        lease: 0,
    };
    let get = Request::Range {
        key: "a".to_owned(),
        range_end: None,
        limit: 0,
        serializable: false,
        revision: 0,
    };
    let found = Response::Range {
        kvs: vec![KeyValue {
            key: "a".to_owned(),
            value: "one".to_owned(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: 0,
        }],
        count: 1,
        more: false,
    };
    let start = Record::Start {
        t: 0,
        incarnation: 1,
        config: serde_json::Value::Null,
    };
    let mut records = vec![start];
    records.extend(operation(1, (1, 4), put("one"), (2, Response::Put {})));
    records.extend(operation(2, (5, 10), put("two"), (3, Response::Put {})));
    records.extend(operation(3, (read_from, read_to), get, (2, found)));
    // Records stand in the order in which they were written.
    records.sort_by_key(Record::time);
    History { records }
}

/// A call and its return; operation and client have the same number.
fn operation(
    number: u32,
    (from, to): (Nanos, Nanos),
    request: Request,
    (revision, response): (i64, Response),
) -> [Record; 2] {
    let op = OpId::from(number);
    let call = Call {
        t: from,
        op,
        client: number,
        route: Route::Member,
        scheduled: from,
        request,
    };
    let outcome = Outcome::Ok {
        revision,
        term: 2,
        member: "8e9e05c52164694d".to_owned(),
        response,
    };
    [
        Record::Call(call),
        Record::Return(Return { t: to, op, outcome }),
    ]
}
