//! Linearizability while a history is still being written, in memory that does not grow with it: what is kept is the
//! key space, the operations that are open, and the revisions that are not explained yet.
//!
//! A revision is replayed when no open operation can have made it or have seen an older one. Real time is judged when
//! an answer comes: what was proved before its call cannot be behind it. The same model as the whole judgement's,
//! without its search: where that would search, or clocks disagree, this one says that it cannot tell. What it calls a
//! violation is one. Reads of old revisions and serializable reads are not compared.

mod ahead;
mod done;
mod front;
mod lost;
mod past;
mod replay;
mod ring;

use std::collections::VecDeque;

use self::done::{Done, Stop};
use self::front::{Front, Teller};
use self::replay::Replay;
use super::numbers;
use super::placement::{self, Part};
use super::refused;
use super::verdict::{Findings, Verdict};
use crate::hash::FastMap;
use crate::index::{Index, Op};
use crate::record::{
    Call, KeyEvent, Nanos, OpId, Outcome, Record, Request, Response, Return, WatchEvent,
    WatchRecord,
};

/// An operation that is open for longer is not waited for.
const WAIT_MAX: Nanos = 120_000_000_000;

/// Judges linearizability record by record, in memory that does not grow with the history.
#[derive(Debug, Default)]
pub struct Stream {
    front: Front,
    open: FastMap<OpId, Done>,
    /// Open ones, and some that no longer are, in the order of their calls.
    queue: VecDeque<Waiting>,
    /// Events of a revision that is not whole yet, by watcher and stream.
    parts: FastMap<(u32, u32), Vec<KeyEvent>>,
    replay: Replay,
    stop: Option<Stop>,
    operations: usize,
    uncompared: usize,
}

#[derive(Debug)]
struct Waiting {
    op: OpId,
    t: Nanos,
    /// The highest revision that was proved before its line.
    highest: i64,
}

impl Stream {
    /// Takes the next record of the history.
    pub fn feed(&mut self, record: Record) {
        if self.stop.is_some() {
            return;
        }
        self.stop = absurd(&record);
        if self.stop.is_some() {
            return;
        }
        let proof = match &record {
            Record::Call(_) => false,
            record => {
                self.replay.begin_at(record.time());
                true
            }
        };
        // An answer is no proof against its own operation: that one was called before.
        if proof {
            self.front.learn(&record);
        }
        let ended = match &record {
            Record::Return(end) => Some(end.op),
            _ => None,
        };
        let judged = match record {
            Record::Call(call) => self.call(call),
            Record::Return(end) => self.end(end),
            Record::Watch(watch) => self.watch(watch),
            Record::Fault(fault) => {
                self.replay.skip(&fault.writes);
                Ok(())
            }
            _ => Ok(()),
        };
        let settled = self.settled(ended);
        let judged = judged.and_then(|()| self.replay.advance(settled));
        self.stop = judged.err().map(|stop| self.named(stop));
    }

    /// A value that no operation may have written there. That of one that is open says that its call stands behind what
    /// it did: then the writers disagree.
    fn named(&self, stop: Stop) -> Stop {
        let Stop::Foreign { value, explanation } = stop else {
            return stop;
        };
        let mut open = self.open.values().map(|asked| &asked.call.request);
        if open.any(|request| placement::values_of(request).any(|own| own == value)) {
            return Stop::Unsure(format!("{explanation}, and was called behind that"));
        }
        Stop::Violation {
            explanation,
            ops: Vec::new(),
        }
    }

    /// True once a violation was found: nothing that follows can change that.
    pub fn broken(&self) -> bool {
        matches!(self.stop, Some(Stop::Violation { .. }))
    }

    /// The verdict over all records that were taken; nothing more comes.
    pub fn verdict(mut self) -> Verdict {
        if self.stop.is_none() {
            let ended = self.end_of_history();
            self.stop = ended.err().map(|stop| self.named(stop));
        }
        let mut findings = Findings::default();
        findings.count("operations", self.operations);
        findings.count("reads_not_compared", self.uncompared);
        self.replay.figures(&mut findings);
        match self.stop {
            None if self.replay.tally.placed == 0 => {
                findings.doubt("no operation was acknowledged".to_owned());
            }
            None => {}
            Some(Stop::Violation { explanation, ops }) => findings.violation(explanation, ops),
            Some(
                Stop::Unsure(reason)
                | Stop::Foreign {
                    explanation: reason,
                    ..
                },
            ) => {
                findings.doubt(format!("{reason}; judge the whole history at once"));
            }
        }
        findings.verdict(super::linearizable::CHECK)
    }

    fn call(&mut self, call: Call) -> Result<(), Stop> {
        self.replay.begin_at(call.t);
        self.operations += 1;
        if let Some(found) = call.request.unmodelled() {
            return Err(Stop::Unsure(format!("{found}, which no check models")));
        }
        let floor = self.front.before(call.t);
        let (op, t) = (call.op, call.t);
        let writes = Op {
            call: &call,
            end: None,
            called_at: 0,
            ended_at: 0,
        }
        .writes();
        self.replay.writers += i64::from(writes);
        self.queue.push_back(Waiting {
            op,
            t,
            highest: self.front.highest(),
        });
        let asked = Done {
            call: Box::new(call),
            end: None,
            floor,
        };
        match self.open.insert(op, asked) {
            None => Ok(()),
            Some(_) => Err(Stop::Unsure(format!("operation {op} is called twice"))),
        }
    }

