//! Several records of one run, put in the order of one clock. Pure.

use etcd_history::{History, Record};

/// The client's history and what the harness saw, in the order of their times; each writer's records keep the order in
/// which they were written.
pub(crate) fn merge(client: History, seen: Vec<Record>, told: Vec<Record>) -> History {
    History::merged(client, seen.into_iter().chain(told))
}

#[cfg(test)]
mod tests {
    use etcd_history::record::Nanos;

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
