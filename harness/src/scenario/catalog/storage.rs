//! Claims, disks and databases that are lost, full or corrupted.

use crate::faults::{DataLoss, Fault, Selector};
use crate::scenario::promise::Continuity::{LeaderSilent, LeaderStays, ProcessKilled};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let lose = |of, how| Fault::LoseData { of, how };
    vec![
        Scenario::faults(
            "storage::claim_lost",
            "A follower's claim and pod are deleted: it is replaced by a member that learns first.",
            [lose(Selector::AnyFollower, DataLoss::ClaimDeleted)],
        )
        .and_long([5])
        .promise(Promise::continuity(LeaderStays).replaces_member().whole_again_within(45)),
        Scenario::faults(
            "storage::leaders_data_wiped",
            "The leader's data vanishes under it: it never comes back as the member that it was.",
            [lose(Selector::Leader, DataLoss::Wiped)],
        )
        .and_long([5])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers().replaces_member().whole_again_within(60)),
        Scenario::faults(
            "storage::disk_full",
            "A follower's disk is full to the last block: the others continue, and it recovers when there is space.",
            [Fault::FillDisk { of: Selector::AnyFollower }],
        )
        .small_volumes()
        .lasts(5)
        .and_long([5])
        .promise(Promise::continuity(LeaderStays).whole_again_within(90)),
        Scenario::faults(
            "storage::leaders_disk_full",
            "The leader's disk is full to the last block: another one leads, and it recovers when there is space.",
            [Fault::FillDisk { of: Selector::Leader }],
        )
        .small_volumes()
        .lasts(5)
        .and_long([5])
        .at_most(3)
        .promise(Promise::continuity(LeaderSilent).ends_slowly().whole_again_within(90)),
        Scenario::faults(
            "storage::out_of_space",
            "Clients write until etcd is out of space: the operator compacts, defragments member by member and disarms, \
             and writes succeed again.",
            [Fault::FillQuota],
        )
        .setting("quota-backend-bytes", "16777216")
        .lasts(0)
        // A member that has been defragmented rests for a minute: a second round would measure that.
        .at_most(1)
        .and_long([5])
        .promise(Promise::default().whole_again_within(20)),
        Scenario::faults(
            "storage::data_corrupted",
            "A follower's database is corrupted on its disk: etcd stops serving, and a learner replaces the member.",
            [Fault::CorruptData { of: Selector::AnyFollower }],
        )
        .setting("corrupt-check-time", "3s")
        .lasts(0)
        .at_most(2)
        .and_long([5])
        .promise(Promise::default().replaces_member().whole_again_within(60)),
    ]
}
