//! Following pods while packet rules are on: a pod that comes back has another address, maybe on another node, and the
//! rules must go with it. A watch of the pods; while the API server is unavailable the rules stay where they are.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinHandle;

use crate::faults::Member;
use crate::faults::network::installed::Rules;

/// Which pods are followed.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Namespace.
    pub namespace: String,
    /// Label selector.
    pub labels: String,
}

/// A task that follows pods until it is stopped or dropped.
pub(crate) struct Repoint {
    task: JoinHandle<()>,
    told: Arc<Told>,
}

/// What following has come to.
#[derive(Default)]
struct Told {
    times: AtomicU32,
    failures: Mutex<Vec<String>>,
}

impl Repoint {
    pub(crate) fn start(rules: Arc<Rules>, subject: Subject, kube: Client) -> Self {
        let told = Arc::new(Told::default());
        let task = tokio::spawn(follow(rules, subject, kube, told.clone()));
        Self { task, told }
    }

    /// How often rules were pointed elsewhere.
    pub(crate) fn times(&self) -> u32 {
        self.told.times.load(Ordering::Relaxed)
    }

    /// Why rules could not be pointed elsewhere: packets passed meanwhile.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.told.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Repoint {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn follow(rules: Arc<Rules>, subject: Subject, kube: Client, told: Arc<Told>) {
    let api: Api<Pod> = Api::namespaced(kube, &subject.namespace);
    let config = watcher::Config::default().labels(&subject.labels);
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut pods: BTreeMap<String, Member> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            // What is known stays valid while a list begins again: rules are never taken away on the way.
            Ok(watcher::Event::Init) => continue,
            Ok(watcher::Event::InitApply(pod)) => {
                pods.insert(pod.name_any(), Member::of(&pod));
                continue;
            }
            Ok(watcher::Event::Apply(pod)) => {
                pods.insert(pod.name_any(), Member::of(&pod));
            }
            // A pod that is gone keeps its last address until the next one is known: packets of its last moments count.
            Ok(watcher::Event::Delete(_)) => continue,
            Ok(watcher::Event::InitDone) => {}
            Err(error) => {
                tracing::debug!(%error, "pods not seen");
                continue;
            }
        }
        let now: Vec<Member> = pods.values().cloned().collect();
        match rules.point(&now).await {
            Ok(true) => {
                told.times.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to point the rules of {:?} at new addresses", rules.fault);
                let mut failures = told.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(error.to_string());
            }
        }
    }
}
