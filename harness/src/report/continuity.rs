//! How long a route stayed without an acknowledged write, and where that time went.
//!
//! Arithmetic over a history for pages and tables. It judges nothing: budgets are the business of the checks.

use std::collections::HashMap;

use etcd_history::History;
use etcd_history::record::{FaultRecord, FaultStep, Nanos, OpId, Outcome, Record, Request, Route};
use serde::Serialize;

/// A stretch of time without an acknowledged write on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    /// The last acknowledgement before it, or the first request of the route.
    pub from: Nanos,
    /// The first acknowledgement after it, or the end of the last request of the route.
    pub to: Nanos,
    /// False when no acknowledgement ends it.
    pub closed: bool,
}

impl Gap {
    /// Its length, in nanoseconds.
    pub(crate) fn length(self) -> Nanos {
        self.to - self.from
    }
}

/// When the writes of one route were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledgements {
    /// Times, ascending.
    pub times: Vec<Nanos>,
    /// When the first request left.
    pub first: Option<Nanos>,
    /// When the last request ended.
    pub last: Option<Nanos>,
}

/// True for a request that changes keys.
pub(crate) fn writes(request: &Request) -> bool {
    match request {
        Request::Put { .. } | Request::Delete { .. } => true,
        Request::Txn {
            then, otherwise, ..
        } => then.iter().chain(otherwise).any(writes),
        _ => false,
    }
}

impl Acknowledgements {
    /// Those of the writes of one route.
    pub(crate) fn of(history: &History, route: Route) -> Self {
        let mut found = Self::default();
        let mut open: HashMap<OpId, ()> = HashMap::new();
        for record in &history.records {
            match record {
                Record::Call(call) if call.route == route && writes(&call.request) => {
                    open.insert(call.op, ());
                    found.first = Some(found.first.map_or(call.t, |t| t.min(call.t)));
                    found.last = Some(found.last.map_or(call.t, |t| t.max(call.t)));
                }
                Record::Return(end) if open.remove(&end.op).is_some() => {
                    found.last = Some(found.last.map_or(end.t, |t| t.max(end.t)));
                    if matches!(end.outcome, Outcome::Ok { .. }) {
                        found.times.push(end.t);
                    }
                }
                _ => {}
            }
        }
        found.times.sort_unstable();
        found
    }

    /// All stretches between acknowledgements, the two ends of the run included.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        let starts = self.first.into_iter().chain(self.times.iter().copied());
        let ends = self
            .times
            .iter()
            .map(|t| (*t, true))
            .chain(self.last.map(|t| (t, false)));
        starts
            .zip(ends)
            .map(|(from, (to, closed))| Gap {
                from,
                to: to.max(from),
                closed,
            })
            .filter(|gap| gap.closed || gap.length() > 0)
    }

    /// The longest stretch that lies in `[from, to]` for its larger part: one that straddles the begin of the next
    /// fault is the cost of one of the two, not of both.
    pub(crate) fn longest_mostly_within(&self, from: Nanos, to: Nanos) -> Option<Gap> {
        let mostly = |gap: &Gap| {
            let inside = gap.to.min(to).saturating_sub(gap.from.max(from));
            inside >= gap.length() - inside
        };
        self.gaps()
            .filter(mostly)
            .reduce(|a, b| if b.length() > a.length() { b } else { a })
    }
}

/// A part of a gap: what was being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Until a member says that it leads in a higher term.
    Election,
    /// Until that member's pod carries the label of the leader.
    Label,
    /// Until that pod is an endpoint of the leader service.
    Endpoints,
    /// Until a client's write is acknowledged: proxy rules, connection, request.
    Client,
}

/// Where the time of one gap went. Stages follow each other; one that did not happen is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Decomposition {
    /// Number of the fault that was there during it; the latest of several.
    pub fault: Option<u32>,
    /// Pod of the member that was elected, when one was.
    pub elected: Option<String>,
    /// Stages with begin and end.
    pub stages: Vec<(Stage, Nanos, Nanos)>,
}

