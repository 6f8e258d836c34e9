//! What is asked of a supervisor, and what it answers, as JSON.

use serde::{Deserialize, Serialize};

/// What a line of a supervisor's log begins with that holds its report.
pub const MARK: &str = "disk-faults: ";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// What was written counts as written back, and no call returns until the power goes or all is healed. Of programs
    /// that stand still before one of them continues, none has received what another loses.
    StandStill,
    /// From now on no sync of something un-synced returns; then the program is killed, and what was not synced is
    /// undone.
    LosePower {
        /// What of it is there nevertheless.
        kept: Kept,
        /// So long it waits for a sync that it can hold.
        wait_ms: u64,
        /// So long it holds the first one: who continues without it has time to say so.
        hold_ms: u64,
    },
    /// Syncs end with EIO.
    RefuseSyncs {
        /// So many of them; all when not given.
        next: Option<u64>,
    },
    /// Writes end with EIO.
    RefuseWrites {
        /// So many of them; all when not given.
        next: Option<u64>,
    },
    /// No block can be allocated: a write that needs one ends with ENOSPC.
    Fill,
    /// Reads end with EIO. Only as the first order: reads are not announced otherwise.
    RefuseReads {
        /// Of files below this folder, as seen from the one that is looked after.
        below: String,
        /// Of those alone whose names end like this.
        ending: String,
    },
    /// Nothing is refused any more.
    Heal,
    /// Only reports.
    Tell,
}

/// What of the un-synced writes a power loss leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Some pages, and of some their first sectors, by chance: a kernel writes pages back in any order, and a disk
    /// writes no more than a sector at once.
    Some {
        /// Seed of the choice.
        seed: u64,
    },
}

/// What a supervisor has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was undone, by file.
    pub lost: Vec<Loss>,
    /// Pages that are not synced.
    pub unsynced_pages: u64,
    /// Syncs and writes that ended with EIO.
    pub refused: u64,
    /// Writes that needed a block and ended with ENOSPC.
    pub no_space: u64,
    /// Reads that ended with EIO.
    pub unread: u64,
    /// Something is refused at this moment, if it is asked for.
    pub refusing: bool,
    /// Syncs that did not return before the power went.
    pub held: u64,
    /// When the program was dead, in milliseconds since 1970; absent while it runs.
    pub died_at_ms: Option<u64>,
    /// The first write whose former content could not be kept, and why: it cannot be undone.
    pub untracked: Option<String>,
}

/// What was undone in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where it is, or was.
    pub file: String,
    /// Pages that were written and not synced.
    pub pages: u64,
    /// Bytes that are others again, or that were cut off and were not zero.
    pub bytes: u64,
    /// Bytes that were cut off at its end, zeros of a file that was made longer in advance included.
    pub cut: u64,
}

impl Report {
    /// Bytes that were undone, in all files.
    pub fn undone(&self) -> u64 {
        self.lost.iter().map(|loss| loss.bytes).sum()
    }

    /// The last report in a log.
    pub fn last_in(log: &str) -> Option<Self> {
        let reports = log.lines().filter_map(|line| line.split_once(MARK));
        reports
            .filter_map(|(_, report)| serde_json::from_str(report).ok())
            .next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_understood_or_refused() {
        let order = Order::LosePower {
            kept: Kept::Some { seed: 7 },
            wait_ms: 1000,
            hold_ms: 50,
        };
        let unreadable = Order::RefuseReads {
            below: "member/wal".to_owned(),
            ending: String::new(),
        };
        for order in [order, unreadable, Order::Fill] {
            let text = serde_json::to_string(&order).expect("text");
            let read = serde_json::from_str::<Order>(&text).expect("an order");
            assert_eq!(read, order);
        }
        for text in [
            r#""explode""#,
            r#"{"heal":{"now":true}}"#,
            r#"{"refuse_syncs":{"next":1,"more":2}}"#,
            "",
        ] {
            assert!(serde_json::from_str::<Order>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_report_of_a_log_counts() {
        let report = |refused| Report {
            refused,
            ..Report::default()
        };
        let line = |refused| serde_json::to_string(&report(refused)).expect("text");
        let log = format!(
            "a\n{MARK}{}\n{{}}\nx {MARK}{}\n{MARK}not one\n",
            line(1),
            line(2)
        );
        assert_eq!(Report::last_in(&log), Some(report(2)));
        assert_eq!(Report::last_in("nothing\n"), None);
    }
}
