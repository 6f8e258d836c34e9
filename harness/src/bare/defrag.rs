//! Members that are defragmented again and again, each by etcdctl in its own container.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bare::cluster::BareCluster;
use crate::wait::pause;

/// Pause of a member between two, also where it does not run.
const BETWEEN: Duration = Duration::from_millis(20);

/// What defragments them until it is ended, or dropped.
pub(crate) struct Defrags {
    done: Arc<AtomicU32>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Defrags {
    /// Begins with the first one of each member.
    pub(crate) fn begin(cluster: &BareCluster) -> Self {
        let done = Arc::new(AtomicU32::new(0));
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(all(cluster.clone(), Arc::clone(&done), stopping));
        Self { done, stop, task }
    }

    /// Waits for those that are under way; how many have succeeded.
    pub(crate) async fn end(self) -> u32 {
        self.stop.send_replace(true);
        if let Err(panicked) = self.task.await
            && panicked.is_panic()
        {
            std::panic::resume_unwind(panicked.into_panic());
        }
        self.done.load(Ordering::Relaxed)
    }
}

async fn all(cluster: BareCluster, done: Arc<AtomicU32>, stopping: watch::Receiver<bool>) {
    let names = cluster.layout().names();
    let shared = (done.as_ref(), &stopping);
    let each = names.iter().map(|name| one(&cluster, name, shared));
    join_all(each).await;
}

/// One member, again and again.
async fn one(
    cluster: &BareCluster,
    name: &str,
    (done, stopping): (&AtomicU32, &watch::Receiver<bool>),
) {
    // It has no sender any more where the run has panicked.
    while !*stopping.borrow() && stopping.has_changed().is_ok() {
        let command = ["/usr/local/bin/etcdctl", "defrag"];
        let ran = cluster.run(name, &command).await;
        // A member that was killed meanwhile cannot answer.
        if ran.is_ok_and(|output| output.success()) {
            done.fetch_add(1, Ordering::Relaxed);
        }
        pause(BETWEEN).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::FakeDocker;

    #[tokio::test]
    async fn it_ends_when_it_is_told_to_and_counts_what_has_succeeded() {
        let fake = FakeDocker::new(|_| (404, br#"{"message":"no such container"}"#.to_vec()));
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
        let defrags = Defrags::begin(&cluster);
        while fake.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(defrags.end().await, 0);
        let asked = fake.asked();
        assert!(asked[0].contains("/containers/bare-r-0/exec"), "{asked:?}");
    }

    #[tokio::test]
    async fn it_ends_with_the_run_that_began_it() {
        let fake = FakeDocker::new(|_| (404, br#"{"message":"no such container"}"#.to_vec()));
        let cluster = BareCluster::new(fake.docker, Layout::new("r", 1, &[]));
        let (stop, stopping) = watch::channel(false);
        drop(stop);
        let ended = all(cluster, Arc::default(), stopping).now_or_never();
        assert!(ended.is_some(), "nothing can tell it to end");
    }
}
