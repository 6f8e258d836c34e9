//! The client operations as columns, sorted by the time of their call.

use std::collections::HashMap;

use etcd_history::History;
use etcd_history::record::{Call, OpId, Outcome, Record, Return, Route};
use serde::Serialize;

use super::{Span, words};

/// All operations, one column a property. `*_delta` columns hold the difference to the row before.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Operations {
    /// Number.
    id_delta: Vec<i64>,
    /// Call, microseconds.
    t_delta: Vec<i64>,
    /// Microseconds until the return; -1 when none was recorded.
    duration: Vec<i64>,
    /// Microseconds between the wanted and the real time of the call.
    late: Vec<i64>,
    /// Index into `clients`.
    client: Vec<usize>,
    /// Index into `strings`: kind of request.
    kind: Vec<usize>,
    /// 0 ok, 1 failed, 2 unknown.
    outcome: Vec<u8>,
    /// Revision of the answer; 0 without one.
    revision_delta: Vec<i64>,
    /// Raft term of the answer; 0 without one.
    term: Vec<u64>,
    /// Index into `strings`: member that answered, or the class of the error.
    from: Vec<usize>,
    /// Index into `strings`: key, 0 for none.
    key: Vec<usize>,
    /// Request.
    request: Vec<String>,
    /// Answer or message.
    answer: Vec<String>,
    /// Client numbers and their routes.
    clients: Vec<(u32, Route)>,
    /// Words that repeat. The first is empty.
    strings: Vec<String>,
}

/// Numbers for things in the order of their first appearance.
struct Numbers<T> {
    known: HashMap<T, usize>,
    all: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, thing: &T) -> usize {
        if let Some(number) = self.known.get(thing) {
            return *number;
        }
        let number = self.all.len();
        self.known.insert(thing.clone(), number);
        self.all.push(thing.clone());
        number
    }
}

struct Builder {
    columns: Operations,
    strings: Numbers<String>,
    clients: Numbers<(u32, Route)>,
    before: (i64, i64, i64),
}

pub(super) fn build(history: &History, span: Span) -> Operations {
    let mut returns: HashMap<OpId, &Return> = HashMap::new();
    let mut calls: Vec<&Call> = Vec::new();
    for record in &history.records {
        match record {
            Record::Call(call) => calls.push(call),
            Record::Return(end) => {
                returns.entry(end.op).or_insert(end);
            }
            _ => {}
        }
    }
    calls.sort_by_key(|call| (call.t, call.op));
    let mut builder = Builder {
        columns: Operations::default(),
        strings: Numbers::default(),
        clients: Numbers::default(),
        before: (0, 0, 0),
    };
    builder.strings.of(&String::new());
    for call in calls {
        builder.add(call, returns.get(&call.op).copied(), span);
    }
    builder.columns.clients = builder.clients.all;
    builder.columns.strings = builder.strings.all;
    builder.columns
}

impl Builder {
    fn add(&mut self, call: &Call, end: Option<&Return>, span: Span) {
        let Self {
            columns,
            strings,
            clients,
            before,
        } = self;
        let (id, t) = (
            i64::try_from(call.op).unwrap_or(i64::MAX),
            span.micros(call.t),
        );
        let end_t = end.map(|end| span.micros(end.t));
        let (outcome, revision, term, from, answer) = match end.map(|end| &end.outcome) {
            Some(Outcome::Ok {
                revision,
                term,
                member,
                response,
            }) => (
                0,
                *revision,
                *term,
                member.as_str(),
                words::response(response),
            ),
            Some(Outcome::Failed { class, message }) => (1, 0, 0, class.as_str(), message.clone()),
            Some(Outcome::Unknown { class, message }) => (2, 0, 0, class.as_str(), message.clone()),
            None => (
                2,
                0,
                0,
                "no_return",
                "its client died or the run ended before".to_owned(),
            ),
        };
        columns.id_delta.push(id - before.0);
        columns.t_delta.push(t - before.1);
        columns
            .duration
            .push(end_t.map_or(-1, |end| (end - t).max(0)));
        columns.late.push(t - span.micros(call.scheduled));
        columns.client.push(clients.of(&(call.client, call.route)));
        columns
            .kind
            .push(strings.of(&words::kind(&call.request).to_owned()));
        columns.outcome.push(outcome);
        columns.revision_delta.push(revision - before.2);
        columns.term.push(term);
        columns.from.push(strings.of(&from.to_owned()));
        columns
            .key
            .push(strings.of(&words::key(&call.request).unwrap_or_default().to_owned()));
        columns.request.push(words::request(&call.request));
        columns.answer.push(answer);
        *before = (id, t, revision);
    }
}

#[cfg(test)]
mod tests {
    use etcd_history::record::{Request, Response};

    use super::*;

    #[test]
    fn operations_are_in_the_order_of_their_calls_and_open_ones_are_unknown() {
        let call = |t, op: OpId, client| {
            let request = Request::Put {
                key: "k".into(),
                value: op.to_string(),
                lease: 0,
            };
            Record::Call(Call {
                t,
                op,
                client,
                route: Route::DialAll,
                scheduled: t - 3000,
                request,
            })
        };
        let outcome = Outcome::Ok {
            revision: 7,
            term: 2,
            member: "m".into(),
            response: Response::Put {},
        };
        let end = Record::Return(Return {
            t: 9_000,
            op: 5,
            outcome,
        });
        let history = History {
            records: vec![call(8_000, 6, 2), call(4_000, 5, 1), end],
        };
        let columns = build(
            &history,
            Span {
                from: 1_000,
                to: 9_000,
            },
        );
        assert_eq!(columns.id_delta, [5, 1]);
        assert_eq!(columns.t_delta, [3, 4]);
        assert_eq!(columns.duration, [5, -1]);
        assert_eq!(columns.late, [3, 3]);
        assert_eq!(columns.outcome, [0, 2]);
        assert_eq!(columns.revision_delta, [7, -7]);
        assert_eq!(columns.clients, [(1, Route::DialAll), (2, Route::DialAll)]);
        assert_eq!(columns.strings[columns.from[1]], "no_return");
    }
}
