//! Records into bytes.

use super::form::{CALL, DEPTH_MAX, MEMBER, RETURN, WATCH};
use super::words::Written;
use crate::record::{
    Call, Compare, KeyEvent, KeyValue, MemberSample, Nanos, Outcome, Record, Request, Response,
    Return, Route, WatchEvent, WatchRecord,
};

/// The body of a frame.
pub(super) struct Body<'b> {
    pub(super) to: &'b mut Vec<u8>,
    pub(super) words: &'b mut Written,
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(to: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

impl Body<'_> {
    /// False for a record that has no form of its own.
    pub(super) fn record(&mut self, record: &Record, last: &mut Nanos) -> bool {
        match record {
            Record::Call(call) if depth(&call.request) <= DEPTH_MAX => self.call(call, last),
            Record::Return(end) if outcome_depth(&end.outcome) <= DEPTH_MAX => {
                self.end(end, last);
            }
            Record::Watch(watch) => self.watch(watch, last),
            Record::Member(sample) => self.member(sample, last),
            _ => return false,
        }
        true
    }

    fn call(&mut self, call: &Call, last: &mut Nanos) {
        self.to.push(CALL);
        self.time(call.t, last);
        self.number(call.op);
        self.number(u64::from(call.client));
        self.to.push(match call.route {
            Route::ServiceHeld => 0,
            Route::ServiceFresh => 1,
            Route::DialAll => 2,
            Route::Member => 3,
        });
        self.signed(call.scheduled.wrapping_sub(call.t));
        self.request(&call.request);
    }

    fn end(&mut self, end: &Return, last: &mut Nanos) {
        self.to.push(RETURN);
        self.time(end.t, last);
        self.number(end.op);
        match &end.outcome {
            Outcome::Ok {
                revision,
                term,
                member,
                response,
            } => {
                self.to.push(0);
                self.signed(*revision);
                self.number(*term);
                self.word(member);
                self.response(response);
            }
            Outcome::Failed { class, message } => self.words(1, class, message),
            Outcome::Unknown { class, message } => self.words(2, class, message),
        }
    }

    fn watch(&mut self, watch: &WatchRecord, last: &mut Nanos) {
        self.to.push(WATCH);
        self.time(watch.t, last);
        self.number(u64::from(watch.watcher));
        self.number(u64::from(watch.stream));
        self.word(&watch.target);
        match &watch.event {
            WatchEvent::Opened {
                key,
                range_end,
                start_revision,
            } => {
                self.words(0, key, range_end);
                self.signed(*start_revision);
            }
            WatchEvent::Events {
                revision,
                events,
                fragment,
            } => {
                self.to.push(if *fragment { 2 } else { 1 });
                self.signed(*revision);
                self.number(events.len() as u64);
                for event in events {
                    self.key_event(event);
                }
            }
            WatchEvent::Progress { revision } => {
                self.to.push(3);
                self.signed(*revision);
            }
            WatchEvent::Cancelled {
                compact_revision,
                reason,
            } => {
                self.to.push(4);
                self.signed(*compact_revision);
                self.word(reason);
            }
            WatchEvent::Broken { message } => {
                self.to.push(5);
                self.word(message);
            }
        }
    }

    fn member(&mut self, sample: &MemberSample, last: &mut Nanos) {
        self.to.push(MEMBER);
        self.time(sample.t, last);
        self.word(&sample.pod);
        let Some(status) = &sample.status else {
            self.to.push(0);
            return;
        };
        let leads = u8::from(status.leader.is_some()) << 1;
        self.to.push(1 | leads | u8::from(status.learner) << 2);
        self.word(&status.cluster);
        self.word(&status.member);
        if let Some(leader) = &status.leader {
            self.word(leader);
        }
        self.number(status.term);
        self.number(status.raft_index);
        self.number(status.applied_index);
        self.signed(status.revision);
    }

    fn key_event(&mut self, event: &KeyEvent) {
        let prev = match event {
            KeyEvent::Put { kv, prev } => {
                self.to.push(if prev.is_some() { 1 } else { 0 });
                self.key_value(kv);
                prev
            }
            KeyEvent::Delete {
                key,
                mod_revision,
                prev,
            } => {
                self.to.push(if prev.is_some() { 3 } else { 2 });
                self.word(key);
                self.signed(*mod_revision);
                prev
            }
        };
        if let Some(prev) = prev {
            self.key_value(prev);
        }
    }

    fn request(&mut self, request: &Request) {
        match request {
            Request::Put { key, value, lease } => {
                self.words(0, key, value);
                self.signed(*lease);
            }
            Request::Range {
                key,
                range_end,
                limit,
                serializable,
                revision,
            } => {
                self.to.push(if *serializable { 2 } else { 1 });
                self.keys(key, range_end.as_deref());
                self.signed(*limit);
                self.signed(*revision);
            }
            Request::Delete { key, range_end } => {
                self.to.push(3);
                self.keys(key, range_end.as_deref());
            }
            Request::Txn {
                compare,
                then,
                otherwise,
            } => {
                self.to.push(4);
                self.number(compare.len() as u64);
                for compare in compare {
                    self.compare(compare);
                }
                for branch in [then, otherwise] {
                    self.number(branch.len() as u64);
                    for request in branch {
                        self.request(request);
                    }
                }
            }
            Request::LeaseGrant { id, ttl } => {
                self.to.push(5);
                self.signed(*id);
                self.signed(*ttl);
            }
            Request::LeaseKeepAlive { id } => self.one(6, *id),
            Request::LeaseRevoke { id } => self.one(7, *id),
            Request::Compact { revision } => self.one(8, *revision),
        }
    }

    fn compare(&mut self, compare: &Compare) {
        match compare {
            Compare::ModRevision { key, revision } => {
                self.to.push(0);
                self.word(key);
                self.signed(*revision);
            }
            Compare::Value { key, value } => self.words(1, key, value),
            Compare::Version { key, version } => {
                self.to.push(2);
                self.word(key);
                self.signed(*version);
            }
        }
    }

    fn response(&mut self, response: &Response) {
        match response {
            Response::Put {} => self.to.push(0),
            Response::Range { kvs, count, more } => {
                self.to.push(if *more { 2 } else { 1 });
                self.number(kvs.len() as u64);
                for kv in kvs {
                    self.key_value(kv);
                }
                self.signed(*count);
            }
            Response::Delete { deleted } => self.one(3, *deleted),
            Response::Txn {
                succeeded,
                responses,
            } => {
                self.to.push(if *succeeded { 5 } else { 4 });
                self.number(responses.len() as u64);
                for response in responses {
                    self.response(response);
                }
            }
            Response::LeaseGrant { id, ttl } => {
                self.one(6, *id);
                self.signed(*ttl);
            }
            Response::LeaseKeepAlive { ttl } => self.one(7, *ttl),
            Response::LeaseRevoke {} => self.to.push(8),
            Response::Compact {} => self.to.push(9),
        }
    }

    fn key_value(&mut self, kv: &KeyValue) {
        self.word(&kv.key);
        self.word(&kv.value);
        self.signed(kv.mod_revision);
        // Near each other, most of the time.
        self.signed(kv.mod_revision.wrapping_sub(kv.create_revision));
        self.signed(kv.version);
        self.signed(kv.lease);
    }

    fn keys(&mut self, key: &str, end: Option<&str>) {
        self.word(key);
        self.to.push(u8::from(end.is_some()));
        if let Some(end) = end {
            self.word(end);
        }
    }

    fn words(&mut self, kind: u8, one: &str, other: &str) {
        self.to.push(kind);
        self.word(one);
        self.word(other);
    }

    fn one(&mut self, kind: u8, value: i64) {
        self.to.push(kind);
        self.signed(value);
    }

    /// 0 and 1 are followed by the string, 0 is remembered; a greater number is one more than the distance back.
    fn word(&mut self, word: &str) {
        if let Some(back) = self.words.back(word) {
            self.number(back + 1);
            return;
        }
        let remembered = self.words.remember(word);
        self.to.push(u8::from(!remembered));
        self.number(word.len() as u64);
        self.to.extend_from_slice(word.as_bytes());
    }

    fn time(&mut self, t: Nanos, last: &mut Nanos) {
        self.signed(t.wrapping_sub(*last));
        *last = t;
    }

    fn number(&mut self, value: u64) {
        varint(self.to, value);
    }

    /// Numbers near 0 are short, whatever their sign.
    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }
}

fn depth(request: &Request) -> u32 {
    match request {
        Request::Txn {
            then, otherwise, ..
        } => 1 + then.iter().chain(otherwise).map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn outcome_depth(outcome: &Outcome) -> u32 {
    fn of(response: &Response) -> u32 {
        match response {
            Response::Txn { responses, .. } => 1 + responses.iter().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    match outcome {
        Outcome::Ok { response, .. } => of(response),
        Outcome::Failed { .. } | Outcome::Unknown { .. } => 0,
    }
}
