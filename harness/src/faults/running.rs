//! What every kind of fault can do once it is injected: show its effect, heal, show what is left.

use futures::future::BoxFuture;

use crate::faults::{Evidence, FaultError, Healing, Target};

/// What a kind of fault does once it is injected.
pub(crate) trait Running: Send + Sync {
    /// Looks until its effect is seen, or returns [`FaultError::NoEffect`].
    fn effect(&mut self) -> impl Future<Output = Result<Evidence, FaultError>> + Send;

    /// Takes it back and waits until that has happened. Unless a fault says otherwise there is nothing to take back:
    /// the cluster itself recovers.
    fn heal(&mut self) -> impl Future<Output = Result<Healing, FaultError>> + Send {
        async { Ok(Healing::default()) }
    }

    /// What is left of it: nothing, unless a fault says otherwise.
    fn residue(&self) -> impl Future<Output = Result<Option<String>, FaultError>> + Send {
        async { Ok(None) }
    }
}

/// Any kind of fault: [`Running`] with boxed futures.
pub(crate) trait AnyRunning: Send + Sync {
    /// [`Running::effect`].
    fn effect(&mut self) -> BoxFuture<'_, Result<Evidence, FaultError>>;
    /// [`Running::heal`].
    fn heal(&mut self) -> BoxFuture<'_, Result<Healing, FaultError>>;
    /// [`Running::residue`].
    fn residue(&self) -> BoxFuture<'_, Result<Option<String>, FaultError>>;
}

impl<T: Running> AnyRunning for T {
    fn effect(&mut self) -> BoxFuture<'_, Result<Evidence, FaultError>> {
        Box::pin(Running::effect(self))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result<Healing, FaultError>> {
        Box::pin(Running::heal(self))
    }

    fn residue(&self) -> BoxFuture<'_, Result<Option<String>, FaultError>> {
        Box::pin(Running::residue(self))
    }
}

/// An injection that returned: its targets, and what is still running.
pub(crate) struct Injected {
    /// Its targets.
    pub targets: Vec<Target>,
    /// What was known when the targets were chosen, and what was done to them.
    pub evidence: Evidence,
    /// What is still running.
    pub running: Box<dyn AnyRunning>,
}
