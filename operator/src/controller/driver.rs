//! The frame of a controller's rounds: bursts become one, each reads its object, has a time limit, figures and waits
//! after failures.

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_operator_api::labels;
use futures::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::backoff::Backoff;
use super::calm::Calm;
use super::context::Context;
use super::current::{Blame, UNREADABLE, current};
use super::head::Head;
use super::round::{Late, ROUND, within};
use crate::client::message;
use crate::metrics::RoundEnd;

/// The object of a round could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the {kind}: {}", message(.source))]
pub(crate) struct Unread {
    kind: String,
    source: kube::Error,
}

/// What the rounds of one controller share.
pub(crate) struct Driver {
    /// What every reconciler is given.
    pub context: Arc<Context>,
    kind: &'static str,
    backoff: Backoff,
    calm: Calm,
}

impl Driver {
    /// The driver of a controller of objects of this kind.
    pub(crate) fn new(kind: &'static str, context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context: Arc::clone(context),
            kind,
            backoff: Backoff::default(),
            calm: Calm::default(),
        })
    }

    /// Runs a controller until it is dropped: each round is given its object as it is now. Errors that are `expected`
    /// happen in the normal course of things.
    ///
    /// # Errors
    /// Never.
    pub(crate) async fn run<K, E, F>(
        self: Arc<Self>,
        controller: Controller<Head<K>>,
        blame: Blame,
        expected: fn(&E) -> bool,
        round: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        E: std::error::Error + From<Late> + From<Unread> + Send + 'static,
        F: Future<Output = Result<Action, E>> + Send + 'static,
    {
        let round = Arc::new(round);
        controller
            .run(
                move |head, driver| {
                    let round = Arc::clone(&round);
                    async move { driver.one(&head, blame, expected, &*round).await }
                },
                move |head, error, driver| driver.failed(&*head, error, expected(error)),
                self,
            )
            .for_each(|_| futures::future::ready(()))
            .await;
        Ok(())
    }

    async fn one<K, E, F>(
        &self,
        head: &Head<K>,
        blame: Blame,
        expected: fn(&E) -> bool,
        round: &impl Fn(K) -> F,
    ) -> Result<Action, E>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
        E: From<Late> + From<Unread>,
        F: Future<Output = Result<Action, E>>,
    {
        if let Some(later) = self.rest(head) {
            return Ok(later);
        }
        let whole = async {
            match current::<K>(&self.context, head, blame).await {
                Ok(Some(object)) => round(object).await,
                Ok(None) => Ok(Action::requeue(UNREADABLE)),
                Err(source) => {
                    let kind = K::kind(&()).into_owned();
                    Err(Unread { kind, source }.into())
                }
            }
        };
        self.round(head, ROUND, expected, Box::pin(whole)).await
    }

    /// When to come back to an object that was just touched; `None` when its round is due.
    fn rest(&self, object: &impl ResourceExt) -> Option<Action> {
        self.calm.rest(&key(object))
    }

    /// Runs a round, within `limit`, and counts it. Errors that are `expected` happen in the normal course of things.
    ///
    /// # Errors
    /// Those of the round, or that it took too long.
    pub(crate) async fn round<E: From<Late>>(
        &self,
        object: &impl ResourceExt,
        limit: Duration,
        expected: impl FnOnce(&E) -> bool,
        round: impl Future<Output = Result<Action, E>>,
    ) -> Result<Action, E> {
        let began = Instant::now();
        let result = within(limit, round).await;
        let metrics = &self.context.metrics;
        let end = RoundEnd::of(&result, expected);
        metrics.reconciled(self.kind, end, began.elapsed());
        if result.is_ok() {
            self.backoff.succeeded(&key(object));
        }
        result
    }

    /// When to try again after a failure. One that is `expected` happens in the normal course of things.
    pub(crate) fn failed(
        &self,
        object: &impl ResourceExt,
        error: &impl Display,
        expected: bool,
    ) -> Action {
        let (kind, object) = (self.kind, key(object));
        if expected {
            tracing::debug!(kind, object, %error, "reconcile is tried again");
        } else {
            tracing::warn!(kind, object, %error, "reconcile failed");
        }
        self.backoff.failed(&object)
    }
}

/// Namespace and name, for logs and maps.
pub(crate) fn key(object: &impl ResourceExt) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{namespace}/{}", object.name_any())
}

/// A watch of objects that the operator made.
pub(crate) fn ours() -> watcher::Config {
    let (label, value) = (labels::MANAGED_BY, labels::MANAGED_BY_VALUE);
    watcher::Config::default().labels(&format!("{label}={value}"))
}

/// All objects of a store, to be reconciled.
pub(crate) fn all<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> Vec<ObjectRef<K>> {
    let objects = objects.iter();
    objects
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}
