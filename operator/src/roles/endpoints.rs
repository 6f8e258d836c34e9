//! Helps the endpoints of services to follow the label. No part of what keeps two pods from being labelled.
//!
//! Kubernetes' EndpointSlice controller refuses to work on a slice that it has just written and not yet read back,
//! and then waits a whole second ("informer cache is out of date", C8). A leader that is labelled within that moment,
//! some tens of milliseconds after the old one was stripped, would get its endpoint a second late. So the services
//! must have dropped the old leader first; and one that is late anyway is touched, which the controller
//! takes up at once.

use std::time::Duration;

use etcd_operator_api::labels;
use etcd_operator_api::names::ComponentName;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tracing::{debug, info};

use super::timing;

/// Longest wait. A strip reaches the slice in a few tens of milliseconds; when it takes longer, a leader with a late
/// endpoint is better than none.
const LET_GO: Duration = Duration::from_millis(200);
/// Pause between two looks, each answered from the API server's cache.
const AGAIN: Duration = Duration::from_millis(10);
/// What the controller needs to read back what it wrote, most of the time.
const READ_BACK: Duration = Duration::from_millis(20);
/// An endpoint that has not followed its label after so long is late: usual are 10 to 40 ms.
const LATE: Duration = Duration::from_millis(80);
/// Longest that endpoints are looked at after the label was written.
const FOLLOWED: Duration = Duration::from_secs(1);
/// Pause between two looks at endpoints that should follow.
const LOOK: Duration = Duration::from_millis(20);
/// Label of slices that Kubernetes keeps.
const MANAGED_BY_KUBERNETES: &str =
    "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// The endpoints of one cluster's services.
#[derive(Clone)]
pub(super) struct Endpoints {
    pub(super) slices: Api<EndpointSlice>,
    pub(super) services: Api<Service>,
    pub(super) cluster: String,
    pub(super) instance_set: String,
}

impl Endpoints {
    /// Waits until no EndpointSlice has a pod of the InstanceSet other than `winner`, at most [`LET_GO`] and
    /// [`READ_BACK`], whether the API server answers or not. Returns at once when it fails.
    pub(super) async fn let_go(&self, winner: &str) {
        let gone = timeout(LET_GO + READ_BACK, self.gone(winner)).await;
        if gone.is_err() {
            debug!(
                winner,
                "whether endpoints have dropped the old leader is not known in time"
            );
        }
    }

    async fn gone(&self, winner: &str) {
        let deadline = Instant::now() + LET_GO;
        let mut held = false;
        while Instant::now() < deadline {
            let Some(slices) = self.cached().await else {
                return;
            };
            if !slices
                .iter()
                .any(|slice| leads_elsewhere(slice, &self.instance_set, winner))
            {
                if held {
                    sleep(READ_BACK).await;
                }
                return;
            }
            held = true;
            sleep(AGAIN).await;
        }
    }

    /// Touches the services that do not lead to `winner` of `term` in time. True as soon as they lead to it, false when
    /// that was not seen within [`FOLLOWED`].
    pub(super) async fn hurry(self, winner: String, term: u64) -> bool {
        let labelled = Instant::now();
        let mut looks = interval_at(labelled + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut touched = false;
        while labelled.elapsed() < FOLLOWED {
            looks.tick().await;
            let Some(slices) = self.cached().await else {
                continue;
            };
            if self.follow(&slices, &winner) {
                return true;
            }
            if !touched && labelled.elapsed() >= LATE {
                touched = true;
                self.touch(&slices, &winner, term).await;
            }
            if touched {
                // A service without a pod of its role never follows: not fifty lists for that.
                sleep(LATE).await;
            }
        }
        false
    }

    /// True when a service leads to `winner` alone and none to another member alone or to no pod at all.
    fn follow(&self, slices: &[EndpointSlice], winner: &str) -> bool {
        let names = |slice: &EndpointSlice| -> Vec<String> {
            let targets = slice.endpoints.iter();
            targets
                .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
                .collect()
        };
        let late = |slice: &EndpointSlice| {
            slice.endpoints.is_empty() || leads_elsewhere(slice, &self.instance_set, winner)
        };
        !slices.iter().any(late) && slices.iter().any(|slice| names(slice) == [winner])
    }

    async fn touch(&self, slices: &[EndpointSlice], winner: &str, term: u64) {
        for slice in slices {
            let late =
                slice.endpoints.is_empty() || leads_elsewhere(slice, &self.instance_set, winner);
            let Some(service) = slice.labels().get(labels::SERVICE_NAME).filter(|_| late) else {
                continue;
            };
            let body =
                json!({ "metadata": { "annotations": { labels::LATE_TERM: term.to_string() } } });
            let patch = Patch::Merge(body);
            let params = PatchParams::default();
            let call = self.services.patch_metadata(service, &params, &patch);
            match timeout(timing::API_CALL, call).await {
                Ok(Ok(_)) => info!(service, term, "endpoints are late: touched the service"),
                Ok(Err(error)) => debug!(service, %error, "endpoints are late"),
                Err(_) => debug!(service, "endpoints are late, and so is the API server"),
            }
        }
    }

    /// `None` when the API server fails or does not answer: a connection to one that has vanished ends by itself only
    /// after minutes.
    async fn cached(&self) -> Option<Vec<EndpointSlice>> {
        // Slices that a user made by hand are not waited for.
        let selector = format!(
            "{}={},{MANAGED_BY_KUBERNETES}",
            labels::INSTANCE,
            self.cluster
        );
        let params = ListParams::default().labels(&selector).match_any();
        let listed = timeout(timing::API_CALL, self.slices.list(&params)).await;
        Some(listed.ok()?.ok()?.items)
    }
}

fn leads_elsewhere(slice: &EndpointSlice, instance_set: &str, winner: &str) -> bool {
    let targets = slice.endpoints.iter();
    let mut pods = targets.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref());
    let (Some(pod), None) = (pods.next(), pods.next()) else {
        return false;
    };
    pod != winner && ComponentName::existing(instance_set).ordinal(pod).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::api::discovery::v1::Endpoint;
    use kube::Client;
    use kube::client::Body;

