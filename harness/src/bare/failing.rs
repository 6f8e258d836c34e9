//! A failing disk: every sync of a member ends with EIO. etcd must not continue with a log that it cannot sync: it
//! ends, and what it had not synced is not there when it starts again.

use disk_faults::{Order, Report};

use crate::bare::cluster::BareCluster;
use crate::bare::effect::{left, until_answered, until_shown};
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Running, Target};

/// What etcd logs of it: the text of the error.
const SAID: &str = "input/output error";

/// Members whose disks fail.
struct Failing {
    cluster: BareCluster,
    fault: Fault,
    members: Vec<String>,
    /// A member whose disk does not: it asks the others.
    witness: Option<String>,
}

/// Lets the syncs of the chosen members fail.
pub(crate) async fn inject(
    cluster: &BareCluster,
    fault: &Fault,
    (members, witness): (Vec<String>, Option<String>),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let mut failing = Failing {
        cluster: cluster.clone(),
        fault: fault.clone(),
        members,
        witness,
    };
    for member in &failing.members {
        let order = Order::RefuseSyncs { next: None };
        if let Err(error) = cluster.order(fault, (member.as_str(), order)).await {
            // The error of the injection is the one to report; the run removes the containers in any case.
            let _ = Running::heal(&mut failing).await;
            return Err(error);
        }
    }
    let targets = failing.members.iter();
    Ok(Injected {
        targets: targets.map(|name| Target::member(name)).collect(),
        evidence,
        running: Box::new(failing),
    })
}

impl Failing {
    /// Each member has ended by itself, and says why.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            let seen = self.cluster.seen(member).await;
            let seen = seen.map_err(|error| error.to_string())?;
            if seen.running {
                return Err(format!("{member} still runs"));
            }
            let log = self.cluster.log_since_start(member, "400").await?;
            evidence.extend(ended(member, seen.exit_code, &log)?);
        }
        Ok(evidence)
    }
}

/// What a member's log since its start says of its end.
fn ended(member: &str, exit_code: i64, log: &str) -> Result<Evidence, String> {
    let said = log.lines().rev().find(|line| line.contains(SAID));
    let said = said.ok_or_else(|| format!("{member} ended with {exit_code} and says not why"))?;
    let report = Report::last_in(log).filter(|report| report.refused > 0);
    let report = report.ok_or_else(|| format!("{member} ended before a sync was refused"))?;
    if let Some(why) = report.untracked {
        return Err(format!("{member}: a write that could not be undone: {why}"));
    }
    let said: String = said.chars().take(300).collect();
    Ok(Evidence::new()
        .with("exit_code", exit_code)
        .with("refused_syncs", report.refused)
        .with("said", said)
        .with("undone_bytes", report.undone()))
}

impl Running for Failing {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "every target end";
        until_shown(&self.fault.to_string(), what, || self.shown()).await
    }

    /// One that has ended is started, with a supervisor that refuses nothing.
    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.to_string(),
            reason,
        };
        for member in &self.members {
            let seen = self.cluster.seen(member).await;
            if seen.map_err(|error| failed(error.to_string()))?.running {
                self.cluster
                    .order(&self.fault, (member.as_str(), Order::Heal))
                    .await?;
                continue;
            }
            let started = self.cluster.start(member).await;
            started.map_err(|error| failed(error.to_string()))?;
        }
        let asked = (self.members.as_slice(), self.witness.as_ref());
        let fault = self.fault.to_string();
        until_answered(&self.cluster, &fault, asked, Healing::default()).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let left = left(&self.cluster, &self.members, |seen| seen.running).await?;
        if left.is_some() {
            return Ok(left);
        }
        for member in &self.members {
            let report = self
                .cluster
                .order(&self.fault, (member.as_str(), Order::Tell))
                .await?;
            if report.refused > 0 {
                return Ok(Some(format!("{member} refused {} syncs", report.refused)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use disk_faults::MARK;

    use super::*;

    #[test]
    fn an_end_counts_when_etcd_and_the_supervisor_say_why() {
        let report = |refused| {
            let report = Report {
                refused,
                ..Report::default()
            };
            format!("{MARK}{}", serde_json::to_string(&report).expect("text"))
        };
        let fatal = r#"{"level":"fatal","msg":"failed to save","error":"input/output error"}"#;
        let log = format!("{fatal}\n{}\n", report(2));
        let evidence = ended("a", 1, &log).expect("evidence");
        assert_eq!(evidence.get("refused_syncs"), Some("2"));
        assert_eq!(evidence.get("said"), Some(fatal));
        assert!(ended("a", 1, &report(2)).is_err_and(|why| why.contains("not why")));
        let early = format!("{fatal}\n{}\n", report(0));
        assert!(ended("a", 1, &early).is_err_and(|why| why.contains("before a sync")));
    }
}
