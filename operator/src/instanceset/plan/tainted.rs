//! What is said of nodes of members that are ready and still tainted out of service. Nothing is done about it: the
//! taint is its administrator's.

use etcd_operator_api::condition::{ConditionType, Observation, Reason, find};

use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// The condition about it, where it was ever so.
#[must_use]
pub(crate) fn observation(desired: &Desired, seen: &Observed) -> Option<Observation> {
    let kind = ConditionType::NodeTainted;
    if seen.tainted.is_empty() {
        find(&desired.recorded.conditions, kind)?;
        return Some(Observation::new(kind, false, Reason::NoTaint, ""));
    }
    let told = seen.tainted.iter();
    let told = told.map(|(pod, node)| format!("{node} (of {pod})"));
    let told = told.collect::<Vec<_>>().join(", ");
    let text = format!(
        "nodes are ready and still have the taint node.kubernetes.io/out-of-service: {told}. Kubernetes evicts every pod \
         that does not tolerate it and starts none there, and no member there counts as lost. Take it off a node that \
         runs: kubectl taint node NAME node.kubernetes.io/out-of-service-. Of a node that was just switched off \
         Kubernetes soon says that it is not ready, and then the taint counts"
    );
    Some(Observation::new(kind, true, Reason::TaintLeft, text))
}
