//! What the page shows, out of caches: two watches that keep few fields of each object, and what the role path holds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_operator_api::{Cluster, InstanceSet, labels};
use futures::TryStreamExt;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Resource;
use kube::api::Api;
use kube::core::{DeserializeGuard, NamespaceResourceScope, ObjectMeta};
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;

use super::text::cut;
use super::view::{ClusterFacts, Facts, FailoverView, Key, PodFacts, SetFacts};
use crate::controller::{Context, events};
use crate::roles::failover::{Failover, News};
use crate::roles::{Board, MemberStore};

/// The objects of one kind, reduced to facts. `None` until the first list is complete.
#[derive(Debug)]
pub(super) struct Kept<F>(Mutex<Option<BTreeMap<Key, F>>>);

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<F: Clone> Kept<F> {
    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<Key, F>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is known; false when there is no complete list yet.
    fn add_to(&self, all: &mut BTreeMap<Key, F>) -> bool {
        let kept = self.lock();
        all.extend(
            kept.iter()
                .flatten()
                .map(|(key, facts)| (key.clone(), facts.clone())),
        );
        kept.is_some()
    }

    /// Takes in an event. `listing` holds what a list that is not complete has brought.
    fn take<K: Resource>(
        &self,
        event: Event<DeserializeGuard<K>>,
        facts: impl Fn(Result<K, ()>, &ObjectMeta) -> F,
        listing: &mut BTreeMap<Key, F>,
    ) {
        let read = |object: DeserializeGuard<K>| {
            let meta = object.meta().clone();
            let place = (
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            );
            (place, facts(object.0.map_err(drop), &meta))
        };
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => listing.extend([read(object)]),
            Event::InitDone => *self.lock() = Some(std::mem::take(listing)),
            Event::Apply(object) => {
                let (key, facts) = read(object);
                if let Some(all) = self.lock().as_mut() {
                    all.insert(key, facts);
                }
            }
            Event::Delete(object) => {
                let (key, _) = read(object);
                if let Some(all) = self.lock().as_mut() {
                    all.remove(&key);
                }
            }
        }
    }
}

/// What is watched of one namespace, or of all.
pub(super) struct Place {
    context: Context,
    clusters: Kept<ClusterFacts>,
    sets: Kept<SetFacts>,
}

/// The caches behind the page.
pub(super) struct Gather {
    places: Vec<Place>,
    store: Arc<MemberStore>,
    board: Arc<Board>,
}

impl Gather {
    /// Caches of the namespaces that are served.
    pub(super) fn new(context: &Context, store: Arc<MemberStore>, board: Arc<Board>) -> Self {
        let places = context.each().into_iter().map(|context| Place {
            context,
            clusters: Kept::default(),
            sets: Kept::default(),
        });
        Self {
            places: places.collect(),
            store,
            board,
        }
    }

    /// Keeps the caches up to date.
    ///
    /// # Errors
    /// When a watch ends, which it only does with the process.
    pub(super) async fn keep(&self) -> anyhow::Result<()> {
        let all = self.places.iter().map(|place| async move {
            tokio::try_join!(
                follow(&place.context, &place.clusters, cluster_facts),
                follow(&place.context, &place.sets, set_facts),
            )
        });
        futures::future::try_join_all(all).await.map(drop)
    }

    /// All that is known now.
    pub(super) fn facts(&self) -> Facts {
        let (mut clusters, mut sets) = (BTreeMap::new(), BTreeMap::new());
        let (mut all_clusters, mut all_sets) = (true, true);
        for place in &self.places {
            all_clusters &= place.clusters.add_to(&mut clusters);
            all_sets &= place.sets.add_to(&mut sets);
        }
        let mut unread = Vec::new();
        if !all_clusters {
            unread.push("Cluster");
        }
        if !all_sets {
            unread.push("InstanceSet");
        }
        let now = Timestamp::now();
        let pods = self.board.pods().into_iter().map(|(key, pod)| {
            let seen = self.store.of(&key, &pod.uid);
            let facts = PodFacts {
                set: pod.instance_set,
                label: pod.role,
                view: seen.map(|seen| (seen.view, seen.silent)),
            };
            ((key.namespace, key.name), facts)
        });
        let failovers = self.board.failovers().into_iter();
        Facts {
            clusters,
            sets,
            pods: pods.collect(),
            failovers: failovers
                .map(|(key, all)| (key, all.iter().map(|one| failover(one, now)).collect()))
                .collect(),
            unread,
        }
    }
}

async fn follow<K, F: Clone>(
    context: &Context,
    kept: &Kept<F>,
    facts: impl Fn(Result<K, ()>, &ObjectMeta) -> F,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let client = context.client.clone();
    let api = match &context.served {
        Some(namespace) => Api::<DeserializeGuard<K>>::namespaced(client, namespace),
        None => Api::all(client),
    };
    let watches = &context.metrics.watches;
    let mut events = std::pin::pin!(events(api, watcher::Config::default(), watches));
    let mut listing = BTreeMap::new();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => kept.take(event, &facts, &mut listing),
            Ok(None) => anyhow::bail!("failed to keep watching {} objects", K::kind(&())),
            // Counted and reported by the watch itself.
            Err(_) => {}
        }
    }
}

const UNREADABLE: &str = "the operator cannot read this object: its events say why";

