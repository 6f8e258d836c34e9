//! What a distribution of failovers is held against: the figures of the design, each on top of what a client that dials
//! all members saw in the same moment, so that a slow machine is not taken for a slow operator.

use std::collections::BTreeMap;

use etcd_history::record::Route;

use super::failover::FailoverReport;

/// What is done to the leader again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL to etcd's process.
    Sigkill,
    /// `kubectl delete pod`.
    Delete,
    /// SIGSTOP to etcd's process.
    Freeze,
}

impl Kind {
    /// The scenario that does it once.
    #[must_use]
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Sigkill => "failover::leader_etcd_killed",
            Self::Delete => "failover::leader_pod_deleted",
            Self::Freeze => "failover::leader_frozen",
        }
    }

    /// The word for it.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sigkill => "killed",
            Self::Delete => "deleted",
            Self::Freeze => "frozen",
        }
    }

    /// Most milliseconds that the median failover may be over the dial-all client, on new and on held connections.
    #[must_use]
    pub(crate) fn budget_ms(self) -> BTreeMap<Route, f64> {
        let (fresh, held) = match self {
            Self::Sigkill => (150.0, 150.0),
            Self::Delete => (100.0, 100.0),
            Self::Freeze => (300.0, 1000.0),
        };
        BTreeMap::from([(Route::ServiceFresh, fresh), (Route::ServiceHeld, held)])
    }

    /// A line for every route: its median over the dial-all client beside its budget. The flag is true when it is kept.
    #[must_use]
    pub(crate) fn judge(self, report: &FailoverReport) -> Vec<(bool, String)> {
        let line = |(route, budget): (Route, f64)| {
            let summary = report.over_dial_all_ms.get(&route)?;
            let kept = summary.median <= budget;
            let word = if kept { "kept" } else { "missed" };
            let name = super::table::route(route);
            let median = summary.median;
            Some((
                kept,
                format!(
                    "{name}: median {median:.0} ms over dial-all, budget {budget:.0} ms: {word}"
                ),
            ))
        };
        self.budget_ms().into_iter().filter_map(line).collect()
    }
}
