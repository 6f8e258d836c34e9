//! The frame of a controller's rounds: bursts become one, each has a time limit, figures and waits after failures.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_operator_api::labels;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

use super::backoff::Backoff;
use super::calm::Calm;
use super::context::Context;
use super::round::{Late, within};

/// What the rounds of one controller share.
pub struct Driver {
    /// What every reconciler is given.
    pub context: Arc<Context>,
    kind: &'static str,
    backoff: Backoff,
    calm: Calm,
}

impl Driver {
    /// The driver of a controller of objects of this kind.
    #[must_use]
    pub fn new(kind: &'static str, context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context: Arc::clone(context),
            kind,
            backoff: Backoff::default(),
            calm: Calm::default(),
        })
    }

    /// When to come back to an object that was just touched; `None` when its round is due.
    #[must_use]
    pub fn rest(&self, object: &impl ResourceExt) -> Option<Action> {
        self.calm.rest(&key(object))
    }

    /// Runs a round, within `limit`.
    ///
    /// # Errors
    /// Those of the round, or that it took too long.
    pub async fn round<E: From<Late>>(
        &self,
        object: &impl ResourceExt,
        limit: Duration,
        round: impl Future<Output = Result<Action, E>>,
    ) -> Result<Action, E> {
        let began = Instant::now();
        let result = within(limit, round).await;
        let metrics = &self.context.metrics;
        metrics.reconciled(self.kind, result.is_ok(), began.elapsed());
        if result.is_ok() {
            self.backoff.succeeded(&key(object));
        }
        result
    }

    /// When to try again after a failure. One that is `expected` happens in the normal course of things.
    #[must_use]
    pub fn failed(
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
pub fn key(object: &impl ResourceExt) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("{namespace}/{}", object.name_any())
}

/// A watch of objects that the operator made.
#[must_use]
pub fn ours() -> watcher::Config {
    let (label, value) = (labels::MANAGED_BY, labels::MANAGED_BY_VALUE);
    watcher::Config::default().labels(&format!("{label}={value}"))
}

/// All objects of a store, to be reconciled.
#[must_use]
pub fn all<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> Vec<ObjectRef<K>> {
    let objects = objects.iter();
    objects
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}
