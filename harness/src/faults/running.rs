//! What every kind of fault can do once it is injected: show its effect, heal, show what is left.

use futures::future::BoxFuture;

use crate::faults::{Evidence, FaultError, Healing, Target};

/// What a kind of fault does once it is injected.
pub(crate) trait Running: Send + Sync {
    /// Looks until its effect is seen, or returns [`FaultError::NoEffect`].
    fn effect(&mut self) -> BoxFuture<'_, Result<Evidence, FaultError>>;
    /// Takes it back and waits until that has happened. Unless a fault says otherwise there is nothing to take back:
    /// the cluster itself recovers.
    fn heal(&mut self) -> BoxFuture<'_, Result<Healing, FaultError>> {
        Box::pin(async { Ok(Healing::default()) })
    }
    /// What is left of it: nothing, unless a fault says otherwise.
    fn residue(&self) -> BoxFuture<'_, Result<Option<String>, FaultError>> {
        Box::pin(async { Ok(None) })
    }
}

/// An injection that returned: its targets, and what is still running.
pub(crate) struct Injected {
    /// Its targets.
    pub targets: Vec<Target>,
    /// What was known when the targets were chosen, and what was done to them.
    pub evidence: Evidence,
    /// What is still running.
    pub running: Box<dyn Running>,
}
