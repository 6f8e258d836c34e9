//! Many events of an object in a short time lead to one reconcile, and a noisy object is still reconciled: the
//! wait counts from the first event, however many follow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::controller::Action;
use tokio::time::Instant;

use super::STORM;

/// Objects that are gone leave their entry behind; beyond so many the old ones are dropped.
const MANY: usize = 1024;
/// An entry that was not used for so long belongs to an object that is gone.
const OLD: Duration = Duration::from_secs(60);

/// When each object that was touched is due.
#[derive(Debug, Default)]
pub(crate) struct Calm(Mutex<HashMap<String, Instant>>);

impl Calm {
    /// When to come back to the object; `None` when its turn has come.
    pub(crate) fn rest(&self, object: &str) -> Option<Action> {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if due.len() > MANY {
            due.retain(|_, due| now < *due + OLD);
        }
        let at = *due.entry(object.to_owned()).or_insert(now + STORM);
        if now < at {
            return Some(Action::requeue(at - now));
        }
        due.remove(object);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt, stream};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::controller::{Config, applier};
    use kube::runtime::reflector::{self, ObjectRef};
    use kube::runtime::watcher;
    use tokio::time::sleep;

    use super::*;

    /// Reconciles of an object that is touched `times` times, one touch every 10 ms, in that time.
    async fn reconciles(times: u64) -> usize {
        let (store, mut writer) = reflector::store();
        let mut object = ConfigMap::default();
        object.metadata.name = Some("noisy".to_owned());
        let there = watcher::Event::InitApply(object.clone());
        for event in [watcher::Event::Init, there, watcher::Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
        let touches = stream::unfold(0, move |done| {
            let touch = ObjectRef::from_obj(&object);
            async move {
                sleep(Duration::from_millis(10)).await;
                (done < times).then_some((Ok::<_, Infallible>(touch), done + 1))
            }
        });
        let counted = Arc::new((Calm::default(), AtomicUsize::new(0)));
        let reconcile = |_, counted: Arc<(Calm, AtomicUsize)>| {
            if let Some(later) = counted.0.rest("noisy") {
                return futures::future::ready(Ok(later));
            }
            counted.1.fetch_add(1, Ordering::Relaxed);
            futures::future::ready(Ok::<_, Infallible>(Action::await_change()))
        };
        let retry = |_, _: &Infallible, _| Action::await_change();
        let config = Config::default();
        let seen = Arc::clone(&counted);
        let all = applier(reconcile, retry, seen, store, touches.boxed(), config);
        let all = all.for_each(|_| futures::future::ready(()));
        let ended = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert!(ended.is_ok(), "the controller ends with its queue");
        counted.1.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_touched_all_the_time_is_reconciled_all_the_same() {
        let seen = reconciles(200).await;
        assert!(
            (20..=60).contains(&seen),
            "{seen} reconciles in two seconds"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leads_to_one_reconcile() {
        let calm = Calm::default();
        assert!(calm.rest("a").is_some() && calm.rest("a").is_some());
        sleep(STORM).await;
        assert!(calm.rest("a").is_none(), "once");
        assert!(calm.rest("a").is_some() && calm.rest("b").is_some());
    }
}
