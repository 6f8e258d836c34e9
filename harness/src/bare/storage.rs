//! The scenarios of bare members whose disks are slow, damaged, full or failing, or that lose their power.

use crate::faults::{Fault, LogDamage, Selector, Unreadable, Unsynced};
use crate::scenario::promise::Continuity::LeaderStays;
use crate::scenario::{Event, Promise, Scenario};

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    [of_disks(), of_power(), of_failing_disks()].concat()
}

/// Members whose disk is slow, or has damaged what they wrote.
fn of_disks() -> Vec<Scenario> {
    let slow = |of| Fault::SlowDisk { of, writes_s: 2 };
    let damage = |how| Fault::DamageLog {
        of: Selector::AnyFollower,
        how,
    };
    vec![
        Scenario::faults(
            "bare::slow_disk_follower",
            "The disk of a follower takes two writes a second: it falls behind, and the leader stays.",
            [slow(Selector::AnyFollower)],
        )
        .lasts(4)
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::slow_disk_leader",
            "The disk of the leader takes two writes a second: nothing is stale and nothing lost, whichever member leads.",
            [slow(Selector::Leader)],
        )
        .lasts(4),
        Scenario::faults(
            "bare::log_flipped",
            "A follower is killed and one bit of its log is another when it starts: it refuses to serve, the leader stays, \
             and it follows when its disk has what it wrote.",
            [damage(LogDamage::Flipped)],
        )
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::log_torn",
            "A follower is killed in the middle of a write to its log: it cuts off what was torn and follows, the leader \
             stays, and nothing acknowledged is lost.",
            [damage(LogDamage::Torn)],
        )
        .promise(Promise::continuity(LeaderStays)),
    ]
}

/// Members that lose what they did not sync.
fn of_power() -> Vec<Scenario> {
    let lose = |of, lost| Fault::LosePower { of, lost };
    vec![
        Scenario::faults(
            "bare::all_power_lost",
            "All members lose their power, and all that they have not synced: nothing acknowledged is lost.",
            [lose(Selector::All, Unsynced::All)],
        )
        .operations_s(300)
        .setting("snapshot-count", "100")
        .promise(Promise::default().loses_quorum()),
        Scenario::faults(
            "bare::all_power_lost_in_part",
            "All members lose their power, and some pages and sectors of what they have not synced: they start, and nothing \
             acknowledged is lost.",
            [lose(Selector::All, Unsynced::Some)],
        )
        .operations_s(300)
        .setting("snapshot-count", "100")
        .promise(Promise::default().loses_quorum()),
        Scenario::faults(
            "bare::leader_power_lost",
            "The leader loses its power, and all that it has not synced: the others elect, and it follows.",
            [lose(Selector::Leader, Unsynced::All)],
        )
        .operations_s(300),
    ]
}

/// Members whose disk refuses something. They end but for the last, and are started when it works.
fn of_failing_disks() -> Vec<Scenario> {
    let unreadable = |what| Fault::FailReads {
        of: Selector::AnyFollower,
        what,
    };
    vec![
        Scenario::faults(
            "bare::failing_disk_leader",
            "Every sync of the leader fails: it ends, the others elect, and it follows when its disk is whole and has \
             what was synced.",
            [Fault::FailDisk { of: Selector::Leader }],
        )
        .operations_s(300),
        Scenario::faults(
            "bare::full_disk_leader",
            "The leader's disk has no block left: it ends at the first write that needs one, the others elect, and it follows \
             when there is space.",
            [Fault::FillDisk { of: Selector::Leader }],
        )
        .operations_s(300),
        Scenario::faults(
            "bare::full_disk_follower",
            "A follower's disk has no block left: it ends at the first snapshot or page that needs one, the leader stays, and \
             it follows when there is space.",
            [Fault::FillDisk { of: Selector::AnyFollower }],
        )
        .operations_s(300)
        .setting("snapshot-count", "100")
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::unreadable_log_follower",
            "A follower is killed, and its log cannot be read when it starts: it ends and serves nothing, the leader stays, \
             and it follows when its log can be read.",
            [unreadable(Unreadable::Log)],
        )
        .promise(Promise::continuity(LeaderStays)),
        Scenario::faults(
            "bare::unreadable_snapshots_follower",
            "A follower is killed, and none of its snapshots can be read when it starts: it sets them aside, follows from its \
             log, and the leader stays.",
            [],
        )
        .when(Event::Revisions(300), [unreadable(Unreadable::Snapshots)])
        .operations_s(300)
        .setting("snapshot-count", "50")
        .promise(Promise::continuity(LeaderStays)),
    ]
}
