//! The lease that lets one replica reconcile at a time.
//!
//! The role path does not need it. A replica that cannot renew stops its reconcilers before another may
//! start (it gives up after [`GIVE_UP`] < [`DURATION`]); every etcd change is guarded by fresh reads anyway (C5).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, interval, timeout};

use crate::config::Config;

/// Name of the Lease.
const NAME: &str = "etcd-operator";
/// A candidate takes over a lease that was not renewed for so long by its own clock. With [`EVERY`] as polling
/// period a crashed holder is replaced within five seconds.
const DURATION: Duration = Duration::from_secs(4);
/// How often the holder renews and a candidate looks.
const EVERY: Duration = Duration::from_secs(1);
/// A holder that could not renew for so long stops its work: a second before anyone may take over.
const GIVE_UP: Duration = Duration::from_secs(3);

/// The lease could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} lease {NAME}: {reason}")]
struct LeaseError {
    action: &'static str,
    reason: String,
}

/// How long the lease is held yet. It counts from the moment at which the last renewal was asked for: it may have been
/// written then, and its answer have come much later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenure(Arc<Mutex<Option<Instant>>>);

impl Tenure {
    /// True while no other replica can have taken over.
    pub(crate) fn holds(&self) -> bool {
        self.left() > Duration::ZERO
    }

    fn left(&self) -> Duration {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.map_or(Duration::ZERO, |asked| {
            GIVE_UP.saturating_sub(asked.elapsed())
        })
    }

    fn set(&self, asked: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }
}

/// One replica's hand on the lease.
pub(crate) struct Candidate {
    api: Api<Lease>,
    identity: String,
    tenure: Tenure,
    /// What was last seen, and since when it has not changed by the local clock.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// A candidate under this replica's name.
    pub(crate) fn new(client: Client, config: &Config, tenure: Tenure) -> Self {
        // A restarted process of the same pod must not mistake the old one's lease for its own.
        let identity = format!("{}_{:08x}", config.identity, rand::random::<u32>());
        Candidate {
            api: Api::namespaced(client, &config.namespace),
            identity,
            tenure,
            seen: None,
        }
    }

