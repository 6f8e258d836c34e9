//! The watches behind the records: raw ones, because a cache would keep only the newest version of an object.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_history::Record;
use etcd_history::record::Nanos;
use etcd_operator_api::labels;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::clock::now;
use super::{membership, objects};
use crate::timeouts;
use crate::wait::pause;

/// Pause before a broken watch is taken up again: short, because what happens in it is not seen.
const AGAIN: Duration = Duration::from_millis(100);

/// Whose objects are watched.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Namespace.
    pub namespace: String,
    /// Label selector of the members' pods.
    pub pods: String,
    /// Name of the leader service.
    pub service: String,
}

/// Watches until it is asked for what it saw.
#[derive(Debug)]
pub(crate) struct Observer {
    seen: Arc<Mutex<Vec<Record>>>,
    tasks: JoinSet<()>,
}

impl Observer {
    /// Starts watching, on this host's clock.
    pub(crate) fn start(client: &Client, subject: &Subject) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &subject.namespace);
        tasks.spawn(follow(
            pods,
            subject.pods.clone(),
            Arc::clone(&seen),
            move |pod, gone| Record::Pod(objects::pod(now(0), pod, gone)),
        ));
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &subject.namespace);
        let service = subject.service.clone();
        let selector = format!("{}={service}", labels::SERVICE_NAME);
        tasks.spawn(follow(
            slices,
            selector,
            Arc::clone(&seen),
            move |slice, gone| Record::Endpoints(objects::endpoints(now(0), slice, &service, gone)),
        ));
        Self { seen, tasks }
    }

    /// Writes down these member lists, too.
    pub(crate) fn follow_membership(&mut self, lists: BoxStream<'static, String>) {
        let seen = Arc::clone(&self.seen);
        self.tasks.spawn(membership::follow(lists, seen));
    }

    /// Stops watching and returns what was seen, in the order in which it was delivered. `offset` is what must be added
    /// to this host's clock to get the recording client's, which was not there when the watches began.
    pub(crate) async fn finish(mut self, offset: Nanos) -> Vec<Record> {
        self.tasks.shutdown().await;
        let mut seen =
            std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        for record in &mut seen {
            record.shift(offset);
        }
        seen
    }
}

struct Follower<K, F> {
    api: Api<K>,
    selector: String,
    record: F,
    seen: Arc<Mutex<Vec<Record>>>,
    known: BTreeMap<String, K>,
}

/// Lists and watches for ever.
async fn follow<K, F>(api: Api<K>, selector: String, seen: Arc<Mutex<Vec<Record>>>, record: F)
where
    K: Resource + Clone + Debug + DeserializeOwned,
    F: Fn(&K, bool) -> Record,
{
    let mut follower = Follower {
        api,
        selector,
        record,
        seen,
        known: BTreeMap::new(),
    };
    loop {
        if let Err(error) = follower.watch().await {
            tracing::debug!(%error, "a watch of the run broke");
        }
        pause(AGAIN).await;
    }
}

impl<K, F> Follower<K, F>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    F: Fn(&K, bool) -> Record,
{
    async fn watch(&mut self) -> Result<(), kube::Error> {
        let params = ListParams::default().labels(&self.selector);
        let Ok(listed) =
            tokio::time::timeout(timeouts::API_CALL_FAST, self.api.list(&params)).await
        else {
            return Ok(());
        };
        let listed = listed?;
        let version = listed.metadata.resource_version.clone().unwrap_or_default();
        let gone: Vec<K> = {
            let still = |name: &str| listed.items.iter().any(|object| object.name_any() == name);
            self.known
                .iter()
                .filter(|(name, _)| !still(name))
                .map(|(_, object)| object.clone())
                .collect()
        };
        for object in &gone {
            self.deliver(object, true);
        }
        for object in &listed.items {
            let known = self.known.get(&object.name_any());
            if known.is_none_or(|known| known.resource_version() != object.resource_version()) {
                self.deliver(object, false);
            }
        }
        let params = WatchParams::default().labels(&self.selector).timeout(60);
        let events = self.api.watch(&params, &version).await?.boxed();
        pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.deliver(&object, false);
                }
                WatchEvent::Deleted(object) => self.deliver(&object, true),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => {
                    tracing::debug!(?status, "the API server ended a watch");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, object: &K, gone: bool) {
        if gone {
            self.known.remove(&object.name_any());
        } else {
            self.known.insert(object.name_any(), object.clone());
        }
        let record = (self.record)(object, gone);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}
