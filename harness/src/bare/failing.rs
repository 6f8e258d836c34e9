//! A failing or full disk: the supervisor refuses what a member asks of it. etcd must not continue without: it ends,
//! and says why. It continues without its snapshots alone.
//!
//! - Every sync ends with EIO. What was not synced is not there when it starts again.
//! - Every write that needs a block ends with ENOSPC. What was written before is there.
//! - Every read of the log, or of the snapshots, ends with EIO when the member starts, for which it is killed first.
//!   Its database is read by a mapping, where nothing can be refused.

use disk_faults::{MARK, Order, Report};

use crate::bare::cluster::BareCluster;
use crate::bare::effect::{left, until_answered, until_shown};
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Running, Target, Unreadable};

/// Where etcd has its log and its snapshots, below its data folder, and how the names of these files end. The database
/// lies beside the snapshots.
const LOG: (&str, &str) = ("member/wal", ".wal");
const SNAPSHOTS: (&str, &str) = ("member/snap", ".snap");
/// What etcd logs, in every version from 3.4 on, of a snapshot that it cannot read, before it takes another, or none.
const WITHOUT: &str = "failed to read a snap file";

/// What a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// To sync.
    Syncs,
    /// Another block.
    Space,
    /// To read files of a member that starts.
    Reads(Unreadable),
}

impl Failure {
    fn order(self) -> Order {
        match self {
            Self::Syncs => Order::RefuseSyncs { next: None },
            Self::Space => Order::Fill,
            Self::Reads(what) => {
                let (below, ending) = match what {
                    Unreadable::Log => LOG,
                    Unreadable::Snapshots => SNAPSHOTS,
                };
                Order::RefuseReads {
                    below: below.to_owned(),
                    ending: ending.to_owned(),
                }
            }
        }
    }

    /// True when it is the start of a member that meets it.
    fn begins_with_start(self) -> bool {
        matches!(self, Self::Reads(_))
    }

    /// True when etcd must end.
    fn ends(self) -> bool {
        self != Self::Reads(Unreadable::Snapshots)
    }

    /// What etcd logs of it: the text of the error.
    fn said(self) -> &'static str {
        match self {
            Self::Syncs | Self::Reads(_) => "input/output error",
            Self::Space => "no space left on device",
        }
    }

    /// What was refused, and how often.
    fn refused(self, report: &Report) -> (&'static str, u64) {
        match self {
            Self::Syncs => ("refused_syncs", report.refused),
            Self::Space => ("writes_without_space", report.no_space),
            Self::Reads(_) => ("refused_reads", report.unread),
        }
    }
}

/// Members whose disks fail.
struct Failing {
    cluster: BareCluster,
    fault: Fault,
    failure: Failure,
    members: Vec<String>,
    /// A member whose disk does not: it asks the others.
    witness: Option<String>,
}

/// Lets the disks of the chosen members fail.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, failure): (&Fault, Failure),
    (members, witness): (Vec<String>, Option<String>),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let mut failing = Failing {
        cluster: cluster.clone(),
        fault: fault.clone(),
        failure,
        members,
        witness,
    };
    for member in &failing.members {
        let begun = failing.begin(member).await;
        if let Err(error) = begun {
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
    async fn begin(&self, member: &str) -> Result<(), FaultError> {
        let order = self.failure.order();
        if !self.failure.begins_with_start() {
            return self.ask(member, order).await.map(drop);
        }
        // Where nothing can stand there, nothing is killed.
        self.ask(member, Order::Tell).await?;
        let action = || format!("inject {}", self.fault);
        let killed = self.cluster.kill(&[member.to_owned()]).await;
        killed.map_err(|error| FaultError::docker(action(), error))?;
        let written = self.cluster.order_first(member, &order).await;
        written.map_err(|error| FaultError::docker(action(), error))?;
        let started = self.cluster.start(member).await;
        started.map_err(|error| FaultError::docker(action(), error))
    }

    async fn ask(&self, member: &str, order: Order) -> Result<Report, FaultError> {
        self.cluster.order(&self.fault, (member, order)).await
    }

    /// What each member does with what is refused.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            let seen = self.cluster.seen(member).await;
            let seen = seen.map_err(|error| error.to_string())?;
            let shown = if seen.running {
                self.shown_running(member).await
            } else {
                let log = self.cluster.log_since_start(member, "400").await?;
                ended(self.failure, (member.as_str(), seen.exit_code), &log)
            };
            evidence.extend(shown?);
        }
        Ok(evidence)
    }

    /// One that runs: it must, with an answer, where it is to continue without what cannot be read.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown_running(&self, member: &str) -> Result<Evidence, String> {
        let report = self.ask(member, Order::Tell).await;
        let report = report.map_err(|error| format!("{member} still runs: {error}"))?;
        if self.failure.ends() {
            let (what, count) = self.failure.refused(&report);
            return Err(format!("{member} still runs, {what}: {count}"));
        }
        let log = self.cluster.log_since_start(member, "all").await?;
        let evidence = continued(self.failure, (member, &report), &log)?;
        let from = self.witness.as_deref().unwrap_or(member);
        let asked = [member.to_owned()];
        let status = self.cluster.look_from(from, &asked).await?;
        if !status.answers(member) {
            return Err(format!("{member} does not answer {from} yet"));
        }
        Ok(evidence)
    }
}

