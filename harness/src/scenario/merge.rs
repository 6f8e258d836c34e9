//! Several records of one run, put in the order of one clock. Pure.

use etcd_history::record::Nanos;
use etcd_history::{History, Record};

/// The client's history and what the harness saw, in the order of their times. Records of one time keep the order in
/// which they were written.
pub(super) fn merge(client: History, seen: Vec<Record>, told: Vec<Record>) -> History {
    let mut records = client.records;
    records.extend(seen);
    records.extend(told);
    records.sort_by_key(time);
    History { records }
}

/// When a record was made.
pub(super) fn time(record: &Record) -> Nanos {
    match record {
        Record::Start { t, .. } | Record::Phase { t, .. } => *t,
        Record::Call(call) => call.t,
        Record::Return(end) => end.t,
        Record::Watch(watch) => watch.t,
        Record::Member(sample) => sample.t,
        Record::Hash(hash) => hash.t,
        Record::FinalState(state) => state.t,
        Record::Fault(fault) => fault.t,
        Record::Pod(pod) => pod.t,
        Record::Endpoints(endpoints) => endpoints.t,
        Record::Membership(list) => list.t,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(t: Nanos, name: &str) -> Record {
        Record::Phase {
            t,
            name: name.to_owned(),
        }
    }

    #[test]
    fn records_of_one_time_keep_their_order() {
        let client = History {
            records: vec![phase(1, "a"), phase(5, "b"), phase(5, "c")],
        };
        let merged = merge(client, vec![phase(3, "d")], vec![phase(5, "e")]);
        let names: Vec<&str> = merged
            .records
            .iter()
            .map(|record| match record {
                Record::Phase { name, .. } => name.as_str(),
                _ => "",
            })
            .collect();
        assert_eq!(names, ["a", "d", "b", "c", "e"]);
    }
}
