//! Mistakes of a cluster's owner: no data is lost, and correcting the mistake is all that is needed.

use crate::faults::{Container, DataLoss, Fault, Selector};
use crate::scenario::operation::Operation;
use crate::scenario::promise::Continuity::{LeaderStays, Planned};
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::faults(
            "owner::all_claims_deleted",
            "`kubectl delete pvc --all` under running members: they are replaced one at a time, each by a member that has \
             learned the data, and no vote is missing meanwhile.",
            [Fault::LoseData {
                of: Selector::All,
                how: DataLoss::ClaimAlone,
            }],
        )
        .once()
        .and_long([5])
        // etcd stops at once when its member is removed: a write on a connection to it may fail.
        .promise(
            Promise::continuity(Planned)
                .replaces_member()
                .whole_again_within(60),
        ),
        Scenario::faults(
            "owner::wrong_template",
            "The Cluster asks for more processors than any node has: the update stops at the first follower, and the \
             corrected Cluster is all that it needs.",
            [Fault::WrongTemplate],
        )
        .lasts(3)
        .at_most(3)
        .and_long([5])
        .promise(
            Promise::continuity(LeaderStays)
                .no_failed_write()
                .whole_again_within(60),
        ),
        Scenario::operations(
            "owner::scale_in_member_dead",
            "Five members become three while etcd of a follower cannot run: the others write on, and the scaling ends.",
            [Operation::Scale(3)],
        )
        .members([5])
        .and_meanwhile([Fault::KeepKilling {
            container: Container::Etcd,
            of: Selector::AnyFollower,
        }])
        .promise(Promise::continuity(Planned).whole_again_within(120)),
    ]
}
