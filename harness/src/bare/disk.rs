//! A slow disk: a member's control group lets only so many writes a second through, which delays what etcd must sync
//! before it goes further. The recording client's container sets it, which has the host's control groups mounted in
//! such a run and in no other. The group goes with its container, so that nothing is left of it.

use futures::future::join_all;

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::effect::until_shown;
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Member, Running, Target};

/// What etcd logs, in every version from 3.5 on, when a sync of its log took longer than a second.
const SLOW: &str = "slow fdatasync";
/// Who may write to control groups. The client itself stays an ordinary user: this command alone is root's.
const ROOT: &str = "0";

/// Members whose disks are slow.
struct Slow {
    cluster: BareCluster,
    fault: String,
    members: Vec<String>,
    /// Slow syncs that each had logged before.
    before: Vec<usize>,
}

/// Slows the disks of the chosen members.
///
/// # Errors
/// Why this machine cannot, or the step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, writes_s): (&Fault, u32),
    chosen: Vec<Member>,
    mut evidence: Evidence,
) -> Result<Injected, FaultError> {
    let members: Vec<String> = chosen.into_iter().map(|member| member.pod).collect();
    let mut slow = Slow {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        before: slow_syncs(cluster, &members).await,
        members,
    };
    for member in &slow.members {
        match cluster.throttle(member, Some(writes_s)).await {
            Ok(limits) => evidence.add("limits", limits),
            Err(error) => {
                // The error of the injection is the one to report; the run removes the containers in any case.
                let _ = Running::heal(&mut slow).await;
                return Err(FaultError::Unavailable {
                    fault: fault.to_string(),
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(Injected {
        targets: slow
            .members
            .iter()
            .map(|name| Target::member(name))
            .collect(),
        evidence,
        running: Box::new(slow),
    })
}

/// Slow syncs that these members have logged.
async fn slow_syncs(cluster: &BareCluster, members: &[String]) -> Vec<usize> {
    let logs = members.iter().map(|name| cluster.log(name, "all"));
    let count = |log: String| log.matches(SLOW).count();
    join_all(logs).await.into_iter().map(count).collect()
}

impl BareCluster {
    /// Lets so many writes a second of a member through, 0 for all; without a number nothing is set. Returns the limits
    /// that it then has.
    async fn throttle(&self, member: &str, writes_s: Option<u32>) -> Result<String, BareError> {
        let client = self.layout().client();
        let id = self.id(member).await?;
        let mut command = vec!["/workload", "throttle", "--container", &id];
        let writes = writes_s.map(|writes| writes.to_string());
        if let Some(writes) = &writes {
            command.extend(["--writes-s", writes]);
        }
        let output = self.run_as((client.as_str(), Some(ROOT)), &command).await?;
        if output.success() {
            return Ok(output.stdout.trim().to_owned());
        }
        Err(BareError::Command {
            command: "workload throttle".to_owned(),
            container: client,
            message: output.stderr.trim().to_owned(),
        })
    }
}

impl Slow {
    /// etcd itself says that each of its disks is slow.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        let now = slow_syncs(&self.cluster, &self.members).await;
        for ((member, before), now) in self.members.iter().zip(&self.before).zip(now) {
            if now <= *before {
                return Err(format!("{member} has logged no slow sync"));
            }
            evidence.add("slow_syncs", now - before);
        }
        Ok(evidence)
    }
}

impl Running for Slow {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "every target log a slow sync";
        until_shown(&self.fault, what, || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        let now: usize = slow_syncs(&self.cluster, &self.members).await.iter().sum();
        let total = now.saturating_sub(self.before.iter().sum());
        healing.evidence.add("slow_syncs", total);
        for member in &self.members {
            let freed = self.cluster.throttle(member, Some(0)).await;
            freed.map_err(|error| FaultError::Heal {
                fault: self.fault.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for member in &self.members {
            let limits = self.cluster.throttle(member, None).await;
            let limits = limits.map_err(|error| FaultError::find(member.as_str(), error))?;
            if !limits.is_empty() && !limits.contains("wiops=max") {
                return Ok(Some(format!("{member}: {limits}")));
            }
        }
        Ok(None)
    }
}
