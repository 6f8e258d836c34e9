//! Short words for histories written by hand: times are milliseconds, revisions and values as small as possible.

mod machine;

use crate::History;
use crate::check::{self, Expectations, Finding, Traffic, Verdict};
use crate::record::{
    Call, EndpointsRecord, FaultRecord, FaultStep, FinalState, HashSample, KeyEvent, KeyValue,
    ListedMember, MemberSample, MembershipRecord, Nanos, Outcome, PodRecord, RaftStatus, Record,
    Request, Response, Return, Route, WatchEvent, WatchRecord,
};

/// A history that is being told.
#[derive(Default)]
pub(crate) struct Story {
    history: History,
    next_op: u64,
    route: Option<Route>,
}

pub(crate) fn ms(t: i64) -> Nanos {
    t * 1_000_000
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    leased(key, value, 0)
}

pub(crate) fn leased(key: &str, value: &str, lease: i64) -> Request {
    Request::Put {
        key: key.into(),
        value: value.into(),
        lease,
    }
}

pub(crate) fn get(key: &str) -> Request {
    Request::Range {
        key: key.into(),
        range_end: None,
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

pub(crate) fn local_get(key: &str) -> Request {
    Request::Range {
        key: key.into(),
        range_end: None,
        limit: 0,
        serializable: true,
        revision: 0,
    }
}

pub(crate) fn get_at(key: &str, revision: i64) -> Request {
    Request::Range {
        key: key.into(),
        range_end: None,
        limit: 0,
        serializable: false,
        revision,
    }
}

pub(crate) fn delete(key: &str) -> Request {
    Request::Delete {
        key: key.into(),
        range_end: None,
    }
}

pub(crate) fn found(kvs: &[KeyValue]) -> Response {
    Response::Range {
        kvs: kvs.to_vec(),
        count: kvs.len() as i64,
        more: false,
    }
}

/// A key that was written once.
pub(crate) fn kv(key: &str, value: &str, revision: i64) -> KeyValue {
    version(key, value, (revision, revision, 1))
}

pub(crate) fn version(
    key: &str,
    value: &str,
    (create_revision, mod_revision, version): (i64, i64, i64),
) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision,
        mod_revision,
        version,
        lease: 0,
    }
}

pub(crate) fn seen(kv: KeyValue) -> KeyEvent {
    KeyEvent::Put { kv, prev: None }
}

pub(crate) fn gone(key: &str, mod_revision: i64) -> KeyEvent {
    KeyEvent::Delete {
        key: key.into(),
        mod_revision,
        prev: None,
    }
}

impl Story {
    pub(crate) fn new() -> Self {
        let mut story = Self {
            next_op: 1,
            ..Self::default()
        };
        story.add(Record::Start {
            t: 0,
            incarnation: 1,
            config: serde_json::Value::Null,
        });
        story
    }

    /// Another process records from now on: the one before was killed.
    pub(crate) fn restarted(mut self, t: i64) -> Self {
        self.add(Record::Start {
            t: ms(t),
            incarnation: 2,
            config: serde_json::Value::Null,
        });
        self
    }

    pub(crate) fn route(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }

    fn add(&mut self, record: Record) {
        self.history.records.push(record);
    }

    /// An operation from one millisecond to another; operations get numbers from 1 on.
    pub(crate) fn op(
        mut self,
        client: u32,
        (from, to): (i64, i64),
        request: Request,
        outcome: Outcome,
    ) -> Self {
        let op = self.next_op;
        self.next_op += 1;
        let route = self.route.unwrap_or(Route::ServiceHeld);
        self.add(Record::Call(Call {
            t: ms(from),
            op,
            client,
            route,
            scheduled: ms(from),
            request,
        }));
        self.add(Record::Return(Return {
            t: ms(to),
            op,
            outcome,
        }));
        self
    }

    pub(crate) fn ok(
        self,
        client: u32,
        times: (i64, i64),
        request: Request,
        (revision, response): (i64, Response),
    ) -> Self {
        self.op(
            client,
            times,
            request,
            Outcome::Ok {
                revision,
                term: 2,
                member: "a".into(),
                response,
            },
        )
    }

    /// A put that was acknowledged.
    pub(crate) fn put(
        self,
        client: u32,
        times: (i64, i64),
        (key, value): (&str, &str),
        revision: i64,
    ) -> Self {
        self.ok(client, times, put(key, value), (revision, Response::Put {}))
    }

    pub(crate) fn unknown(self, client: u32, times: (i64, i64), request: Request) -> Self {
        self.op(
            client,
            times,
            request,
            Outcome::Unknown {
                class: "deadline".into(),
                message: String::new(),
            },
        )
    }

    pub(crate) fn failed(self, client: u32, times: (i64, i64), request: Request) -> Self {
        self.op(
            client,
            times,
            request,
            Outcome::Failed {
                class: "compacted".into(),
                message: String::new(),
            },
        )
    }

