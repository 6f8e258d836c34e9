//! Parts of the control plane are unavailable when the leader dies.

use crate::faults::{Absence, Container, ControlPlanePart, Deletion, Fault, Selector};
use crate::scenario::promise::Continuity::Planned;
use crate::scenario::{Promise, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    let leader_dies = || Fault::KillProcess {
        container: Container::Etcd,
        of: Selector::Leader,
    };
    let away = |part, how| Fault::ControlPlane { part, how };
    vec![
        Scenario::faults(
            "control_plane::api_server_away_during_failover",
            "The API server is unavailable when the leader dies: etcd elects, and the service follows as soon as labels can be \
             written again.",
            [away(ControlPlanePart::ApiServer, Absence::Frozen), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
        Scenario::faults(
            "control_plane::api_server_stopped_during_failover",
            "The API server is stopped, so that connections are refused, when the leader dies: as if it were frozen.",
            [away(ControlPlanePart::ApiServer, Absence::Stopped), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
        Scenario::faults(
            "control_plane::scheduler_stopped",
            "The scheduler is stopped when the leader's pod is deleted: leadership has moved, its successor waits for a node.",
            [
                away(ControlPlanePart::Scheduler, Absence::Stopped),
                Fault::DeletePod { of: Selector::Leader, how: Deletion::Graceful },
            ],
        )
        .and_long([5])
        .once()
        .promise(Promise::continuity(Planned).no_failed_write()),
        Scenario::faults(
            "control_plane::controller_manager_away_during_failover",
            "Endpoints do not follow labels when the leader dies: the service follows as soon as they do again.",
            [away(ControlPlanePart::ControllerManager, Absence::Frozen), leader_dies()],
        )
        .and_long([5])
        .once()
        .lasts(5),
    ]
}
