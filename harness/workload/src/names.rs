//! Addresses of names, asked in the background and kept.
//!
//! The users' route begins at a DNS name, but a name server that is slow or on the node that a fault has hit would be
//! measured as a gap of etcd. So names are asked all the time beside the data path, the newest answer is dialled, and
//! an answer that cannot be had leaves the last one in place. Pods get new addresses when they are recreated.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::schedule::pause;

/// Time between two questions for one name: a pod that is back is dialled again within this and the name server's
/// cache.
const REFRESH: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Newest known addresses.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<BTreeMap<String, SocketAddr>>,
}

impl Names {
    /// The address of `host:port`; asks when there has been no answer yet.
    pub(crate) async fn address(&self, name: &str) -> std::io::Result<SocketAddr> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied();
        match known {
            Some(address) => Ok(address),
            None => self.ask(name).await,
        }
    }

    /// Keeps a name's address fresh until the task is dropped.
    pub(crate) async fn keep(&self, name: &str) {
        loop {
            // A failure is met again, and named, by the client that dials a name that has never had an address.
            let _ = self.ask(name).await;
            pause(REFRESH).await;
        }
    }

    /// Takes an address for a name's newest.
    #[cfg(test)]
    pub(crate) fn believe(&self, name: &str, address: SocketAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), address);
    }

    async fn ask(&self, name: &str) -> std::io::Result<SocketAddr> {
        let answer = tokio::time::timeout(ANSWER, tokio::net::lookup_host(name)).await??;
        let mut addresses: Vec<SocketAddr> = answer.collect();
        addresses.sort_unstable();
        let first = addresses.first().copied();
        let address =
            first.ok_or_else(|| std::io::Error::other(format!("{name} has no address")))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), address);
        Ok(address)
    }
}
