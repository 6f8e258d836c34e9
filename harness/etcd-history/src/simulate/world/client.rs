//! The recording client: it is killed while requests are on their way, and another process takes its place. What the
//! first one had asked may happen or not, and no one is told.

use std::collections::{BTreeMap, BTreeSet};

use super::super::members::CLIENT;
use super::super::mix;
use super::{Event, MILLISECOND, World};
use crate::record::{OpId, Record};

impl World {
    /// Records what was seen, but for what no recording client was there to see.
    pub(super) fn tell(&mut self, records: Vec<Record>) {
        let away = self.process.away;
        let of_client = |record: &Record| match record {
            Record::Machine(sample) => sample.source == CLIENT,
            record => record.of_client(),
        };
        let seen = records.into_iter();
        self.records
            .extend(seen.filter(|record| !(away && of_client(record))));
    }

    /// The client is killed, in the middle of a request of each of its clients.
    pub(super) fn die(&mut self) {
        let mut open: BTreeMap<OpId, u32> = BTreeMap::new();
        for record in &self.records {
            match record {
                Record::Call(call) => _ = open.insert(call.op, call.client),
                Record::Return(end) => _ = open.remove(&end.op),
                _ => {}
            }
        }
        let busy: BTreeSet<u32> = open.into_values().collect();
        for client in 0..self.plan.clients {
            if self.left > 0 && !busy.contains(&client) {
                self.ask(client, mix::last);
            }
        }
        self.process.die(self.next_op, self.watchers.len());
        let away = self.random.between(100, 600) * MILLISECOND;
        self.after(away, Event::Restart);
    }

    /// Another process takes its place, with numbers of its own.
    pub(super) fn start_again(&mut self) {
        self.next_op = self.process.start_again();
        let writers = self.process.number(1_000)..self.process.number(1_600);
        self.free_writers = writers.rev().collect();
        self.records.push(Record::Start {
            t: self.now,
            incarnation: self.process.incarnation(self.plan.seed),
            config: serde_json::Value::Null,
        });
        self.join_all();
        for client in 0..self.plan.clients {
            self.soon(2_000, Event::Client(self.process.number(client)));
        }
    }
}
