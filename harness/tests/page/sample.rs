//! A plausible history made from a seed: three members, three failovers, writers on every route, watchers.
//!
//! Only for trying the page: it has the shape and size of a real run, not the truth of one.

use std::collections::BTreeMap;

use etcd_history::History;
use etcd_history::record::{
    Call, EndpointsRecord, FaultRecord, FaultStep, HashSample, KeyEvent, KeyValue, MemberSample,
    Nanos, OpId, Outcome, PodRecord, RaftStatus, Record, Request, Response, Return, Route,
    WatchEvent, WatchRecord,
};

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1000 * MS;
const BASE: Nanos = 1_790_000_000 * SECOND;
/// How long the made run lasts.
const LENGTH: Nanos = 120 * SECOND;

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(end.max(1)).expect("a small number"))
            .expect("a small number")
    }
}

/// A failover of the made run: the times at which each stage ends.
struct Failover {
    name: &'static str,
    at: Nanos,
    old: usize,
    new: usize,
    elected: Nanos,
    label: Nanos,
    endpoints: Nanos,
    held: Nanos,
    healed: Nanos,
}

const FAILOVERS: [Failover; 3] = [
    Failover {
        name: "kill_process",
        at: 25_000,
        old: 0,
        new: 1,
        elected: 910,
        label: 931,
        endpoints: 968,
        held: 1_010,
        healed: 4_000,
    },
    Failover {
        name: "isolate_from_peers",
        at: 58_000,
        old: 1,
        new: 2,
        elected: 1_180,
        label: 1_205,
        endpoints: 1_260,
        held: 2_240,
        healed: 14_000,
    },
    Failover {
        name: "delete_pod",
        at: 96_000,
        old: 2,
        new: 0,
        elected: 30,
        label: 45,
        endpoints: 60,
        held: 80,
        healed: 6_000,
    },
];

fn pod(number: usize) -> String {
    format!("demo-etcd-{number}")
}

fn member(number: usize) -> String {
    format!("{:x}", 0x8e9e_05c5_2164_694d_u64 ^ (number as u64) << 40)
}

/// The leader and term at a time, and whether a route has one to talk to.
fn leader(t: Nanos, route: Route) -> (usize, u64, bool) {
    let (mut who, mut term, mut up) = (0, 2, true);
    for failover in &FAILOVERS {
        let since = (t - BASE) / MS - failover.at;
        if since < 0 {
            break;
        }
        let back = match route {
            Route::ServiceHeld => failover.held,
            Route::ServiceFresh => failover.endpoints + 25,
            _ => failover.elected + 10,
        };
        up = since > back;
        term += 1;
        who = failover.new;
    }
    (who, term, up)
}

/// A history with about `operations` operations.
pub(crate) fn history(seed: u64, operations: usize) -> History {
    let mut dice = Dice(seed);
    let config = serde_json::json!({ "seed": seed });
    let mut records = vec![Record::Start {
        t: BASE,
        incarnation: dice.next(),
        config,
    }];
    for (at, name) in [
        (0, "warm_up"),
        (20, "fault"),
        (110, "settle"),
        (117, "final"),
    ] {
        records.push(Record::Phase {
            t: BASE + at * SECOND,
            name: name.to_owned(),
        });
    }
    let writes = clients(&mut dice, operations, &mut records);
    members(&mut dice, &writes, &mut records);
    objects(&mut records);
    faults(&mut records);
    watchers(&mut dice, &writes, &mut records);
    records.sort_by_key(Record::time);
    History { records }
}

/// A write that was acknowledged: time, key, value.
type Write = (Nanos, String, String);

fn clients(dice: &mut Dice, operations: usize, records: &mut Vec<Record>) -> Vec<Write> {
    let routes = [
        Route::ServiceHeld,
        Route::ServiceFresh,
        Route::DialAll,
        Route::Member,
    ];
    let count = 24;
    let per_client = i64::try_from(operations / count).expect("a small number");
    let period = LENGTH / per_client.max(1);
    let mut ops = Vec::new();
    for client in 0..count {
        let route = routes[client % routes.len()];
        let mut free = 0;
        for turn in 0..per_client {
            let scheduled = BASE + period * turn + dice.below(period / 4 + 1);
            let t = scheduled.max(free);
            if t > BASE + LENGTH {
                break;
            }
            let (_, _, up) = leader(t, route);
            let took = match (up, dice.below(5000)) {
                (true, 0) => 120 * MS + dice.below(200 * MS),
                (true, _) => 800_000 + dice.below(2 * MS),
                (false, _) if route == Route::ServiceFresh => MS + dice.below(3 * MS),
                (false, _) => 200 * MS,
            };
            free = t + took;
            ops.push((t, scheduled, free, client, route, up));
        }
    }
    ops.sort_by_key(|op| op.2);
    answers(dice, ops, records)
}

