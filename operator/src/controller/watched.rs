//! Streams of objects as they are touched. Metadata only where that is enough: it wakes a reconciler, is cheap to hold,
//! and can be read whatever the rest of the object looks like.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::Api;
use kube::core::{ClusterResourceScope, DeserializeGuard, NamespaceResourceScope, ObjectMeta};
use kube::runtime::watcher::Event;
use kube::runtime::{
    Controller, PredicateConfig, WatchStreamExt, controller, predicates, reflector, watcher,
};
use serde::de::DeserializeOwned;

use super::current::{Blame, PAGE, tell};
use super::{Context, Head};
use crate::watches::Watches;

/// Rounds of a kind of objects at a time: when the lease is taken, all are due at once. A round has a time limit, so
/// those that hang hold the others up for that long (C3).
pub(crate) const ROUNDS: u16 = 32;

/// Where objects of a kind are looked for: those in namespaces where the operator serves, others everywhere.
pub(crate) trait Reach<K> {
    /// The way to them.
    fn api(context: &Context) -> Api<K>;
}

impl<K> Reach<K> for NamespaceResourceScope
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    fn api(context: &Context) -> Api<K> {
        match &context.served {
            Some(namespace) => Api::namespaced(context.client.clone(), namespace),
            None => Api::all(context.client.clone()),
        }
    }
}

impl<K> Reach<K> for ClusterResourceScope
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
{
    fn api(context: &Context) -> Api<K> {
        Api::all(context.client.clone())
    }
}

/// Events of a watch that is counted. Reconnects with a backoff for ever.
pub(crate) fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    watches: &Watches,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let watch = watches.begin(&K::kind(&()));
    watcher(api, config.page_size(PAGE))
        .default_backoff()
        .inspect(move |event| watch.saw(event))
}

/// Objects of kind `K` as they are made, changed or deleted.
pub(crate) fn touched<K>(
    context: &Context,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Head<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    K::Scope: Reach<Head<K>>,
{
    let api = K::Scope::api(context);
    events(api, config, &context.metrics.watches).touched_objects()
}

/// Objects of kind `K` as they are made or their spec is changed: their status does not matter.
pub(crate) fn specified<K>(
    context: &Context,
) -> impl Stream<Item = watcher::Result<Head<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    K::Scope: Reach<Head<K>>,
{
    touched::<K>(context, watcher::Config::default())
        .predicate_filter(predicates::generation, PredicateConfig::default())
}

/// A controller that knows the metadata of its objects only: each is read when it is reconciled.
pub(crate) fn heads<K>(context: &Context, config: watcher::Config) -> Controller<Head<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    K::Scope: Reach<Head<K>>,
{
    let (store, writer) = reflector::store();
    let api = K::Scope::api(context);
    let events = events(api, config, &context.metrics.watches).modify(|head| {
        head.metadata.managed_fields = None;
        head.metadata.annotations = None;
    });
    Controller::for_stream(events.reflect(writer).touched_objects(), store)
        .with_config(controller::Config::default().concurrency(ROUNDS))
}

/// Whole objects, for callers that must look at all of them. One that cannot be read is reported, and left out unless
/// there is something to stand for it.
pub(crate) fn readable<K>(
    context: &Arc<Context>,
    config: watcher::Config,
    blame: Blame,
    stand_in: fn(&ObjectMeta) -> Option<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::Scope: Reach<DeserializeGuard<K>>,
{
    let api = K::Scope::api(context);
    let events = events(api, config, &context.metrics.watches);
    let context = Arc::clone(context);
    events.filter_map(move |event| {
        let (event, bad) = match event {
            Ok(event) => sort(event, stand_in),
            Err(error) => (Some(Err(error)), None),
        };
        if let Some(bad) = bad {
            let context = Arc::clone(&context);
            tokio::spawn(
                async move { tell::<K>(&context, &bad.metadata, &bad.error, blame).await },
            );
        }
        futures::future::ready(event)
    })
}

pub(super) type Sorted<K> = (
    Option<watcher::Result<Event<K>>>,
    Option<kube::core::error_boundary::InvalidObject>,
);

/// The event as far as it can be read, or with what stands for the object; and what cannot be read.
pub(super) fn sort<K>(
    event: Event<DeserializeGuard<K>>,
    stand_in: fn(&ObjectMeta) -> Option<K>,
) -> Sorted<K> {
    let is_gone = matches!(event, Event::Delete(_));
    let (guarded, wrap): (_, fn(K) -> Event<K>) = match event {
        Event::Init => return (Some(Ok(Event::Init)), None),
        Event::InitDone => return (Some(Ok(Event::InitDone)), None),
        Event::InitApply(object) => (object, Event::InitApply),
        Event::Apply(object) => (object, Event::Apply),
        Event::Delete(object) => (object, Event::Delete),
    };
    match guarded.0 {
        Ok(object) => (Some(Ok(wrap(object))), None),
        Err(bad) => {
            let mut metadata = bad.metadata.clone();
            if is_gone {
                // What goes at once, without a finalizer, has no such time.
                let deleted = &mut metadata.deletion_timestamp;
                deleted.get_or_insert_with(|| Time(Timestamp::now()));
            }
            let instead = stand_in(&metadata);
            (instead.map(|object| Ok(wrap(object))), Some(bad))
        }
    }
}