/// What the history shows of failovers, in time order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signs<'a> {
    leaders: Vec<(Nanos, u64, &'a str)>,
    labels: Vec<(Nanos, &'a str)>,
    endpoints: Vec<(Nanos, &'a [String])>,
    /// Number, begin and end: healed, or never.
    faults: Vec<(u32, Nanos, Nanos)>,
}

impl<'a> Signs<'a> {
    /// Those of a history.
    pub(crate) fn of(history: &'a History) -> Self {
        let mut signs = Self::default();
        for record in &history.records {
            match record {
                Record::Member(sample) => {
                    if let Some(status) = &sample.status
                        && status.leader.as_ref() == Some(&status.member)
                    {
                        signs.leaders.push((sample.t, status.term, &sample.pod));
                    }
                }
                Record::Pod(pod) if pod.role.as_deref() == Some("leader") && !pod.deleted => {
                    signs.labels.push((pod.t, &pod.pod));
                }
                Record::Endpoints(slice) => signs.endpoints.push((slice.t, &slice.serving)),
                Record::Fault(fault) => signs.fault(fault),
                _ => {}
            }
        }
        signs.leaders.sort_by_key(|sign| sign.0);
        signs.labels.sort_by_key(|sign| sign.0);
        signs.endpoints.sort_by_key(|sign| sign.0);
        signs.faults.sort_by_key(|fault| fault.1);
        signs
    }

    fn fault(&mut self, record: &FaultRecord) {
        let known = self.faults.iter_mut().find(|fault| fault.0 == record.fault);
        match (known, record.step) {
            (None, _) => self.faults.push((record.fault, record.t, Nanos::MAX)),
            (Some(known), FaultStep::Healed) => known.2 = record.t,
            (Some(_), _) => {}
        }
    }

    /// Where the time of a gap went. The routes past the service have neither label nor endpoints to wait for.
    pub(crate) fn decompose(&self, gap: Gap, route: Route) -> Decomposition {
        let overlaps = |(_, from, to): &&(u32, Nanos, Nanos)| *from <= gap.to && *to >= gap.from;
        let fault = self.faults.iter().rev().find(overlaps).map(|fault| fault.0);
        let within = |t: Nanos| t > gap.from && t <= gap.to;
        let known = self
            .leaders
            .iter()
            .filter(|(t, ..)| *t <= gap.from)
            .map(|(_, term, _)| *term);
        let term = known.max().unwrap_or(0);
        let elected = self
            .leaders
            .iter()
            .find(|(t, newer, _)| within(*t) && *newer > term);
        let mut ends = Vec::new();
        if let Some((at, _, pod)) = elected {
            ends.push((Stage::Election, *at));
            if matches!(route, Route::ServiceHeld | Route::ServiceFresh) {
                let labelled = self
                    .labels
                    .iter()
                    .find(|(t, name)| within(*t) && name == pod);
                let served = self
                    .endpoints
                    .iter()
                    .find(|(t, pods)| within(*t) && pods.iter().any(|name| name == pod));
                ends.extend(labelled.map(|(t, _)| (Stage::Label, *t)));
                ends.extend(served.map(|(t, _)| (Stage::Endpoints, *t)));
            }
        }
        ends.push((Stage::Client, gap.to));
        let mut stages = Vec::new();
        let mut from = gap.from;
        for (stage, end) in ends {
            // The API server may show a label before the sampler has asked the member: that stage took no time.
            let end = end.max(from);
            stages.push((stage, from, end));
            from = end;
        }
        Decomposition {
            fault,
            elected: elected.map(|(_, _, pod)| (*pod).to_owned()),
            stages,
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_history::record::{
        Call, EndpointsRecord, MemberSample, PodRecord, RaftStatus, Response, Return,
    };

    use super::*;

    fn write(op: OpId, route: Route, t: Nanos, end: Option<(Nanos, bool)>) -> Vec<Record> {
        let request = Request::Put {
            key: "k".into(),
            value: op.to_string(),
            lease: 0,
        };
        let mut records = vec![Record::Call(Call {
            t,
            op,
            client: 1,
            route,
            scheduled: t,
            request,
        })];
        if let Some((t, ok)) = end {
            let outcome = if ok {
                let response = Response::Put {};
                Outcome::Ok {
                    revision: 1,
                    term: 1,
                    member: "a".into(),
                    response,
                }
            } else {
                Outcome::Unknown {
                    class: "deadline".into(),
                    message: String::new(),
                }
            };
            records.push(Record::Return(Return { t, op, outcome }));
        }
        records
    }

    fn leads(t: Nanos, pod: &str, term: u64) -> Record {
        let member = pod.to_owned();
        Record::Member(MemberSample {
            t,
            pod: pod.into(),
            status: Some(RaftStatus {
                cluster: "c".into(),
                leader: Some(member.clone()),
                member,
                term,
                raft_index: 1,
                applied_index: 1,
                revision: 1,
                learner: false,
            }),
        })
    }

    fn label(t: Nanos, pod: &str) -> Record {
        Record::Pod(PodRecord {
            t,
            pod: pod.into(),
            uid: "u".into(),
            resource_version: 1,
            node: None,
            role: Some("leader".into()),
            phase: "Running".into(),
            ready: true,
            deleting: false,
            deleted: false,
        })
    }

    fn endpoints(t: Nanos, pod: &str) -> Record {
        let serving = vec![pod.to_owned()];
        let ready = serving.clone();
        let service = "s".into();
        Record::Endpoints(EndpointsRecord {
            t,
            service,
            resource_version: 1,
            serving,
            ready,
        })
    }

    fn failover() -> History {
        let route = Route::ServiceFresh;
        let mut records = vec![leads(1, "e-0", 2)];
        records.extend(write(1, route, 5, Some((10, true))));
        records.push(Record::Fault(FaultRecord {
            t: 12,
            fault: 4,
            name: "kill".into(),
            target: "e-0".into(),
            step: FaultStep::Injecting,
            evidence: [].into(),
            writes: Vec::new(),
        }));
        records.extend(write(2, route, 20, Some((40, false))));
        records.extend([
            leads(110, "e-1", 3),
            label(130, "e-1"),
            endpoints(170, "e-1"),
        ]);
        records.extend(write(3, route, 150, Some((210, true))));
        records.extend(write(4, Route::DialAll, 150, Some((160, true))));
        History { records }
    }

    fn longest(acks: &Acknowledgements) -> Option<Gap> {
        acks.longest_mostly_within(Nanos::MIN, Nanos::MAX)
    }

    #[test]
    fn the_longest_gap_is_between_acknowledgements() {
        let acks = Acknowledgements::of(&failover(), Route::ServiceFresh);
        assert_eq!(
            longest(&acks),
            Some(Gap {
                from: 10,
                to: 210,
                closed: true
            })
        );
        assert_eq!(
            acks.longest_mostly_within(0, 9),
            Some(Gap {
                from: 5,
                to: 10,
                closed: true
            })
        );
    }

    #[test]
    fn a_route_that_never_comes_back_has_an_open_gap() {
        let mut history = failover();
        history.records.truncate(6);
        let gap = longest(&Acknowledgements::of(&history, Route::ServiceFresh)).unwrap();
        assert_eq!(
            gap,
            Gap {
                from: 10,
                to: 40,
                closed: false
            }
        );
        assert_eq!(
            longest(&Acknowledgements::of(&history, Route::DialAll)),
            None
        );
    }

    #[test]
    fn a_gap_falls_into_stages() {
        let history = failover();
        let gap = Gap {
            from: 10,
            to: 210,
            closed: true,
        };
        let parts = Signs::of(&history).decompose(gap, Route::ServiceFresh);
        assert_eq!(
            (parts.fault, parts.elected.as_deref()),
            (Some(4), Some("e-1"))
        );
        let stages = [
            (Stage::Election, 10, 110),
            (Stage::Label, 110, 130),
            (Stage::Endpoints, 130, 170),
            (Stage::Client, 170, 210),
        ];
        assert_eq!(parts.stages, stages);
        let direct = Signs::of(&history).decompose(gap, Route::DialAll);
        assert_eq!(
            direct.stages,
            [(Stage::Election, 10, 110), (Stage::Client, 110, 210)]
        );
    }

    #[test]
    fn a_label_seen_before_the_sample_takes_no_time() {
        let mut history = failover();
        history.records.push(label(90, "e-1"));
        let gap = Gap {
            from: 10,
            to: 210,
            closed: true,
        };
        let parts = Signs::of(&history).decompose(gap, Route::ServiceFresh);
        assert_eq!(parts.stages[1], (Stage::Label, 110, 110));
    }
}
