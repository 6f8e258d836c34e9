//! PURE: a report -> text for `top`: what each member's etcd uses, and how far it is behind.

use serde::Serialize;

use crate::model::{EtcdReport, Report};
use crate::table::{NONE, bytes, table};

const HEAD: [&str; 10] = [
    "POD",
    "ROLE",
    "TERM",
    "INDEX",
    "LAG",
    "DB",
    "IN USE",
    "QUOTA",
    "FULL",
    "UNDER WAY",
];

/// A member, as `top -o json` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pod: String,
    /// `None` while etcd does not answer; `silence` says why.
    etcd: Option<EtcdReport>,
    /// Size of the database in percent of its quota; `None` where the quota is not known.
    full_percent: Option<u64>,
    silence: Option<String>,
}

/// Members of all components, the largest database first.
pub(crate) fn rows(report: &Report) -> Vec<Row> {
    let members = report.components.iter().flat_map(|part| &part.members);
    let mut rows: Vec<Row> = members
        .map(|member| Row {
            pod: member.pod.clone(),
            full_percent: member.etcd.as_ref().and_then(full),
            etcd: member.etcd.clone(),
            silence: member.silence.clone(),
        })
        .collect();
    let size = |row: &Row| row.etcd.as_ref().map_or(0, |etcd| etcd.db_size_bytes);
    rows.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| a.pod.cmp(&b.pod)));
    rows
}

fn full(etcd: &EtcdReport) -> Option<u64> {
    let quota = etcd.db_quota_bytes.filter(|quota| *quota > 0)?;
    let percent = u128::from(etcd.db_size_bytes) * 100 / u128::from(quota);
    Some(u64::try_from(percent).unwrap_or(u64::MAX))
}

/// The rows as a table, and the reasons of those that say nothing.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut cells = vec![HEAD.map(str::to_owned)];
    cells.extend(rows.iter().map(row));
    let mut lines = vec![table(&cells)];
    for row in rows {
        let silence = row.silence.iter();
        lines.extend(silence.map(|why| format!("  {}: {why}", row.pod)));
    }
    lines.join("\n") + "\n"
}

fn row(row: &Row) -> [String; 10] {
    let none = || NONE.to_owned();
    let etcd = row.etcd.as_ref();
    let of = |tell: &dyn Fn(&EtcdReport) -> String| etcd.map_or_else(none, tell);
    [
        row.pod.clone(),
        of(&|e| e.role.clone()),
        of(&|e| e.term.to_string()),
        of(&|e| e.applied_index.to_string()),
        of(&|e| e.index_lag.to_string()),
        of(&|e| bytes(e.db_size_bytes)),
        of(&|e| bytes(e.db_size_in_use_bytes)),
        of(&|e| e.db_quota_bytes.map_or_else(none, bytes)),
        row.full_percent
            .map_or_else(none, |full| format!("{full}%")),
        of(&|e| e.under_way.clone().unwrap_or_else(none)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report;
    use crate::test_support::seen;

    #[test]
    fn sizes_are_told_with_their_share_of_the_quota() {
        let text = text(&rows(&report(&seen())));
        let expected = "\
POD        ROLE      TERM  INDEX  LAG  DB        IN USE   QUOTA     FULL  UNDER WAY
db-etcd-0  leader    3     120    0    24.4 KiB  8.7 KiB  48.8 KiB  50%   -
db-etcd-1  follower  3     100    20   24.4 KiB  8.7 KiB  48.8 KiB  50%   -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_largest_database_comes_first_and_silence_last() {
        let mut seen = seen();
        seen.views.insert("db-etcd-0".into(), Err("refused".into()));
        let rows = rows(&report(&seen));
        let pods: Vec<&str> = rows.iter().map(|row| row.pod.as_str()).collect();
        assert_eq!(pods, ["db-etcd-1", "db-etcd-0"]);
        assert!(text(&rows).ends_with("  db-etcd-0: its agent does not answer: refused\n"));
    }

    #[test]
    fn a_quota_that_is_not_known_or_zero_has_no_share() {
        let mut etcd = rows(&report(&seen()))[0].etcd.clone().expect("an answer");
        for quota in [None, Some(0)] {
            etcd.db_quota_bytes = quota;
            assert_eq!(full(&etcd), None);
        }
        etcd.db_quota_bytes = Some(1);
        etcd.db_size_bytes = u64::MAX;
        assert_eq!(full(&etcd), Some(u64::MAX));
    }
}