    /// Runs `work` each time the lease is held, and drops it when the lease is lost, until `stop` is ready; then
    /// releases the lease so that another replica starts at once.
    pub(crate) async fn hold<W, F>(&mut self, stop: impl Future<Output = ()>, mut work: W)
    where
        W: FnMut() -> F,
        F: Future<Output = ()>,
    {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = self.acquire() => {}
            }
            tracing::info!(identity = self.identity, "acquired the lease");
            let ended = tokio::select! {
                () = &mut stop => true,
                () = self.renew() => false,
                () = work() => false,
            };
            self.tenure.set(None);
            if ended {
                self.release().await;
                return;
            }
            tracing::warn!(
                identity = self.identity,
                "lost the lease, or the controllers stopped; retrying"
            );
        }
    }

    /// Returns once the lease is held.
    async fn acquire(&mut self) {
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            match timeout(GIVE_UP, self.try_acquire()).await {
                Ok(Ok(true)) => {
                    self.tenure.set(Some(asked));
                    return;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot acquire the lease"),
                Err(_) => tracing::warn!("cannot acquire the lease: the API server is slow"),
            }
        }
    }

    async fn try_acquire(&mut self) -> Result<bool, LeaseError> {
        let read = |error: kube::Error| LeaseError {
            action: "read",
            reason: error.to_string(),
        };
        let Some(lease) = self.api.get_opt(NAME).await.map_err(read)? else {
            return self.create().await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if !holder.is_empty() && holder != self.identity && !self.expired(&lease) {
            return Ok(false);
        }
        self.write(lease, Some(self.identity.clone())).await
    }

    /// Whether no replica renewed for [`DURATION`], by the local clock: clocks of nodes may differ.
    fn expired(&mut self, lease: &Lease) -> bool {
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= DURATION,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    async fn create(&self) -> Result<bool, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(DURATION.as_secs() as i32),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(LeaseError {
                action: "create",
                reason: error.to_string(),
            }),
        }
    }

    /// Writes the holder over exactly the lease that was read. False when someone else was faster.
    async fn write(&self, mut lease: Lease, holder: Option<String>) -> Result<bool, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity != holder {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = holder;
        spec.lease_duration_seconds = Some(DURATION.as_secs() as i32);
        spec.renew_time = Some(now);
        match self.api.replace(NAME, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(LeaseError {
                action: "write",
                reason: error.to_string(),
            }),
        }
    }

    /// Renews until that fails for [`GIVE_UP`] or someone else holds the lease.
    async fn renew(&self) {
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            match timeout(self.tenure.left(), self.try_renew()).await {
                Ok(Ok(true)) => self.tenure.set(Some(asked)),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lease"),
                Err(_) => return,
            }
        }
    }

    async fn try_renew(&self) -> Result<bool, LeaseError> {
        let lease = self.api.get(NAME).await;
        let lease = lease.map_err(|e| LeaseError {
            action: "read",
            reason: e.to_string(),
        })?;
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.identity.as_str()) {
            return Ok(false);
        }
        self.write(lease, Some(self.identity.clone())).await
    }

    /// Gives the lease away. Best effort: if it fails, others wait for [`DURATION`].
    async fn release(&self) {
        let released = async {
            let lease = self.api.get(NAME).await.ok()?;
            let holder = lease.spec.as_ref()?.holder_identity.as_deref();
            (holder == Some(self.identity.as_str())).then_some(())?;
            self.write(lease, Some(String::new())).await.ok()
        };
        match timeout(EVERY, released).await {
            Ok(Some(true)) => tracing::info!("released the lease"),
            _ => tracing::warn!("failed to release the lease: others wait until it expires"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU64, Ordering};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use tokio::time::sleep;

    use super::*;

    /// An API server with one lease, held by the last writer, that answers each call after `delay` milliseconds.
    fn server(delay: Arc<AtomicU64>) -> Client {
        let stored: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let answer = move |request: Request<Body>| {
            let (stored, delay) = (Arc::clone(&stored), Arc::clone(&delay));
            async move {
                let written = request.method() != Method::GET;
                let sent = request.into_body().collect_bytes().await;
                let found = {
                    let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
                    if written {
                        *stored = Some(sent.expect("a body").to_vec());
                    }
                    stored.clone()
                };
                sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
                let absent = || {
                    let status = serde_json::json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 });
                    (404, status.to_string().into_bytes())
                };
                let (code, body) = found.map_or_else(absent, |found| (200, found));
                let response = Response::builder().status(code).body(Body::from(body));
                Ok::<_, Infallible>(response.expect("a response"))
            }
        };
        Client::new(tower::service_fn(answer), "n")
    }

    fn candidate(delay: &Arc<AtomicU64>) -> Candidate {
        let config = Config {
            cluster_domain: String::new(),
            namespace: "n".to_owned(),
            service_account: "a".to_owned(),
            token_age: std::time::Duration::ZERO,
            namespaces: vec![],
            identity: "one".to_owned(),
            collector: None,
            backup_image: String::new(),
        };
        Candidate::new(server(Arc::clone(delay)), &config, Tenure::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_counts_from_when_it_was_asked_for() {
        let delay = Arc::new(AtomicU64::new(0));
        let mut one = candidate(&delay);
        one.acquire().await;
        assert!(one.tenure.holds());
        // Read and write take 2.8 s together: the write may have been seen 2.8 s before its answer came.
        delay.store(1400, Ordering::Relaxed);
        let tenure = one.tenure.clone();
        let renewing = tokio::spawn(async move { one.renew().await });
        sleep(Duration::from_millis(2900)).await;
        assert!(
            tenure.left() < Duration::from_millis(300),
            "{:?}",
            tenure.left()
        );
        sleep(Duration::from_millis(300)).await;
        assert!(!tenure.holds() && renewing.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_stopped_for_longer_than_the_lease_takes_no_step() {
        let delay = Arc::new(AtomicU64::new(0));
        let mut one = candidate(&delay);
        one.acquire().await;
        tokio::time::advance(GIVE_UP).await;
        assert!(!one.tenure.holds());
    }
}