/// A request before it is worded: call, wanted, end, client, route, and whether the route leads anywhere.
type Sent = (Nanos, Nanos, Nanos, usize, Route, bool);

fn answers(dice: &mut Dice, ops: Vec<Sent>, records: &mut Vec<Record>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (op, (t, scheduled, end, client, route, up)) in ops.into_iter().enumerate() {
        let key = format!("reg/{}", dice.below(12));
        let value = format!("{client}.{op}");
        let op = op as OpId + 1;
        let write = dice.below(10) < 6;
        let request = if write {
            Request::Put {
                key: key.clone(),
                value: value.clone(),
                lease: 0,
            }
        } else {
            let (range_end, limit, revision) = (None, 0, 0);
            let key = key.clone();
            Request::Range {
                key,
                range_end,
                limit,
                serializable: false,
                revision,
            }
        };
        let client = u32::try_from(client).expect("a small number");
        records.push(Record::Call(Call {
            t,
            op,
            client,
            route,
            scheduled,
            request,
        }));
        if write && up {
            writes.push((end, key.clone(), value));
        }
        let outcome = outcome(dice, (t, route, up), write, (&key, &writes));
        if t + 150 * MS < BASE + LENGTH || up {
            records.push(Record::Return(Return {
                t: end,
                op,
                outcome,
            }));
        }
    }
    writes
}

fn outcome(
    dice: &mut Dice,
    (t, route, up): (Nanos, Route, bool),
    write: bool,
    (key, writes): (&str, &[Write]),
) -> Outcome {
    let (who, term, _) = leader(t, route);
    if !up {
        if route == Route::ServiceFresh {
            let message = "tcp connect error: Connection refused (os error 111)".to_owned();
            return Outcome::Failed {
                class: "connection_refused_before_send".into(),
                message,
            };
        }
        let message = "context deadline exceeded </script><b>& \"quotes\"".to_owned();
        return Outcome::Unknown {
            class: "deadline".into(),
            message,
        };
    }
    if dice.below(20_000) == 0 {
        return Outcome::Unknown {
            class: "unavailable".into(),
            message: "leader changed".into(),
        };
    }
    let revision = i64::try_from(writes.len()).expect("a small number") + 1;
    let response = if write {
        Response::Put {}
    } else {
        let last = writes.iter().rev().take(40).find(|write| write.1 == key);
        let kvs: Vec<_> = last
            .map(|write| key_value(write, revision))
            .into_iter()
            .collect();
        let count = i64::try_from(kvs.len()).expect("a small number");
        Response::Range {
            kvs,
            count,
            more: false,
        }
    };
    Outcome::Ok {
        revision,
        term,
        member: member(who),
        response,
    }
}

fn key_value((_, key, value): &Write, revision: i64) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: value.clone(),
        create_revision: 2,
        mod_revision: revision,
        version: revision / 12 + 1,
        lease: 0,
    }
}

fn members(dice: &mut Dice, writes: &[Write], records: &mut Vec<Record>) {
    for step in 0..LENGTH / (50 * MS) {
        for number in 0..3 {
            let t = BASE + step * 50 * MS + dice.below(5 * MS);
            let since = |failover: &Failover| (t - BASE) / MS - failover.at;
            let fault = FAILOVERS
                .iter()
                .find(|f| since(f) >= 0 && since(f) < f.healed);
            let sick = fault.is_some_and(|f| f.old == number);
            let dead = sick && fault.is_some_and(|f| f.name != "isolate_from_peers");
            let electing = fault.is_some_and(|f| since(f) < f.elected);
            let (who, term, _) = leader(t, Route::DialAll);
            let (at, cut) = match fault {
                Some(f) if sick => (BASE + f.at * MS, true),
                _ => (t, false),
            };
            let done = writes.partition_point(|write| write.0 < at);
            let index = done as u64 + 10;
            let status = RaftStatus {
                cluster: "cdf818194e3a8c32".into(),
                member: member(number),
                leader: (!electing && !cut).then(|| member(who)),
                term: if electing || cut { term - 1 } else { term },
                raft_index: index,
                applied_index: index,
                revision: i64::try_from(done).expect("a small number") + 1,
                learner: false,
            };
            let status = (!dead).then_some(status);
            records.push(Record::Member(MemberSample {
                t,
                pod: pod(number),
                status,
            }));
        }
    }
    for number in 0..3 {
        records.push(Record::Hash(HashSample {
            t: BASE + LENGTH - SECOND,
            pod: pod(number),
            revision: i64::try_from(writes.len()).expect("a small number"),
            hash: 0xdead_beef,
            compact_revision: 0,
        }));
    }
}

