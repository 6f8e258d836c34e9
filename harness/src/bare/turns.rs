//! etcd frozen and running in turns: too short for an election, or just long enough, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bare::BareError;
use crate::bare::cluster::{BareCluster, Seen};
use crate::bare::effect::{left, until_shown};
use crate::bare::health::Health;
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Member, Running, Target};
use crate::timeouts;
use crate::wait::pause;

/// Freezes before there is an effect.
const LEAST: u32 = 3;
/// Longest read that is waited for.
const READ: Duration = Duration::from_secs(5);

/// How long each turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    pub(crate) frozen: Duration,
    pub(crate) runs: Duration,
}

/// Members that are frozen in turns.
struct Turns {
    cluster: BareCluster,
    fault: String,
    cycle: Cycle,
    members: Vec<String>,
    /// A member that is not: it asks the others.
    witness: Option<String>,
    frozen: Arc<AtomicU32>,
    begun: Instant,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<(), BareError>>>,
}

/// Begins with the first freeze.
pub(crate) fn inject(
    cluster: &BareCluster,
    (fault, cycle): (&Fault, Cycle),
    chosen: Vec<Member>,
    evidence: Evidence,
) -> Injected {
    let members: Vec<String> = chosen.into_iter().map(|member| member.pod).collect();
    let mut names = cluster.layout().names().into_iter();
    let frozen = Arc::new(AtomicU32::new(0));
    let (stop, stopping) = watch::channel(false);
    let task = turn(
        cluster.clone(),
        members.clone(),
        (cycle, Arc::clone(&frozen), stopping),
    );
    Injected {
        targets: members.iter().map(|name| Target::member(name)).collect(),
        evidence,
        running: Box::new(Turns {
            cluster: cluster.clone(),
            fault: fault.to_string(),
            cycle,
            witness: names.find(|name| !members.contains(name)),
            members,
            frozen,
            begun: Instant::now(),
            stop,
            task: Some(tokio::spawn(task)),
        }),
    }
}

/// Freezes and resumes until it is stopped; all run when it ends.
async fn turn(
    cluster: BareCluster,
    members: Vec<String>,
    (cycle, frozen, mut stopping): (Cycle, Arc<AtomicU32>, watch::Receiver<bool>),
) -> Result<(), BareError> {
    while !*stopping.borrow() {
        let paused = join_all(members.iter().map(|name| cluster.pause(name))).await;
        let paused = paused.into_iter().collect::<Result<Vec<()>, _>>();
        if paused.is_ok() {
            frozen.fetch_add(1, Ordering::Relaxed);
            pause(cycle.frozen).await;
        }
        let resumed = join_all(members.iter().map(|name| cluster.unpause(name))).await;
        paused?;
        resumed.into_iter().collect::<Result<Vec<()>, _>>()?;
        tokio::select! {
            () = pause(cycle.runs) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}

impl Turns {
    /// What shows that they are frozen again and again.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let frozen = self.frozen.load(Ordering::Relaxed);
        if frozen < LEAST {
            return Err(format!("{frozen} freezes"));
        }
        let mut evidence = Evidence::new().with("freezes", frozen);
        if let Some(witness) = &self.witness {
            for name in &self.members {
                let took = match self.cluster.health_from(witness, name, READ).await? {
                    Health::Healthy(took) => took,
                    Health::Unhealthy(why) => return Err(format!("{name}: {why}")),
                };
                // It may come at any moment of a freeze.
                if took < self.cycle.frozen / 2 {
                    return Err(format!("{name} answered after {took:?}"));
                }
                evidence.add("read_ms", took.as_millis());
            }
        }
        Ok(evidence)
    }
}

impl Running for Turns {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        until_shown(&self.fault, "every target answer late", || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.clone(),
            reason,
        };
        self.stop.send_replace(true);
        let mut healing = Healing::default();
        if let Some(task) = self.task.take() {
            let ended = tokio::time::timeout(timeouts::HEAL, task).await;
            let ended = ended.map_err(|_| failed("the last turn does not end".to_owned()))?;
            let ended = ended.map_err(|error| failed(error.to_string()))?;
            if let Err(error) = ended {
                healing.early(self.members.join(", "), &error.to_string());
            }
        }
        let frozen = self.frozen.load(Ordering::Relaxed);
        healing.evidence.add("freezes", frozen);
        let lasted = self.begun.elapsed().as_millis();
        healing.evidence.add("lasted_ms", lasted);
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let runs = |seen: &Seen| seen.running && !seen.paused;
        left(&self.cluster, &self.members, runs).await
    }
}
