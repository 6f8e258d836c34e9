//! soon
use super::expectations::{Expectations, GapBudget, GapWindow, OperationKind, Traffic};
use crate::record::Road;

/// What a simulated run lives up to.
pub(crate) fn expectations(members: u32) -> Expectations {
    use OperationKind as Kind;
    let budget = |road, window, limit_ms| GapBudget { road, window, limit_ms, over_dial_all: false };
    Expectations {
        members,
        faults: 1,
        traffic: Traffic::default(),
        operations: [
            Kind::Put,
            Kind::Range,
            Kind::SerializableRange,
            Kind::Delete,
            Kind::Txn,
            Kind::LeaseGrant,
            Kind::Watch,
        ]
        .into(),
        gaps: vec![
            budget(Road::ServiceFresh, GapWindow::EveryFault, 1_500.0),
            budget(Road::ServiceHeld, GapWindow::Fault(0), 1_500.0),
            budget(Road::ServiceFresh, GapWindow::Outside, 1_000.0),
            GapBudget { over_dial_all: true, ..budget(Road::ServiceFresh, GapWindow::EveryFault, 500.0) },
        ],
        label_lag_ms: Some(500),
        ..Expectations::default()
    }
}
