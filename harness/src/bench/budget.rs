//! What a distribution of failovers is held against: the figures of the design, each on top of what a client that dials
//! all members saw in the same moment, so that a slow machine is not taken for a slow operator.

use std::collections::BTreeMap;

use clap::ValueEnum as _;
use etcd_history::record::Route;
use etcd_operator_api::settings;

use super::failover::FailoverReport;
use crate::deploy::Guard;

/// What is done to the leader again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL to etcd's process.
    Sigkill,
    /// `kubectl delete pod`.
    Delete,
    /// SIGSTOP to etcd's process.
    Freeze,
    /// Its memory runs out.
    Oom,
    /// `kubectl delete pod --force --grace-period=0`.
    Forced,
    /// Its whole node stops.
    NodeFrozen,
    /// Cut off from its peers.
    CutPeers,
    /// Cut off from all others.
    CutAll,
    /// A follower is told to campaign, nothing dies.
    Elect,
}

impl Kind {
    /// The scenario that does it once.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Sigkill => "failover::leader_etcd_killed",
            Self::Delete => "failover::leader_pod_deleted",
            Self::Freeze => "failover::leader_frozen",
            Self::Oom => "failover::leader_out_of_memory",
            Self::Forced => "failover::leader_pod_deleted_by_force",
            Self::NodeFrozen => "node::leader_node_paused",
            Self::CutPeers => "partition::leader_cut_off_from_peers",
            Self::CutAll => "partition::leader_cut_off_from_everybody",
            Self::Elect => "failover::election_on_demand",
        }
    }

    /// The kind that has this scenario.
    pub(crate) fn of(scenario: &str) -> Option<Self> {
        let mut all = Self::value_variants().iter().copied();
        all.find(|kind| kind.scenario() == scenario)
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sigkill => "killed",
            Self::Delete => "deleted",
            Self::Freeze => "frozen",
            Self::Oom => "out-of-memory",
            Self::Forced => "deleted-by-force",
            Self::NodeFrozen => "node-frozen",
            Self::CutPeers => "cut-off-from-peers",
            Self::CutAll => "cut-off-from-all",
            Self::Elect => "deposed",
        }
    }

    /// Most milliseconds that the median failover may be over the dial-all client, on new and on held connections.
    pub(crate) fn budget_ms(self) -> BTreeMap<Route, f64> {
        let (fresh, held) = match self {
            Self::Sigkill | Self::Oom | Self::Elect => (150.0, 150.0),
            Self::Delete => (100.0, 100.0),
            Self::Forced => (300.0, 300.0),
            Self::Freeze | Self::NodeFrozen | Self::CutPeers | Self::CutAll => (300.0, 1000.0),
        };
        BTreeMap::from([(Route::ServiceFresh, fresh), (Route::ServiceHeld, held)])
    }

    /// A line for every route: its median over the dial-all client beside its budget. The flag is true when it is kept.
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

/// What agents do about a dead leader in the clusters that are measured: the setting `fastElection`, or `relayClients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FastElection {
    /// As the definition has it.
    Shipped,
    /// `true`.
    On,
    /// `suspicion`.
    Suspicion,
    /// `false`.
    Off,
    /// As the definition has it, and `relayClients` is `true`.
    Relay,
    /// As the definition has it, with TLS.
    Tls,
    /// As the definition has it, with TLS and users.
    Users,
}

impl FastElection {
    /// The setting and its value; `None` where the definition's is kept.
    pub(crate) fn setting(self) -> Option<(&'static str, &'static str)> {
        let value = match self {
            Self::Shipped | Self::Tls | Self::Users => return None,
            Self::On => "true",
            Self::Suspicion => "suspicion",
            Self::Off => "false",
            Self::Relay => return Some((settings::RELAY_CLIENTS, "true")),
        };
        Some((settings::FAST_ELECTION, value))
    }

    /// What its clusters are closed with.
    pub(crate) fn guard(self) -> Guard {
        match self {
            Self::Tls => Guard::Tls,
            Self::Users => Guard::TlsAndUsers,
            _ => Guard::Open,
        }
    }

    /// What it adds to the name of a series.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Shipped => "",
            Self::On => ", fastElection true",
            Self::Suspicion => ", fastElection suspicion",
            Self::Off => ", fastElection false",
            Self::Relay => ", relayClients true",
            Self::Tls => ", TLS",
            Self::Users => ", TLS and users",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_the_setting_can_be_had() {
        for fast in FastElection::value_variants() {
            if let Some((name, value)) = fast.setting() {
                assert!(settings::check(name, value).is_ok(), "{fast:?}");
            }
        }
    }
}
