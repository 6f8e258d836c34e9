//! One read for all that wait for it. A caller gets what was read after it had asked, so nothing is older than a read
//! of its own would be, and any number of callers cost one read at a time.

use std::time::Instant;

use tokio::sync::Mutex;

/// The newest value, and when its reading began.
pub(super) struct SharedRead<T> {
    newest: Mutex<Option<(Instant, T)>>,
}

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        Self {
            newest: Mutex::new(None),
        }
    }
}

impl<T: Clone> SharedRead<T> {
    /// What a reading that began at `asked` or later has given: another caller's, or that of `read`.
    pub(super) async fn get(&self, asked: Instant, read: impl AsyncFnOnce() -> T) -> T {
        let mut newest = self.newest.lock().await;
        if let Some((began, value)) = &*newest
            && *began >= asked
        {
            return value.clone();
        }
        let began = Instant::now();
        let value = read().await;
        *newest = Some((began, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn waiting_callers_share_a_read_that_began_after_they_asked() {
        let shared = Arc::new(SharedRead::default());
        let reads = Arc::new(AtomicUsize::new(0));
        let (open, gate) = tokio::sync::watch::channel(false);
        let caller = || {
            let (shared, reads, mut gate) = (Arc::clone(&shared), Arc::clone(&reads), gate.clone());
            tokio::spawn(async move {
                let read = async || {
                    let number = reads.fetch_add(1, Ordering::SeqCst);
                    assert!(gate.wait_for(|open| *open).await.is_ok());
                    number
                };
                shared.get(Instant::now(), read).await
            })
        };
        let first = caller();
        while reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // They ask while the first read is on its way: it may be older than their question.
        let later: Vec<_> = (0..20).map(|_| caller()).collect();
        tokio::task::yield_now().await;
        assert!(open.send(true).is_ok());
        assert_eq!(first.await.ok(), Some(0));
        for caller in later {
            assert_eq!(caller.await.ok(), Some(1));
        }
    }
}
