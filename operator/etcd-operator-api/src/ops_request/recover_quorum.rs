//! A quorum that is given up. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// A component that continues with one member. What only the others know is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "(has(self.acceptDataLoss) && self.acceptDataLoss) != (has(self.dryRun) && self.dryRun)",
        "recoverQuorum: say either dryRun: true, to see what would be lost, or acceptDataLoss: true"
    ),
]))]
pub struct RecoverQuorum {
    /// The component's name within the Cluster.
    #[schemars(length(min = 1, max = 63))]
    pub component_name: String,
    /// Name of the pod whose member stays; absent or `furthest`: that of the highest committed index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub survivor: Option<String>,
    /// True when what only other members know may be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_data_loss: bool,
    /// True to see what would be lost, and to change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl RecoverQuorum {
    /// The pod that is named; `None` for the member with the highest committed index.
    #[must_use]
    pub fn named_survivor(&self) -> Option<&str> {
        let named = self.survivor.as_deref();
        named.filter(|pod| !pod.is_empty() && *pod != "furthest")
    }
}