fn cluster_facts(cluster: Result<Cluster, ()>, _: &ObjectMeta) -> ClusterFacts {
    let Ok(cluster) = cluster else {
        return ClusterFacts {
            phase: None,
            message: Some(UNREADABLE.to_owned()),
        };
    };
    let deleted = cluster.metadata.deletion_timestamp.is_some();
    let status = cluster.status.unwrap_or_default();
    let phase = status.phase.map(|phase| format!("{phase:?}"));
    ClusterFacts {
        phase: if deleted {
            Some("Deleting".to_owned())
        } else {
            phase
        },
        message: status.message.as_deref().map(cut),
    }
}

fn set_facts(set: Result<InstanceSet, ()>, meta: &ObjectMeta) -> SetFacts {
    let cluster = meta
        .labels
        .as_ref()
        .and_then(|all| all.get(labels::INSTANCE).cloned());
    let cluster = cluster.unwrap_or_default();
    let Ok(set) = set else {
        return SetFacts {
            cluster,
            message: Some(UNREADABLE.to_owned()),
            ..SetFacts::default()
        };
    };
    let status = set.status.unwrap_or_default();
    let waiting = status.waiting_on.iter();
    SetFacts {
        cluster,
        wanted: set.spec.replicas,
        ready: status.ready_replicas,
        paused: set.spec.paused,
        stopped: set.spec.stop,
        waiting: waiting
            .take(super::view::SHOWN)
            .map(|waits| (cut(&waits.reason), cut(&waits.message)))
            .collect(),
        message: status.message.as_deref().map(cut),
    }
}

fn failover(one: &Failover, now: Timestamp) -> FailoverView {
    let ago = SignedDuration::try_from(one.began.elapsed()).unwrap_or_default();
    FailoverView {
        at: now.checked_sub(ago).unwrap_or(now),
        from: one.from.clone(),
        to: one.to.clone(),
        term: one.term,
        seen_first: match one.news {
            News::Lost => "the old leader was lost",
            News::Elected => "a member reported the new leader",
            News::Label => "the label had changed",
        },
        unlabelled_ms: one.unlabelled.map(millis),
        labelled_ms: millis(one.labelled),
        endpoints_ms: one.endpoints.map(millis),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn known<F: Clone>(kept: &Kept<F>) -> Option<BTreeMap<Key, F>> {
        let mut all = BTreeMap::new();
        kept.add_to(&mut all).then_some(all)
    }

    fn guarded<K: Resource + DeserializeOwned>(value: Value) -> DeserializeGuard<K> {
        DeserializeGuard::deserialize(value).expect("metadata")
    }

    fn cluster(name: &str, replicas: u64) -> DeserializeGuard<Cluster> {
        guarded(json!({ "metadata": { "namespace": "n", "name": name },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [{ "name": "etcd", "replicas": replicas }] },
            "status": { "phase": "Running" } }))
    }

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_complete() {
        let (kept, mut listing) = (Kept::default(), BTreeMap::new());
        let mut take = |event| {
            kept.take(event, cluster_facts, &mut listing);
            known(&kept).map(|all| all.into_keys().map(|key| key.1).collect::<Vec<_>>())
        };
        assert_eq!(take(Event::Init), None);
        assert_eq!(
            take(Event::InitApply(cluster("a", 3))),
            None,
            "a part of a list is none"
        );
        assert_eq!(take(Event::InitDone), Some(vec!["a".to_owned()]));
        assert_eq!(
            take(Event::Apply(cluster("b", 3))),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            take(Event::Delete(cluster("a", 3))),
            Some(vec!["b".to_owned()])
        );
        assert_eq!(
            take(Event::Init),
            Some(vec!["b".to_owned()]),
            "a new list: the old one stays meanwhile"
        );
        assert_eq!(take(Event::InitDone), Some(vec![]));
    }

    #[test]
    fn an_object_that_cannot_be_read_is_shown_as_such() {
        let (kept, mut listing) = (Kept::default(), BTreeMap::new());
        for event in [
            Event::Init,
            Event::InitApply(cluster("bad", 3_000_000_000)),
            Event::InitApply(cluster("good", 3)),
            Event::InitDone,
        ] {
            kept.take(event, cluster_facts, &mut listing);
        }
        let all = known(&kept).unwrap_or_default();
        let of = |name: &str| all[&("n".to_owned(), name.to_owned())].clone();
        assert_eq!(of("bad").message.as_deref(), Some(UNREADABLE));
        assert_eq!(of("good").phase.as_deref(), Some("Running"));
    }

    #[test]
    fn of_an_instance_set_only_what_is_shown_is_kept() {
        let value = json!({ "metadata": { "namespace": "n", "name": "a-etcd", "labels": { labels::INSTANCE: "a" } },
            "spec": { "replicas": 3, "selector": {}, "template": { "env": "hunter2" }, "paused": true },
            "status": { "readyReplicas": 2, "waitingOn": [{ "reason": "CatchingUp", "message": "m" }] } });
        let set = guarded::<InstanceSet>(value);
        let meta = set.meta().clone();
        let facts = set_facts(set.0.map_err(drop), &meta);
        let expected = SetFacts {
            cluster: "a".into(),
            wanted: 3,
            ready: 2,
            paused: true,
            waiting: vec![("CatchingUp".into(), "m".into())],
            ..SetFacts::default()
        };
        assert_eq!(facts, expected);
    }
}
