//! Waits until the services have let go of a leader that lost its label. Reads only, bounded, and no part of what
//! keeps two pods from being labelled.
//!
//! Kubernetes' EndpointSlice controller refuses to work on a slice that it has just written and not yet read back,
//! and then waits a whole second ("informer cache is out of date"). A leader that is labelled within that moment,
//! some tens of milliseconds after the old one was stripped, would get its endpoint a second late.

use std::time::Duration;

use etcd_operator_api::labels;
use etcd_operator_api::names::ComponentName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, sleep};

/// Longest wait. A strip reaches the slice in a few tens of milliseconds; when it takes longer, a leader with a late
/// endpoint is better than none.
const LET_GO: Duration = Duration::from_millis(200);
/// Pause between two looks, each answered from the API server's cache.
const AGAIN: Duration = Duration::from_millis(10);

/// The endpoints of one cluster's services.
#[derive(Clone)]
pub(super) struct Endpoints {
    pub(super) slices: Api<EndpointSlice>,
    pub(super) cluster: String,
    pub(super) instance_set: String,
}

impl Endpoints {
    /// Returns when no service leads to a single pod of the InstanceSet other than `winner`, at the latest after
    /// [`LET_GO`]. An API server that does not tell is no reason to wait.
    pub(super) async fn let_go(&self, winner: &str) {
        let selector = format!("{}={}", labels::INSTANCE, self.cluster);
        let cached = ListParams::default().labels(&selector).match_any();
        let deadline = Instant::now() + LET_GO;
        while Instant::now() < deadline {
            let Ok(slices) = self.slices.list(&cached).await else {
                return;
            };
            let holds = |slice| leads_to_another(slice, &self.instance_set, winner);
            if !slices.items.iter().any(holds) {
                return;
            }
            sleep(AGAIN).await;
        }
    }
}

fn leads_to_another(slice: &EndpointSlice, instance_set: &str, winner: &str) -> bool {
    let targets = slice.endpoints.iter();
    let mut pods = targets.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref());
    let (Some(pod), None) = (pods.next(), pods.next()) else {
        return false;
    };
    pod != winner && ComponentName::existing(instance_set).ordinal(pod).is_some()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::api::discovery::v1::Endpoint;

    use super::*;

    #[test]
    fn only_a_service_with_one_other_pod_is_waited_for() {
        let slice = |pods: &[&str]| {
            let endpoint = |pod: &&str| Endpoint {
                target_ref: Some(ObjectReference {
                    name: Some((*pod).to_owned()),
                    ..ObjectReference::default()
                }),
                ..Endpoint::default()
            };
            EndpointSlice {
                endpoints: pods.iter().map(endpoint).collect(),
                ..EndpointSlice::default()
            }
        };
        let cases: [(&[&str], bool); 5] = [
            (&["a-etcd-0"], true),
            (&["a-etcd-1"], false),
            (&[], false),
            (&["a-etcd-0", "a-etcd-2"], false),
            (&["b-etcd-0"], false),
        ];
        for (pods, waits) in cases {
            assert_eq!(
                leads_to_another(&slice(pods), "a-etcd", "a-etcd-1"),
                waits,
                "{pods:?}"
            );
        }
    }
}