    use super::*;

    /// A slice of the leader service that leads to these pods.
    fn slice(pods: &[&str]) -> EndpointSlice {
        let endpoint = |pod: &&str| Endpoint {
            target_ref: Some(ObjectReference {
                name: Some((*pod).to_owned()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        };
        let mut slice = EndpointSlice {
            endpoints: pods.iter().map(endpoint).collect(),
            ..EndpointSlice::default()
        };
        let service = (labels::SERVICE_NAME.to_owned(), "a-etcd".to_owned());
        slice.labels_mut().extend([service]);
        slice
    }

    /// An API server that shows one list of pods after the other, the last one for ever, and notes what is written.
    fn served(shown: &'static [&'static [&'static str]]) -> (Endpoints, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let notes = Arc::clone(&seen);
        let answer = move |request: Request<Body>| {
            let mut notes = notes.lock().unwrap();
            let body = if request.method() == Method::GET {
                let pods = shown[notes.looks.min(shown.len() - 1)];
                notes.looks += 1;
                json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {},
                    "items": [slice(pods)] })
            } else {
                notes.written.push(request.uri().path().to_owned());
                json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {} })
            };
            let response = Response::new(Body::from(body.to_string().into_bytes()));
            futures::future::ready(Ok::<_, std::convert::Infallible>(response))
        };
        (by(Client::new(tower::service_fn(answer), "n")), seen)
    }

    fn by(client: Client) -> Endpoints {
        Endpoints {
            slices: Api::namespaced(client.clone(), "n"),
            services: Api::namespaced(client, "n"),
            cluster: "a".to_owned(),
            instance_set: "a-etcd".to_owned(),
        }
    }

    /// An API server that takes requests and answers those of `method` never, others like [`served`].
    fn silent(method: Method) -> Endpoints {
        let late = move |request: Request<Body>| {
            let hangs = request.method() == method;
            answer_unless(hangs)
        };
        by(Client::new(tower::service_fn(late), "n"))
    }

    async fn answer_unless(hangs: bool) -> Result<Response<Body>, std::convert::Infallible> {
        if hangs {
            std::future::pending::<()>().await;
        }
        let body = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {},
            "items": [slice(&["a-etcd-0"])] });
        Ok(Response::new(Body::from(body.to_string().into_bytes())))
    }

    #[derive(Default)]
    struct Seen {
        looks: usize,
        written: Vec<String>,
    }

    #[test]
    fn only_a_service_with_one_other_pod_is_waited_for() {
        let cases: [(&[&str], bool); 5] = [
            (&["a-etcd-0"], true),
            (&["a-etcd-1"], false),
            (&[], false),
            (&["a-etcd-0", "a-etcd-2"], false),
            (&["b-etcd-0"], false),
        ];
        for (pods, waits) in cases {
            assert_eq!(
                leads_elsewhere(&slice(pods), "a-etcd", "a-etcd-1"),
                waits,
                "{pods:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_leader_is_waited_for_as_long_as_it_is_served() {
        let begun = Instant::now();
        let (endpoints, seen) = served(&[&["a-etcd-0"], &["a-etcd-0"], &[]]);
        endpoints.let_go("a-etcd-1").await;
        assert_eq!(seen.lock().unwrap().looks, 3);
        assert_eq!(begun.elapsed(), 2 * AGAIN + READ_BACK);
        // Nothing to wait for: no pause at all.
        let begun = Instant::now();
        served(&[&[]]).0.let_go("a-etcd-1").await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_lets_go_is_waited_for_no_longer() {
        let begun = Instant::now();
        served(&[&["a-etcd-0"]]).0.let_go("a-etcd-1").await;
        assert_eq!(begun.elapsed(), LET_GO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_has_vanished_holds_up_no_label() {
        let begun = Instant::now();
        silent(Method::GET).let_go("a-etcd-1").await;
        assert_eq!(begun.elapsed(), LET_GO + READ_BACK);
        for method in [Method::GET, Method::PATCH] {
            let begun = Instant::now();
            let endpoints = silent(method.clone());
            let followed = endpoints.hurry("a-etcd-1".to_owned(), 7).await;
            assert!(!followed);
            let took = begun.elapsed();
            assert!(took <= FOLLOWED + timing::API_CALL, "{method}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_service_that_is_late_is_touched() {
        for (pods, late) in [
            (&[&["a-etcd-1"] as &[&str]] as &[&[&str]], false),
            (&[&["a-etcd-0"]], true),
            (&[&[]], true),
        ] {
            let (endpoints, seen) = served(pods);
            let followed = endpoints.hurry("a-etcd-1".to_owned(), 7).await;
            assert_eq!(followed, !late, "{pods:?}");
            let wanted: &[&str] = if late {
                &["/api/v1/namespaces/n/services/a-etcd"]
            } else {
                &[]
            };
            assert_eq!(seen.lock().unwrap().written, wanted, "{pods:?}");
        }
    }
}