    fn end(&mut self, mut end: Return) -> Result<(), Stop> {
        // No explanation names it, and memory that is given back at once is taken again at once.
        if let Outcome::Ok { member, .. } = &mut end.outcome {
            *member = String::new();
        }
        let Some(mut done) = self.open.remove(&end.op) else {
            return Err(Stop::Unsure(format!(
                "operation {} returns without an open call, or later than {} s after it",
                end.op,
                WAIT_MAX / 1_000_000_000
            )));
        };
        done.end = Some(Box::new(end));
        let Some(acked) = done.op().acked() else {
            self.replay.within(&done.call.request)?;
            self.replay.losses.add(done);
            return Ok(());
        };
        if let Some(why) = refused::acknowledged(&done.op()) {
            return Err(done.violation(self.replay.start(), &why));
        }
        self.uncompared += old_reads(&done.call.request, acked.response);
        let Some(part) = placement::part(&done.call.request, acked.response) else {
            return Ok(());
        };
        let revision = acked.revision;
        let below = revision.saturating_add(i64::from(part != Part::Changes));
        if done.floor >= below {
            return Err(self.late(&done, below));
        }
        self.replay.place(done, part, revision)
    }

    /// It was called after something behind it was there.
    fn late(&self, done: &Done, below: i64) -> Stop {
        let start = self.replay.start();
        let before = self.front.first(below);
        let mut ops = vec![done.call.op];
        let told = before.map_or_else(String::new, |step| {
            let seconds = Index {
                start,
                ..Index::default()
            }
            .seconds(step.t);
            let teller = match step.teller {
                Teller::Answer(op) => {
                    ops.push(op);
                    format!("the answer to op {op}")
                }
                Teller::Other => "a watcher or a member".to_owned(),
            };
            format!(
                ", as {teller} tells (revision {} by {seconds:.6} s)",
                step.revision
            )
        });
        Stop::Violation {
            explanation: format!(
                "{}: revision {below} had happened before it was called{told}, yet its place is not behind",
                done.words(start)
            ),
            ops,
        }
    }

    fn watch(&mut self, watch: WatchRecord) -> Result<(), Stop> {
        let from = (watch.watcher, watch.stream);
        match watch.event {
            WatchEvent::Opened { key, range_end, .. } => self.replay.watched(key, range_end),
            WatchEvent::Broken { .. } | WatchEvent::Cancelled { .. } => {
                self.parts.remove(&from);
            }
            WatchEvent::Progress { .. } => {}
            WatchEvent::Events {
                events, fragment, ..
            } if !fragment && !self.parts.contains_key(&from) => {
                return self.replay.see_all(events);
            }
            // The events of one revision are looked at together.
            WatchEvent::Events {
                events, fragment, ..
            } => {
                let part = self.parts.entry(from).or_default();
                part.extend(events);
                if !fragment && let Some(events) = self.parts.remove(&from) {
                    return self.replay.see_all(events);
                }
            }
        }
        Ok(())
    }

    /// The highest revision that nothing open can have made, and nothing open have seen an older one than. `ended` is
    /// what the newest record ended.
    fn settled(&mut self, ended: Option<OpId>) -> i64 {
        let highest = self.front.highest();
        // What stands first was open before that record.
        let mut open = ended != self.queue.front().map(|first| first.op);
        while let Some(first) = self.queue.front() {
            if open || self.open.contains_key(&first.op) {
                let newest = self.replay.newest();
                if newest.saturating_sub(first.t) <= WAIT_MAX {
                    return first.highest.min(highest);
                }
                let given_up = self.open.remove(&first.op);
                self.replay.losses.extend(given_up);
            }
            self.queue.pop_front();
            open = false;
        }
        highest
    }

    fn end_of_history(&mut self) -> Result<(), Stop> {
        let mut left: Vec<Done> = self.open.drain().map(|(_, asked)| asked).collect();
        left.sort_by_key(|asked| asked.call.op);
        self.replay.losses.extend(left);
        self.replay.finish()
    }
}

/// A record with a number that no etcd gives.
fn absurd(record: &Record) -> Option<Stop> {
    let why = numbers::impossible(record)?;
    let ops = match record {
        Record::Return(end) => vec![end.op],
        _ => Vec::new(),
    };
    let teller = numbers::told_by(record);
    Some(Stop::Violation {
        explanation: format!("{teller} has {why}, which no etcd gives"),
        ops,
    })
}

/// Reads of an old revision, and those that may be old, within a request.
fn old_reads(request: &Request, response: &Response) -> usize {
    let old = |request: &Request| matches!(request, Request::Range { serializable, revision, .. } if *serializable || *revision > 0);
    match request {
        Request::Txn { .. } => {
            let parts = request.answered(response);
            parts.filter(|(request, _)| old(request)).count()
        }
        request => usize::from(old(request)),
    }
}

/// Judges the linearizability of all records.
///
/// # Errors
/// The reader's, at the record that cannot be read. What comes after a violation is read and not looked at.
pub fn stream<E>(records: impl IntoIterator<Item = Result<Record, E>>) -> Result<Verdict, E> {
    let mut judge = Stream::default();
    for record in records {
        judge.feed(record?);
    }
    Ok(judge.verdict())
}

#[cfg(test)]
mod tests;