    pub(crate) fn watch(self, watcher: u32, t: i64, event: WatchEvent) -> Self {
        self.stream((watcher, 0), t, event)
    }

    pub(crate) fn stream(
        mut self,
        (watcher, stream): (u32, u32),
        t: i64,
        event: WatchEvent,
    ) -> Self {
        self.add(Record::Watch(WatchRecord {
            t: ms(t),
            watcher,
            stream,
            target: "etcd-0".into(),
            event,
        }));
        self
    }

    pub(crate) fn opened(self, watcher: u32, start_revision: i64) -> Self {
        self.watch(
            watcher,
            0,
            WatchEvent::Opened {
                key: "a".into(),
                range_end: "z".into(),
                start_revision,
            },
        )
    }

    pub(crate) fn events(self, watcher: u32, t: i64, revision: i64, events: &[KeyEvent]) -> Self {
        self.watch(
            watcher,
            t,
            WatchEvent::Events {
                revision,
                events: events.to_vec(),
                fragment: false,
            },
        )
    }

    pub(crate) fn progress(self, watcher: u32, t: i64, revision: i64) -> Self {
        self.watch(watcher, t, WatchEvent::Progress { revision })
    }

    pub(crate) fn dump(mut self, t: i64, pod: &str, (revision, kvs): (i64, &[KeyValue])) -> Self {
        self.add(Record::FinalState(FinalState {
            t: ms(t),
            pod: pod.into(),
            revision,
            kvs: kvs.to_vec(),
        }));
        self
    }

    pub(crate) fn hash(mut self, pod: &str, revision: i64, hash: u32) -> Self {
        self.add(Record::Hash(HashSample {
            t: ms(1),
            pod: pod.into(),
            revision,
            hash,
            compact_revision: 0,
        }));
        self
    }

    /// A sample of member `member` in pod `pod`, which follows `leader`; its index is the time.
    pub(crate) fn sample(
        mut self,
        t: i64,
        (pod, member): (&str, &str),
        leader: Option<&str>,
        term: u64,
    ) -> Self {
        let status = RaftStatus {
            cluster: "c".into(),
            member: member.into(),
            leader: leader.map(Into::into),
            term,
            raft_index: t.unsigned_abs(),
            applied_index: t.unsigned_abs(),
            revision: 1,
            learner: false,
        };
        self.add(Record::Member(MemberSample {
            t: ms(t),
            pod: pod.into(),
            status: Some(status),
        }));
        self
    }

    /// The same with indices, a revision and whatever else `change` makes of it.
    pub(crate) fn sample_with(
        self,
        t: i64,
        who: (&str, &str),
        change: impl Fn(&mut RaftStatus),
    ) -> Self {
        let mut story = self.sample(t, who, Some("a"), 2);
        if let Some(Record::Member(MemberSample {
            status: Some(status),
            ..
        })) = story.history.records.last_mut()
        {
            change(status);
        }
        story
    }

    pub(crate) fn pod(self, t: i64, pod: &str, resource_version: u64, role: &str) -> Self {
        self.pod_with(t, (pod, "uid"), resource_version, |record| {
            record.role = Some(role.into())
        })
    }

    pub(crate) fn pod_with(
        mut self,
        t: i64,
        (pod, uid): (&str, &str),
        resource_version: u64,
        change: impl Fn(&mut PodRecord),
    ) -> Self {
        let mut record = PodRecord {
            t: ms(t),
            pod: pod.into(),
            uid: uid.into(),
            resource_version,
            node: None,
            role: None,
            phase: "Running".into(),
            ready: true,
            deleting: false,
            deleted: false,
        };
        change(&mut record);
        self.add(Record::Pod(record));
        self
    }

    /// A member list: identifier, name and whether it is a learner.
    pub(crate) fn list(mut self, t: i64, cluster: &str, members: &[(&str, &str, bool)]) -> Self {
        let listed = |(id, name, learner): &(&str, &str, bool)| ListedMember {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            learner: *learner,
        };
        self.add(Record::Membership(MembershipRecord {
            t: ms(t),
            cluster: cluster.to_owned(),
            members: members.iter().map(listed).collect(),
        }));
        self
    }

    pub(crate) fn endpoints(mut self, t: i64, resource_version: u64, serving: &[&str]) -> Self {
        let serving: Vec<String> = serving.iter().map(|pod| (*pod).to_owned()).collect();
        let service = "etcd".to_owned();
        self.add(Record::Endpoints(EndpointsRecord {
            t: ms(t),
            service,
            resource_version,
            ready: serving.clone(),
            serving,
        }));
        self
    }

    pub(crate) fn phase(mut self, t: i64, name: &str) -> Self {
        self.add(Record::Phase {
            t: ms(t),
            name: name.to_owned(),
        });
        self
    }

    /// A fault that worked and was healed.
    pub(crate) fn fault(self, from: i64, to: i64) -> Self {
        self.fault_at(0, from, to)
    }