/// What a member's log since its start says of its end.
fn ended(
    failure: Failure,
    (member, exit_code): (&str, i64),
    log: &str,
) -> Result<Evidence, String> {
    let last = || {
        let last = log.lines().rev().find(|line| !line.contains(MARK));
        last.unwrap_or_default()
    };
    if !failure.ends() {
        let last = last();
        return Err(format!("{member} ended with {exit_code}: {last}"));
    }
    let said = log.lines().rev().find(|line| line.contains(failure.said()));
    let said = said.ok_or_else(|| {
        let last = last();
        format!("{member} ended with {exit_code} and says not why: {last}")
    })?;
    let report = Report::last_in(log).unwrap_or_default();
    let mut evidence = refused(failure, (member, &report), said)?;
    evidence.add("exit_code", exit_code);
    if failure == Failure::Syncs {
        evidence.add("undone_bytes", report.undone());
    }
    Ok(evidence)
}

/// What the log of a member that runs says of what it could not read.
fn continued(
    failure: Failure,
    (member, report): (&str, &Report),
    log: &str,
) -> Result<Evidence, String> {
    let mut lines = log.lines();
    let said = lines.find(|line| line.contains(WITHOUT) && line.contains(failure.said()));
    let said = said.ok_or_else(|| format!("{member} runs and has said nothing of it"))?;
    refused(failure, (member, report), said)
}

/// What was refused of a member, and what it said of that.
fn refused(
    failure: Failure,
    (member, report): (&str, &Report),
    said: &str,
) -> Result<Evidence, String> {
    let (what, count) = failure.refused(report);
    if count == 0 {
        return Err(format!("{member} says so, and nothing was refused"));
    }
    if let Some(why) = &report.untracked {
        return Err(format!("{member}: a call that was not followed: {why}"));
    }
    let said: String = said.chars().take(300).collect();
    Ok(Evidence::new().with(what, count).with("said", said))
}

impl Running for Failing {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = if self.failure.ends() {
            "every target end"
        } else {
            "every target continue without what it cannot read"
        };
        until_shown(&self.fault.to_string(), what, || self.shown()).await
    }

    /// One that has ended is started, with a supervisor that refuses nothing.
    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.to_string(),
            reason,
        };
        for member in &self.members {
            if self.failure.begins_with_start() {
                let written = self.cluster.order_first(member, &Order::Heal).await;
                written.map_err(failed)?;
            }
            let seen = self.cluster.seen(member).await;
            if seen.map_err(|error| failed(error.to_string()))?.running {
                self.ask(member, Order::Heal).await?;
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
            let report = self.ask(member, Order::Tell).await?;
            if report.refusing {
                return Ok(Some(format!(
                    "the disk of {member} still refuses something"
                )));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_UNREAD: Failure = Failure::Reads(Unreadable::Log);

    fn line(report: &Report) -> String {
        format!("{MARK}{}", serde_json::to_string(report).expect("text"))
    }

    #[test]
    fn an_end_counts_when_etcd_and_the_supervisor_say_why() {
        let report = |refused| {
            line(&Report {
                refused,
                ..Report::default()
            })
        };
        let ended = |log: &str| ended(Failure::Syncs, ("a", 1), log);
        let fatal = r#"{"level":"fatal","msg":"failed to save","error":"input/output error"}"#;
        let log = format!("{fatal}\n{}\n", report(2));
        let evidence = ended(&log).expect("evidence");
        assert_eq!(evidence.get("refused_syncs"), Some("2"));
        assert_eq!(evidence.get("said"), Some(fatal));
        let other = ended(&format!("killed\n{}", report(2)));
        assert!(other.is_err_and(|why| why.ends_with("says not why: killed")));
        let early = format!("{fatal}\n{}\n", report(0));
        assert!(ended(&early).is_err_and(|why| why.contains("nothing was refused")));
    }

    #[test]
    fn an_end_for_another_failure_does_not_count() {
        let full = line(&Report {
            no_space: 1,
            ..Report::default()
        });
        let unread = line(&Report {
            unread: 3,
            ..Report::default()
        });
        let (space, io) = ("no space left on device", "input/output error");
        let counted = |failure, said: &str, report: &str| {
            let evidence = ended(failure, ("a", 1), &format!("{said}\n{report}\n")).ok()?;
            evidence
                .get(failure.refused(&Report::default()).0)
                .map(str::to_owned)
        };
        assert_eq!(counted(Failure::Space, space, &full).as_deref(), Some("1"));
        assert_eq!(counted(LOG_UNREAD, io, &unread).as_deref(), Some("3"));
        assert_eq!(counted(Failure::Space, io, &full), None);
        assert_eq!(counted(Failure::Space, space, &unread), None);
        assert_eq!(counted(LOG_UNREAD, io, &full), None);
        assert_eq!(counted(Failure::Syncs, io, &unread), None);
    }

    #[test]
    fn without_its_snapshots_a_member_must_run() {
        let failure = Failure::Reads(Unreadable::Snapshots);
        let report = |unread| Report {
            unread,
            ..Report::default()
        };
        let warned = "failed to read a snap file: 1.snap: input/output error";
        let log = format!("started\n{warned}\nready\n");
        let evidence = continued(failure, ("a", &report(2)), &log).expect("evidence");
        assert_eq!(evidence.get("refused_reads"), Some("2"));
        assert_eq!(evidence.get("said"), Some(warned));
        assert!(continued(failure, ("a", &report(0)), &log).is_err());
        assert!(continued(failure, ("a", &report(2)), "ready\n").is_err());
        let ended = ended(
            failure,
            ("a", 1),
            &format!("{warned}\n{}\n", line(&report(2))),
        );
        assert!(ended.is_err_and(|why| why.contains("ended with 1: failed to read a snap file")));
    }

    #[test]
    fn what_is_not_known_of_a_write_proves_nothing() {
        let report = line(&Report {
            no_space: 1,
            untracked: Some("pwritev2 with flags 16".to_owned()),
            ..Report::default()
        });
        let log = format!("no space left on device\n{report}\n");
        let ended = ended(Failure::Space, ("a", 1), &log);
        assert!(ended.is_err_and(|why| why.contains("with flags 16")));
    }
}
