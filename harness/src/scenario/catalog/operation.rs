//! What owners do on a running cluster, under load, and with a fault in the middle.

use super::counts::THREE_AND_FIVE;
use crate::faults::{
    Absence, Container, ControlPlanePart, Deletion, Direction, Fault, OperatorFault, Replicas,
    Selector, Traffic,
};
use crate::scenario::promise::Continuity::{LeaderSilent, LeaderStays, Planned, ProcessKilled};
use crate::scenario::{Operation, Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = usual();
    all.extend(upgrades());
    all.extend(backups());
    all.extend(disturbed());
    all.extend(long());
    all.extend(versions());
    all.push(switchovers());
    all.push(move_follower());
    all.push(volumes_grow());
    all.push(growth_taken_back());
    all.push(storage_class_moved());
    all
}

/// What takes minutes: churn, and faults that Kubernetes itself is slow to get over.
fn long() -> Vec<Scenario> {
    let planned = || Promise::continuity(Planned).no_failed_write();
    let churn = [3, 5, 3, 1].map(Operation::Scale);
    vec![
        Scenario::operations(
            "operation::churn",
            "One member becomes three, five, three and one again, three times over: one change at a time, nothing lost.",
            [churn, churn, churn].concat(),
        )
        .members([1])
        .promise(planned())
        .long(),
        Scenario::operations(
            "operation::seven_members",
            "Five members become seven and five again.",
            [Operation::Scale(7), Operation::Scale(5)],
        )
        .members([5])
        .promise(planned())
        .long(),
        Scenario::operations(
            "operation::scale_out_api_server_away",
            "The API server is unavailable while two members join: they join when it is back, etcd serves meanwhile.",
            [Operation::Scale(5)],
        )
        .and_meanwhile([Fault::ControlPlane {
            part: ControlPlanePart::ApiServer,
            how: Absence::Frozen,
        }])
        .lasts(8)
        .promise(Promise::continuity(Planned).whole_again_within(120))
        .long(),
        Scenario::operations(
            "operation::scale_in_leader_evicted",
            "The leader's pod is evicted while two members leave.",
            [Operation::Scale(3)],
        )
        .members([5])
        .and_meanwhile([Fault::DeletePod {
            of: Selector::Leader,
            how: Deletion::Evicted,
        }])
        .promise(planned())
        .long(),
        Scenario::operations(
            "operation::restart_follower_cut_off",
            "A follower loses its peers in the middle of a rolling restart: no other member is stopped meanwhile.",
            [Operation::Restart],
        )
        .and_meanwhile([Fault::Isolate {
            of: Selector::AnyFollower,
            traffic: Traffic::Peer,
            direction: Direction::Both,
        }])
        .lasts(6)
        .promise(Promise::continuity(ProcessKilled).elected_by_timers().whole_again_within(120))
        .long(),
        Scenario::operations(
            "operation::rebuild_follower_operator_killed",
            "Both operators are killed while a follower is rebuilt: it is finished when one is back.",
            [Operation::RebuildFollower],
        )
        .and_meanwhile([Fault::Operator {
            how: OperatorFault::Killed,
            replicas: Replicas::All,
        }])
        .promise(planned())
        .long(),
    ]
}

fn move_follower() -> Scenario {
    Scenario::operations(
        "operation::move_follower",
        "A rebuild of a follower names a node without a member: the new member is there, and no client notices.",
        [Operation::MoveFollower],
    )
    .promise(Promise::continuity(Planned).no_failed_write())
    .long()
}

/// Changes of minor. `make e2e-long` brings the images.
fn versions() -> Vec<Scenario> {
    const FIRST: &str = "3.5.35";
    const SECOND: &str = "3.6.16";
    const THIRD: &str = "3.7.3";
    let change = |from, to| Operation::Upgrade { from, to };
    vec![
        Scenario::operations(
            "operation::upgrade_two_minors",
            "Every member goes from 3.5 to 3.6, then to 3.7, one at a time, the leader last.",
            [change(FIRST, SECOND), change(SECOND, THIRD)],
        )
        .promise(Promise::continuity(Planned).no_failed_write())
        .long(),
        Scenario::operations(
            "operation::downgrade",
            "etcd leads the data of all members back from 3.6 to 3.5, then each is replaced, the leader last.",
            [change(SECOND, FIRST)],
        )
        .promise(Promise::continuity(Planned).no_failed_write())
        .long(),
        Scenario::operations(
            "operation::downgrade_leader_killed",
            "The leader's etcd is killed while members go back by a minor: they all do.",
            [change(SECOND, FIRST)],
        )
        .and_meanwhile([Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        }])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers())
        .long(),
    ]
}

/// Often enough to show what one switchover in 15 does.
fn switchovers() -> Scenario {
    Scenario::operations(
        "operation::switchovers",
        "Leadership is moved by request five times, a second apart: no client loses an answer.",
        [Operation::Switchover; 5],
    )
    .promise(Promise::continuity(Planned).no_failed_write())
    .long()
}

/// Its driver is built from source, which takes minutes once.
fn volumes_grow() -> Scenario {
    Scenario::operations(
        "operation::volumes_grow",
        "Every volume is doubled by request: etcd sees the larger file system, and nothing is restarted.",
        [Operation::Grow(512)],
    )
    .growing_volumes()
    // What is half of a small volume else, and would restart members when it follows.
    .setting("quota-backend-bytes", "104857600")
    .promise(Promise::continuity(LeaderStays).no_failed_write())
    .long()
}