fn objects(records: &mut Vec<Record>) {
    let mut version = 1000;
    let mut seen = |t: Nanos, number: usize, role: &str, state: &str| {
        version += 7;
        Record::Pod(PodRecord {
            t: BASE + t * MS,
            pod: pod(number),
            uid: format!("uid-{number}-{}", t / 90_000),
            resource_version: version,
            node: Some(format!("etcd-harness-worker{}", number + 1)),
            role: (!role.is_empty()).then(|| role.to_owned()),
            phase: if state == "pending" {
                "Pending"
            } else {
                "Running"
            }
            .into(),
            ready: state == "ready",
            deleting: state == "deleting",
            deleted: state == "gone",
        })
    };
    for number in 0..3 {
        let role = if number == 0 { "leader" } else { "follower" };
        records.push(seen(0, number, role, "ready"));
    }
    for f in &FAILOVERS {
        let replaced = f.name == "delete_pod";
        let state = if replaced { "deleting" } else { "running" };
        if replaced {
            records.push(seen(f.at + 5, f.old, "leader", "deleting"));
        }
        records.push(seen(f.at + f.label - 8, f.old, "follower", state));
        records.push(seen(f.at + f.label, f.new, "leader", "ready"));
        if replaced {
            records.push(seen(f.at + 1_200, f.old, "", "gone"));
            records.push(seen(f.at + 1_400, f.old, "", "pending"));
        }
        records.push(seen(f.at + f.healed, f.old, "follower", "ready"));
        let gone = (Vec::new(), f.at + f.label - 5);
        for (serving, at) in [gone, (vec![pod(f.new)], f.at + f.endpoints)] {
            let (t, ready) = (BASE + at * MS, serving.clone());
            let service = "demo-etcd".to_owned();
            let resource_version = u64::try_from(at).expect("a small number");
            records.push(Record::Endpoints(EndpointsRecord {
                t,
                service,
                resource_version,
                serving,
                ready,
            }));
        }
    }
    let serving = vec![pod(0)];
    let (ready, service) = (serving.clone(), "demo-etcd".to_owned());
    records.push(Record::Endpoints(EndpointsRecord {
        t: BASE,
        service,
        resource_version: 1,
        serving,
        ready,
    }));
}

fn faults(records: &mut Vec<Record>) {
    for (number, f) in FAILOVERS.iter().enumerate() {
        let steps = [
            (-40, FaultStep::Injecting, None),
            (-5, FaultStep::Injected, None),
            (
                0,
                FaultStep::Effective,
                Some(("process", "pid 812 is gone")),
            ),
            (f.healed - 500, FaultStep::Healing, None),
            (f.healed, FaultStep::Healed, Some(("rules left", "0"))),
        ];
        for (at, step, evidence) in steps {
            let evidence: BTreeMap<_, _> = evidence
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            records.push(Record::Fault(FaultRecord {
                t: BASE + (f.at + at) * MS,
                fault: u32::try_from(number).expect("a small number"),
                name: f.name.to_owned(),
                target: format!("{} on etcd-harness-worker{}", pod(f.old), f.old + 1),
                step,
                writes: Vec::new(),
                evidence,
            }));
        }
    }
}

fn watchers(dice: &mut Dice, writes: &[Write], records: &mut Vec<Record>) {
    for watcher in 0..3_u32 {
        let mut stream = 0;
        let target = if watcher == 0 {
            "service".to_owned()
        } else {
            pod(watcher as usize)
        };
        let mut push = |t, stream, event| {
            let target = target.clone();
            records.push(Record::Watch(WatchRecord {
                t,
                watcher,
                stream,
                target,
                event,
            }));
        };
        let opened = |start_revision| WatchEvent::Opened {
            key: "reg/".into(),
            range_end: "reg0".into(),
            start_revision,
        };
        push(BASE, stream, opened(1));
        let mut silent_until = 0;
        for (at, write) in writes.iter().enumerate() {
            let revision = i64::try_from(at).expect("a small number") + 2;
            if write.0 < silent_until {
                continue;
            }
            let (_, _, up) = leader(write.0, Route::ServiceHeld);
            if !up && watcher == 0 {
                silent_until = write.0 + 700 * MS;
                let message = "transport error".to_owned();
                push(write.0, stream, WatchEvent::Broken { message });
                stream += 1;
                push(silent_until, stream, opened(revision));
                continue;
            }
            let kv = key_value(write, revision);
            let events = vec![KeyEvent::Put { kv, prev: None }];
            let t = write.0 + MS + dice.below(MS);
            push(
                t,
                stream,
                WatchEvent::Events {
                    revision,
                    events,
                    fragment: false,
                },
            );
        }
    }
}
