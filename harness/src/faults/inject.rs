//! Injects a fault: the one place that knows which kind is which.

use std::time::Instant;

use crate::faults::data::{database, full_disk, loss};
use crate::faults::network::{cut, plan};
use crate::faults::node::harm as node;
use crate::faults::pods;
use crate::faults::process::{control_plane, dns, election, harm as process, operator, starve};
use crate::faults::running::{AnyRunning, Injected};
use crate::faults::{
    Availability, Evidence, Fault, FaultContext, FaultError, Healing, Target, availability,
    in_words,
};
use crate::faults::{flood, template};

/// A fault that is on.
pub struct Active {
    /// The fault.
    pub fault: Fault,
    /// Its targets.
    pub targets: Vec<Target>,
    /// How they were chosen and what was done to them.
    pub evidence: Evidence,
    /// When its injection began.
    pub begun: Instant,
    /// When its injection had returned.
    pub injected: Instant,
    healed: bool,
    running: Box<dyn AnyRunning>,
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Active({} on {})", self.fault, in_words(&self.targets))
    }
}

/// Injects a fault: chooses its targets now, arms its dead man's switch, does it.
///
/// # Errors
/// [`FaultError::Unavailable`] where it is not possible, else the step that failed; what was half done is taken back
/// by the switch.
pub async fn inject(context: &FaultContext, fault: &Fault) -> Result<Active, FaultError> {
    if let Availability::Unavailable(lack) = availability(fault, &context.capabilities) {
        return Err(FaultError::Unavailable {
            fault: fault.to_string(),
            reason: lack.reason,
        });
    }
    let begun = Instant::now();
    let injected = match fault {
        Fault::KillProcess { .. }
        | Fault::KeepKilling { .. }
        | Fault::ExhaustMemory { .. }
        | Fault::FreezeProcess { .. } => process::inject(context, fault).await,
        Fault::Starve { of, percent } => starve::inject(context, fault, of, *percent).await,
        Fault::Elect { of } => election::inject(context, fault, of).await,
        Fault::DeletePod { of, how } => pods::inject(context, fault, of, *how).await,
        Fault::Isolate { .. }
        | Fault::Split { .. }
        | Fault::Bridge { .. }
        | Fault::LosePackets { .. }
        | Fault::DropDns { .. } => cut::inject(context, fault, plan::of(fault)).await,
        Fault::PauseNode { .. }
        | Fault::RestartNode { .. }
        | Fault::KillNode { .. }
        | Fault::StopKubelet { .. } => node::inject(context, fault).await,
        Fault::Operator { how, replicas } => {
            operator::inject(context, fault, *how, *replicas).await
        }
        Fault::ControlPlane { part, how } => {
            control_plane::inject(context, fault, *part, *how).await
        }
        Fault::FreezeDns => dns::inject(context, fault).await,
        Fault::LoseData { of, how } => loss::inject(context, fault, of, *how).await,
        Fault::WrongTemplate => template::inject(context, fault).await,
        Fault::FloodAgents => flood::inject(context, fault).await,
        Fault::FillDisk { of } => full_disk::inject(context, fault, of).await,
        Fault::FillQuota => database::fill(context).await,
        Fault::CorruptData { of } => database::corrupt(context, fault, of).await,
        // Refused above, on every cluster.
        Fault::DisturbPeers { .. }
        | Fault::HarmPackets { .. }
        | Fault::FreezeInTurns { .. }
        | Fault::SlowDisk { .. }
        | Fault::LosePower { .. }
        | Fault::FailDisk { .. }
        | Fault::FailReads { .. }
        | Fault::ChangeVersion { .. }
        | Fault::Failpoint { .. }
        | Fault::ShiftClock { .. }
        | Fault::DriftClock { .. }
        | Fault::DamageLog { .. } => Err(FaultError::find("bare members", fault)),
    }?;
    Ok(Active::of(fault, begun, injected))
}

impl Active {
    /// A fault whose injection began then and has returned now.
    pub(crate) fn of(fault: &Fault, begun: Instant, injected: Injected) -> Self {
        tracing::info!(targets = in_words(&injected.targets), evidence = %injected.evidence, "injected: {fault}");
        Self {
            fault: fault.clone(),
            targets: injected.targets,
            evidence: injected.evidence,
            begun,
            injected: Instant::now(),
            healed: false,
            running: injected.running,
        }
    }

    /// Looks until the effect is seen.
    ///
    /// # Errors
    /// [`FaultError::NoEffect`] when it is not: then the run proves nothing.
    pub async fn effect(&mut self) -> Result<Evidence, FaultError> {
        self.running.effect().await
    }

    /// Takes the fault back and waits until that has happened. Doing it twice does it once.
    ///
    /// # Errors
    /// [`FaultError::Heal`] or the step that failed.
    pub async fn heal(&mut self) -> Result<Healing, FaultError> {
        if self.healed {
            return Ok(Healing::default());
        }
        let healing = self.running.heal().await?;
        self.healed = true;
        tracing::info!(%healing, "healed: {}", self.fault);
        Ok(healing)
    }

    /// What is left of it after healing: `None` is as it should be.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub async fn residue(&self) -> Result<Option<String>, FaultError> {
        self.running.residue().await
    }
}