    /// The same with a number.
    pub(crate) fn fault_at(mut self, number: u32, from: i64, to: i64) -> Self {
        for (t, step) in [
            (from, FaultStep::Injecting),
            (from, FaultStep::Effective),
            (to, FaultStep::Healed),
        ] {
            self = self.numbered_step(number, t, step);
        }
        self
    }

    /// A fault of another name and target.
    pub(crate) fn fault_named(self, (name, target): (&str, &str), from: i64, to: i64) -> Self {
        let mut story = self.fault(from, to);
        for record in &mut story.history.records {
            if let Record::Fault(fault) = record {
                (fault.name, fault.target) = (name.to_owned(), target.to_owned());
            }
        }
        story
    }

    pub(crate) fn fault_step(self, t: i64, step: FaultStep) -> Self {
        self.numbered_step(0, t, step)
    }

    /// The fault has made these revisions itself.
    pub(crate) fn fault_wrote(self, t: i64, revisions: &[i64]) -> Self {
        let mut story = self.fault_step(t, FaultStep::Injected);
        if let Some(Record::Fault(step)) = story.history.records.last_mut() {
            step.writes = revisions.to_vec();
        }
        story
    }

    fn numbered_step(mut self, fault: u32, t: i64, step: FaultStep) -> Self {
        let (name, target) = ("kill".to_owned(), "etcd-0".to_owned());
        self.add(Record::Fault(FaultRecord {
            t: ms(t),
            fault,
            name,
            target,
            step,
            evidence: Default::default(),
            writes: Vec::new(),
        }));
        self
    }

    /// The lines in the order of their times, as one writer would have written them.
    pub(crate) fn history(mut self) -> History {
        self.history.records.sort_by_key(Record::time);
        self.history
    }

    /// The verdict of one check on the lines as they were told: several writers, each with a clock of its own.
    #[track_caller]
    pub(crate) fn verdict_as_told(self, check: &str) -> Verdict {
        one(check::all(&self.history, &small()), check)
    }

    /// The verdict of one check.
    #[track_caller]
    pub(crate) fn verdict(self, check: &str, expectations: &Expectations) -> Verdict {
        one(check::all(&self.history(), expectations), check)
    }

    #[track_caller]
    pub(crate) fn passes(self, check: &str) {
        let verdict = self.verdict(check, &small());
        assert_eq!(verdict.finding, Finding::Pass, "{check}");
    }

    /// The check must fire and say this.
    #[track_caller]
    pub(crate) fn violates(self, check: &str, words: &str) {
        violates(&self.verdict(check, &small()), words);
    }

    #[track_caller]
    pub(crate) fn proves_nothing(self, check: &str, words: &str) {
        inconclusive(&self.verdict(check, &small()), words);
    }
}

#[track_caller]
pub(crate) fn violates(verdict: &Verdict, words: &str) {
    match &verdict.finding {
        Finding::Violation { explanation, ops } => {
            assert!(
                explanation.contains(words),
                "{explanation:?} does not say {words:?}"
            );
            assert!(ops.len() <= 6);
        }
        other => panic!(
            "{} gave {other:?}, a violation about {words:?} must be seen",
            verdict.check
        ),
    }
}

#[track_caller]
pub(crate) fn inconclusive(verdict: &Verdict, words: &str) {
    match &verdict.finding {
        Finding::Inconclusive { reason } => {
            assert!(reason.contains(words), "{reason:?} does not say {words:?}")
        }
        other => panic!(
            "{} gave {other:?}, it must be inconclusive about {words:?}",
            verdict.check
        ),
    }
}

#[track_caller]
pub(crate) fn not_judged(verdict: &Verdict, words: &str) {
    match &verdict.finding {
        Finding::NotJudged { reason } => {
            assert!(reason.contains(words), "{reason:?} does not say {words:?}")
        }
        other => panic!(
            "{} gave {other:?}, times must not be judged: {words:?}",
            verdict.check
        ),
    }
}

/// What the judge of the whole says of linearizability, and that of a stream.
pub(crate) fn judged(story: Story) -> [Verdict; 2] {
    let history = story.history();
    let whole = check::linearizable(&history);
    let records = history.records.into_iter();
    let Ok(live) = check::stream(records.map(Ok::<_, std::convert::Infallible>));
    [whole, live]
}

#[track_caller]
pub(crate) fn one(verdicts: Vec<Verdict>, check: &str) -> Verdict {
    verdicts
        .into_iter()
        .find(|verdict| verdict.check == check)
        .expect("the check must be one of all")
}

/// What a tiny history can live up to.
pub(crate) fn small() -> Expectations {
    Expectations {
        members: 1,
        traffic: Traffic {
            before: 0,
            during: 0,
            after: 0,
        },
        operations: Default::default(),
        ends_healthy: false,
        ..Expectations::default()
    }
}
