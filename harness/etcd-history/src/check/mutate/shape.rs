//! Every field of every record: a sample of each kind with everything in it, and the paths of its fields.
//!
//! The samples are literals and the kinds are matched one by one, so that what is added to the format does not compile
//! until it is here; and what is here must be spoiled (see [`fields`](super::fields)) or be listed as without a
//! promise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::record::{
    Call, Compare, EndpointsRecord, FaultRecord, FaultStep, FinalState, HashSample, KeyEvent,
    KeyValue, ListedMember, MachineSample, MemberSample, MembershipRecord, Outcome, PodRecord,
    RaftStatus, Record, Request, Response, Return, Route, WatchEvent, WatchRecord,
};

/// The field that says which variant of an enum an object is, by the name of the field that holds it.
fn tag(holder: &str) -> Option<&'static str> {
    match holder {
        "" => Some("type"),
        "request" | "then" | "else" | "response" | "responses" => Some("kind"),
        "outcome" => Some("result"),
        "event" => Some("what"),
        "events" => Some("op"),
        "compare" => Some("target"),
        _ => None,
    }
}

/// Each field with its place in the JSON document of a record.
pub(super) fn fields(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(value, ("", ""), "", &mut found);
    found
}

fn walk(
    value: &Value,
    (holder, path): (&str, &str),
    pointer: &str,
    found: &mut Vec<(String, String)>,
) {
    match value {
        Value::Object(members) if path != "fault.evidence" && path != "start.config" => {
            let tag = tag(holder);
            let kind = tag.and_then(|tag| value[tag].as_str());
            let path = match kind {
                Some(kind) if path.is_empty() => kind.to_owned(),
                Some(kind) => format!("{path}.{kind}"),
                None => path.to_owned(),
            };
            for (name, member) in members {
                if Some(name.as_str()) != tag {
                    let path = format!("{path}.{name}");
                    walk(member, (name, &path), &format!("{pointer}/{name}"), found);
                }
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (position, item) in items.iter().enumerate() {
                walk(
                    item,
                    (holder, path),
                    &format!("{pointer}/{position}"),
                    found,
                );
            }
        }
        _ => found.push((path.to_owned(), pointer.to_owned())),
    }
}

/// The paths of all fields that there are.
pub(super) fn all() -> BTreeSet<String> {
    let samples = samples();
    let mut kinds = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for record in &samples {
        kinds.insert(kind(record));
        let value = serde_json::to_value(record).expect("a record is JSON");
        paths.extend(fields(&value).into_iter().map(|(path, _)| path));
    }
    assert_eq!(kinds.len(), KINDS, "a kind of record has no sample");
    paths
}

/// Kinds that are told apart below.
const KINDS: usize = 35;

/// A number for each kind of record. No arm for all others: a kind that is added needs one, and a sample.
fn kind(record: &Record) -> usize {
    match record {
        Record::Start { .. } => 0,
        Record::Call(call) => match &call.request {
            Request::Put { .. } => 1,
            Request::Range { .. } => 2,
            Request::Delete { .. } => 3,
            Request::Txn { compare, .. } => match compare[0] {
                Compare::ModRevision { .. } => 4,
                Compare::Value { .. } => 5,
                Compare::Version { .. } => 6,
            },
            Request::LeaseGrant { .. } => 7,
            Request::LeaseKeepAlive { .. } => 8,
            Request::LeaseRevoke { .. } => 9,
            Request::Compact { .. } => 10,
        },
        Record::Return(end) => match &end.outcome {
            Outcome::Failed { .. } => 11,
            Outcome::Unknown { .. } => 12,
            Outcome::Ok { response, .. } => match response {
                Response::Put {} => 13,
                Response::Range { .. } => 14,
                Response::Delete { .. } => 15,
                Response::Txn { .. } => 16,
                Response::LeaseGrant { .. } => 17,
                Response::LeaseKeepAlive { .. } => 18,
                Response::LeaseRevoke {} => 19,
                Response::Compact {} => 20,
            },
        },
        Record::Watch(watch) => match &watch.event {
            WatchEvent::Opened { .. } => 21,
            WatchEvent::Events { events, .. } => match events[0] {
                KeyEvent::Put { .. } => 22,
                KeyEvent::Delete { .. } => 23,
            },
            WatchEvent::Progress { .. } => 24,
            WatchEvent::Cancelled { .. } => 25,
            WatchEvent::Broken { .. } => 26,
        },
        Record::Member(_) => 27,
        Record::Hash(_) => 28,
        Record::FinalState(_) => 29,
        Record::Fault(_) => 30,
        Record::Pod(_) => 31,
        Record::Endpoints(_) => 32,
        Record::Membership(_) => 33,
        Record::Machine(_) | Record::Phase { .. } => 34,
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn kv() -> KeyValue {
    KeyValue {
        key: text("k"),
        value: text("v"),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: 1,
    }
}

fn put() -> Request {
    Request::Put {
        key: text("k"),
        value: text("v"),
        lease: 1,
    }
}

fn range() -> Request {
    Request::Range {
        key: text("k"),
        range_end: Some(text("l")),
        limit: 1,
        serializable: true,
        revision: 1,
    }
}

fn delete() -> Request {
    Request::Delete {
        key: text("k"),
        range_end: Some(text("l")),
    }
}

fn call(request: Request) -> Record {
    Record::Call(Call {
        t: 1,
        op: 1,
        client: 1,
        route: Route::Member,
        scheduled: 1,
        request,
    })
}

fn requests() -> Vec<Request> {
    let inner = || vec![put(), range(), delete()];
    let compares = [
        Compare::ModRevision {
            key: text("k"),
            revision: 1,
        },
        Compare::Value {
            key: text("k"),
            value: text("v"),
        },
        Compare::Version {
            key: text("k"),
            version: 1,
        },
    ];
    let txn = |compare| Request::Txn {
        compare: vec![compare],
        then: inner(),
        otherwise: inner(),
    };
    let mut requests = inner();
    requests.extend(compares.map(txn));
    requests.push(Request::LeaseGrant { id: 1, ttl: 1 });
    requests.push(Request::LeaseKeepAlive { id: 1 });
    requests.push(Request::LeaseRevoke { id: 1 });
    requests.push(Request::Compact { revision: 1 });
    requests
}

fn outcomes() -> Vec<Outcome> {
    let found = || Response::Range {
        kvs: vec![kv()],
        count: 1,
        more: true,
    };
    let deleted = || Response::Delete { deleted: 1 };
    let all = vec![
        Response::Put {},
        found(),
        deleted(),
        Response::Txn {
            succeeded: true,
            responses: vec![Response::Put {}, found(), deleted()],
        },
        Response::LeaseGrant { id: 1, ttl: 1 },
        Response::LeaseKeepAlive { ttl: 1 },
        Response::LeaseRevoke {},
        Response::Compact {},
    ];
    let ok = |response| Outcome::Ok {
        revision: 1,
        term: 1,
        member: text("m"),
        response,
    };
    let (class, message) = (text("c"), text("m"));
    let mut outcomes: Vec<Outcome> = all.into_iter().map(ok).collect();
    outcomes.push(Outcome::Failed {
        class: class.clone(),
        message: message.clone(),
    });
    outcomes.push(Outcome::Unknown { class, message });
    outcomes
}

fn watched() -> Vec<WatchEvent> {
    let events = |event| WatchEvent::Events {
        revision: 1,
        events: vec![event],
        fragment: true,
    };
    vec![
        WatchEvent::Opened {
            key: text("k"),
            range_end: text("l"),
            start_revision: 1,
        },
        events(KeyEvent::Put {
            kv: kv(),
            prev: Some(kv()),
        }),
        events(KeyEvent::Delete {
            key: text("k"),
            mod_revision: 1,
            prev: Some(kv()),
        }),
        WatchEvent::Progress { revision: 1 },
        WatchEvent::Cancelled {
            compact_revision: 1,
            reason: text("r"),
        },
        WatchEvent::Broken { message: text("m") },
    ]
}

fn samples() -> Vec<Record> {
    let mut all: Vec<Record> = requests().into_iter().map(call).collect();
    all.extend(outcomes().into_iter().map(|outcome| {
        Record::Return(Return {
            t: 1,
            op: 1,
            outcome,
        })
    }));
    all.extend(watched().into_iter().map(|event| {
        Record::Watch(WatchRecord {
            t: 1,
            watcher: 1,
            stream: 1,
            target: text("m"),
            event,
        })
    }));
    all.extend(seen_of_members());
    all.extend(seen_by_the_harness());
    all
}

fn seen_of_members() -> Vec<Record> {
    let (t, pod, revision) = (1, text("p"), 1);
    vec![
        Record::Member(MemberSample {
            t,
            pod: pod.clone(),
            status: Some(RaftStatus {
                cluster: text("c"),
                member: text("m"),
                leader: Some(text("m")),
                term: 1,
                raft_index: 1,
                applied_index: 1,
                revision,
                learner: true,
            }),
        }),
        Record::Hash(HashSample {
            t,
            pod: pod.clone(),
            revision,
            hash: 1,
            compact_revision: 1,
        }),
        Record::FinalState(FinalState {
            t,
            pod,
            revision,
            kvs: vec![kv()],
        }),
        Record::Membership(MembershipRecord {
            t,
            cluster: text("c"),
            members: vec![ListedMember {
                id: text("i"),
                name: text("n"),
                learner: true,
            }],
        }),
    ]
}

fn seen_by_the_harness() -> Vec<Record> {
    let (t, pod, resource_version) = (1, text("p"), 1);
    vec![
        Record::Start {
            t,
            incarnation: 1,
            config: Value::Null,
        },
        Record::Fault(FaultRecord {
            t,
            fault: 1,
            name: text("n"),
            target: text("t"),
            step: FaultStep::Healed,
            evidence: BTreeMap::from([(text("a"), text("b"))]),
            writes: vec![1],
        }),
        Record::Pod(PodRecord {
            t,
            pod: pod.clone(),
            uid: text("u"),
            resource_version,
            node: Some(text("n")),
            role: Some(text("r")),
            phase: text("p"),
            ready: true,
            deleting: true,
            deleted: true,
        }),
        Record::Endpoints(EndpointsRecord {
            t,
            service: text("s"),
            resource_version,
            serving: vec![pod.clone()],
            ready: vec![pod],
        }),
        Record::Machine(MachineSample {
            t,
            source: text("s"),
            interval: 1,
            late: 1,
            waiting: Some(1),
            stolen: Some(1),
            idle: Some(1),
            processors: Some(1),
            runnable: Some(1),
            delayed: Some(1),
            disk: Some(1),
        }),
        Record::Phase { t, name: text("n") },
    ]
}
