//! How quickly a history is read and judged, and in how much memory.
//!
//! `cargo run --release -p etcd-history --example throughput -- 10000000` makes a correct history of so many operations
//! in the binary form (32 clients, 20 keys, one watcher), reads it, judges it record by record, and, up to a million
//! operations, as a whole. A second number is that of the keys; with 0 every put has a key of its own. Each step is a
//! process by itself, so that its peak memory is its own; time is the process's own where the kernel tells it, so that
//! a busy machine does not blur the figure.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use etcd_history::binary::BinaryWriter;
use etcd_history::check::{self, Stream};
use etcd_history::history::Records;
use etcd_history::record::{
    Call, Compare, KeyEvent, KeyValue, Nanos, Return, Route, WatchEvent, WatchRecord,
};
use etcd_history::simulate::Random;
use etcd_history::{History, Outcome, Record, Request, Response};

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// Clients, each with one operation open.
const CLIENTS: u32 = 32;
/// Largest history that is judged as a whole as well.
const WHOLE_MAX: u64 = 1_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["step", name, path, operations, keys] => step(name, path, operations, keys),
        [] => all("1000000", "20"),
        [operations] => all(operations, "20"),
        [operations, keys] => all(operations, keys),
        _ => Err("give the number of operations and, if you like, that of the keys".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every step in a process of its own.
fn all(operations: &str, keys: &str) -> AnyResult<()> {
    let count: u64 = operations.parse()?;
    let path = std::env::temp_dir().join(format!("etcd-history-{}.bin", std::process::id()));
    println!("| step | time | operations a second | peak memory |\n|---|---|---|---|");
    let mut well = true;
    for name in ["make", "read", "stream", "whole"] {
        if well && (name != "whole" || count <= WHOLE_MAX) {
            let path = path
                .to_str()
                .ok_or("the temporary folder has no plain name")?;
            let mut step = Command::new(std::env::current_exe()?);
            well = step
                .args(["step", name, path, operations, keys])
                .status()?
                .success();
        }
    }
    std::fs::remove_file(&path)?;
    if well {
        Ok(())
    } else {
        Err("a step failed".into())
    }
}

fn step(name: &str, path: &str, operations: &str, keys: &str) -> AnyResult<()> {
    let (operations, keys) = (operations.parse()?, keys.parse()?);
    let path = Path::new(path);
    let begin = spent();
    let told = match name {
        "make" => {
            make(path, operations, keys)?;
            format!("made, {} MiB", std::fs::metadata(path)?.len() >> 20)
        }
        "read" => format!("read, {} records", count(path)?),
        "stream" => {
            let mut judge = Stream::default();
            for record in records(path)? {
                judge.feed(record?);
            }
            format!("read and judged as a stream: {:?}", judge.verdict().finding)
        }
        _ => {
            let history = History {
                records: records(path)?.collect::<Result<_, _>>()?,
            };
            format!(
                "read and judged as a whole: {:?}",
                check::linearizable(&history).finding
            )
        }
    };
    report(&told, operations, begin);
    Ok(())
}

fn records(path: &Path) -> AnyResult<Records<BufReader<File>>> {
    Ok(Records::new(BufReader::with_capacity(
        1 << 20,
        File::open(path)?,
    ))?)
}

fn count(path: &Path) -> AnyResult<u64> {
    let mut count = 0;
    for record in records(path)? {
        record?;
        count += 1;
    }
    Ok(count)
}

/// A correct etcd that keeps nothing but its newest keys.
struct Etcd {
    random: Random,
    revision: i64,
    keys: Vec<Option<KeyValue>>,
    /// Every put has a key of its own.
    fresh: bool,
    t: Nanos,
}

fn make(path: &Path, operations: u64, keys: usize) -> AnyResult<()> {
    let mut to = BinaryWriter::new(BufWriter::with_capacity(1 << 20, File::create_new(path)?))?;
    let mut etcd = Etcd {
        random: Random::new(1),
        revision: 1,
        keys: vec![None; keys],
        fresh: keys == 0,
        t: 1_700_000_000_000_000_000,
    };
    let mut op = 0;
    while op < operations {
        // All clients call, etcd does what they ask in some order, and they return in another.
        let round = u64::from(CLIENTS).min(operations - op);
        let mut flying = Vec::new();
        for client in 0..CLIENTS.min(u32::try_from(round)?) {
            op += 1;
            let request = etcd.request(op, client);
            to.write(&etcd.call(op, client, request.clone()))?;
            flying.push((op, request));
        }
        let mut answered = Vec::new();
        while !flying.is_empty() {
            let (op, request) = flying.swap_remove(etcd.random.position(flying.len()));
            let (response, event) = etcd.apply(&request);
            if let Some(event) = event {
                to.write(&etcd.watched(event))?;
            }
            answered.push((op, etcd.revision, response));
        }
        while !answered.is_empty() {
            let (op, revision, response) =
                answered.swap_remove(etcd.random.position(answered.len()));
            to.write(&etcd.answer(op, revision, response))?;
        }
    }
    to.finish()?;
    Ok(())
}

impl Etcd {
    fn request(&mut self, op: u64, client: u32) -> Request {
        let value = format!("c{client}-{op}");
        let kind = self.random.below(100);
        let number = if self.fresh && (kind < 50 || self.keys.is_empty()) {
            self.keys.push(None);
            self.keys.len() - 1
        } else {
            self.random.position(self.keys.len())
        };
        let key = name(number);
        let put = |key: &str| Request::Put {
            key: key.to_owned(),
            value: value.clone(),
            lease: 0,
        };
        let get = |key: &str, range_end| Request::Range {
            key: key.to_owned(),
            range_end,
            limit: 0,
            serializable: false,
            revision: 0,
        };
        match kind {
            0..50 => put(&key),
            50..84 => get(&key, None),
            84 if !self.fresh => get("k/", Some("k0".to_owned())),
            84..95 => Request::Txn {
                compare: vec![Compare::ModRevision {
                    key: key.clone(),
                    revision: self.keys[number].as_ref().map_or(0, |kv| kv.mod_revision),
                }],
                then: vec![put(&key)],
                otherwise: vec![get(&key, None)],
            },
            _ => Request::Delete {
                key,
                range_end: None,
            },
        }
    }

    /// The answer, and the event of the revision that was made.
    fn apply(&mut self, request: &Request) -> (Response, Option<KeyEvent>) {
        match request {
            Request::Put { key, value, .. } => {
                let kv = self.put(key, value);
                (Response::Put {}, Some(KeyEvent::Put { kv, prev: None }))
            }
            Request::Delete { key, .. } => match self.keys[number(key)].take() {
                None => (Response::Delete { deleted: 0 }, None),
                Some(_) => {
                    self.revision += 1;
                    let event = KeyEvent::Delete {
                        key: key.clone(),
                        mod_revision: self.revision,
                        prev: None,
                    };
                    (Response::Delete { deleted: 1 }, Some(event))
                }
            },
            Request::Range { range_end, key, .. } => {
                let kvs: Vec<KeyValue> = match range_end {
                    Some(_) => self.keys.iter().flatten().cloned().collect(),
                    None => self.keys[number(key)].iter().cloned().collect(),
                };
                let count = i64::try_from(kvs.len()).unwrap_or(0);
                let more = false;
                (Response::Range { kvs, count, more }, None)
            }
            Request::Txn {
                compare,
                then,
                otherwise,
            } => {
                let succeeded = compare.iter().all(|compare| self.holds(compare));
                let branch = if succeeded { then } else { otherwise };
                let (responses, events): (_, Vec<_>) =
                    branch.iter().map(|request| self.apply(request)).unzip();
                let response = Response::Txn {
                    succeeded,
                    responses,
                };
                (response, events.into_iter().flatten().next())
            }
            _ => (Response::Compact {}, None),
        }
    }

    fn put(&mut self, key: &str, value: &str) -> KeyValue {
        self.revision += 1;
        let held = &mut self.keys[number(key)];
        let before = held.take();
        let kv = KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
            create_revision: before
                .as_ref()
                .map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease: 0,
        };
        *held = Some(kv.clone());
        kv
    }

    fn holds(&self, compare: &Compare) -> bool {
        let Compare::ModRevision { key, revision } = compare else {
            return false;
        };
        self.keys[number(key)]
            .as_ref()
            .map_or(0, |kv| kv.mod_revision)
            == *revision
    }

    fn call(&mut self, op: u64, client: u32, request: Request) -> Record {
        let t = self.tick();
        Record::Call(Call {
            t,
            op,
            client,
            route: Route::DialAll,
            scheduled: t,
            request,
        })
    }

    fn answer(&mut self, op: u64, revision: i64, response: Response) -> Record {
        Record::Return(Return {
            t: self.tick(),
            op,
            outcome: Outcome::Ok {
                revision,
                term: 2,
                member: "8e9e05c52164694d".to_owned(),
                response,
            },
        })
    }

    fn watched(&mut self, event: KeyEvent) -> Record {
        Record::Watch(WatchRecord {
            t: self.tick(),
            watcher: 0,
            stream: 0,
            target: "m0".to_owned(),
            event: WatchEvent::Events {
                revision: self.revision,
                events: vec![event],
                fragment: false,
            },
        })
    }

    fn tick(&mut self) -> Nanos {
        self.t += 1_000 + self.random.between(0, 5_000);
        self.t
    }
}

fn name(number: usize) -> String {
    format!("k/{number:08}")
}

fn number(key: &str) -> usize {
    key.trim_start_matches("k/").parse().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(what: &str, operations: u64, begin: Duration) {
    let seconds = (spent() - begin).as_secs_f64();
    let rate = operations as f64 / seconds;
    println!(
        "| {what} | {seconds:.2} s | {rate:.0} | {} MiB |",
        peak_mib()
    );
}

/// Processor time of this process, else the time since its start. `schedstat` is in nanoseconds.
fn spent() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let told = text
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    told.filter(|nanos| *nanos > 0)
        .map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// Peak resident memory of this process, where the kernel tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) / 1024
}