/// That driver makes 4 GiB at most.
fn growth_taken_back() -> Scenario {
    Scenario::operations(
        "operation::growth_taken_back",
        "A size that the driver cannot make is requested, and a smaller one is set instead: all volumes have that one, and \
         nothing is restarted.",
        [Operation::GrowTooFar {
            first: 8192,
            then: 512,
        }],
    )
    .growing_volumes()
    .setting("quota-backend-bytes", "104857600")
    .promise(Promise::continuity(LeaderStays).no_failed_write())
    .long()
}

/// From the class of that driver to the nodes' own volumes.
fn storage_class_moved() -> Scenario {
    Scenario::operations(
        "operation::storage_class_moved",
        "Another storage class is named: members are replaced one at a time, the leader last.",
        [Operation::MoveVolumes],
    )
    .growing_volumes()
    // A write that a member has in hand when it is removed ends with `raft: stopped`.
    .promise(Promise::continuity(Planned))
    .long()
}

fn usual() -> Vec<Scenario> {
    let planned = || Promise::continuity(Planned).no_failed_write();
    vec![
        Scenario::operations(
            "operation::scale_out_and_in",
            "Three members become five and three again: each comes as a learner, no client of the service notices.",
            [Operation::Scale(5), Operation::Scale(3)],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::rolling_restart",
            "Every pod is recreated, followers first, the leader last and after it has transferred leadership.",
            [Operation::Restart],
        )
        .members(THREE_AND_FIVE)
        .promise(planned()),
        Scenario::operations(
            "operation::switchover_and_resize",
            "Leadership is moved by request, then every member gets more processor time.",
            [Operation::Switchover, Operation::Resize],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::stop_and_start",
            "All members are stopped and started again: the same members, with their data.",
            [Operation::StopAndStart],
        )
        .promise(Promise::default().loses_quorum()),
        Scenario::operations(
            "operation::reconfigure_and_expose",
            "Every member gets another quota; a service on a port of every node comes and goes.",
            [Operation::Reconfigure, Operation::Expose, Operation::Conceal],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::rebuild_follower",
            "A rebuild of a follower is requested: it is removed by its identifier and joins with an empty disk.",
            [Operation::RebuildFollower],
        )
        .promise(planned()),
    ]
}

fn upgrades() -> Vec<Scenario> {
    vec![
        Scenario::operations(
            "operation::upgrade",
            "Every member gets a newer patch of etcd, one at a time, the leader last.",
            [Operation::Upgrade {
                from: "3.6.1",
                to: "3.6.16",
            }],
        )
        .promise(Promise::continuity(Planned).no_failed_write()),
        Scenario::operations(
            "operation::upgrade_minor",
            "Every member gets the next minor of etcd, one at a time, the leader last.",
            [Operation::Upgrade {
                from: "3.5.35",
                to: "3.6.16",
            }],
        )
        .promise(Promise::continuity(Planned).no_failed_write())
        .long(),
    ]
}

/// What is backed up and archived, and restored.
fn backups() -> Vec<Scenario> {
    let planned = || Promise::continuity(Planned).no_failed_write();
    vec![
        Scenario::operations(
            "operation::backup",
            "A backup under load is restored into a second cluster, which holds the keys of that revision.",
            [Operation::BackUpAndRestore],
        )
        .promise(planned()),
        Scenario::operations(
            "operation::archive",
            "Every change is archived in an S3 server, encrypted; its pod is deleted by force. It is restored to revisions \
             and to a time, each time with the keys of then.",
            [Operation::ArchiveAndRestore],
        )
        .promise(planned())
        .long(),
        Scenario::operations(
            "operation::archive_operator_killed",
            "Both operators are killed beside the archive's pod: nothing of the archive is missing afterwards.",
            [Operation::ArchiveAndRestore],
        )
        .and_meanwhile([Fault::Operator {
            how: OperatorFault::Killed,
            replicas: Replicas::All,
        }])
        .promise(planned())
        .long(),
        Scenario::operations(
            "operation::backup_leader_pod_deleted",
            "The leader's pod is deleted by force while a backup is made: it ends verified, and holds what it must.",
            [Operation::BackUpAndRestore],
        )
        .and_meanwhile([Fault::DeletePod {
            of: Selector::Leader,
            how: Deletion::Forced,
        }])
        .promise(Promise::continuity(LeaderSilent))
        .long(),
    ]
}

fn disturbed() -> Vec<Scenario> {
    vec![
        Scenario::operations(
            "operation::scale_out_leader_killed",
            "The leader's etcd is killed while two members join: they join anyway.",
            [Operation::Scale(5)],
        )
        .and_meanwhile([Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        }])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers()),
        Scenario::operations(
            "operation::restart_leader_killed",
            "The leader's etcd is killed in the middle of a rolling restart: the others elect, and the restart is completed.",
            [Operation::Restart],
        )
        // Of three members two would be down.
        .members([5])
        .and_meanwhile([Fault::KillProcess {
            container: Container::Etcd,
            of: Selector::Leader,
        }])
        .promise(Promise::continuity(ProcessKilled).elected_by_timers())
        .long(),
        Scenario::operations(
            "operation::restart_operator_killed",
            "Both operators are killed in the middle of a rolling restart: it continues when one is back.",
            [Operation::Restart],
        )
        .and_meanwhile([Fault::Operator {
            how: OperatorFault::Killed,
            replicas: Replicas::All,
        }])
        .promise(Promise::continuity(Planned).no_failed_write()),
    ]
}
