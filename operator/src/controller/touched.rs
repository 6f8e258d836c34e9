//! A stream of touched objects of a kind, metadata only: enough to wake a reconciler, and cheap to hold.

use std::fmt::Debug;

use futures::Stream;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};

/// Objects of kind `K` as they are made, changed or deleted. Reconnects with a backoff for ever.
pub fn touched<K>(
    client: &Client,
    config: watcher::Config,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config)
        .default_backoff()
        .touched_objects()
}
