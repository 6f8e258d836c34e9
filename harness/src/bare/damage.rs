//! The write-ahead log of a member that was killed, damaged on its disk before it starts again. A flipped bit must be
//! found by its checksum, and the member must refuse to serve; a write that was torn must be cut off, and the member
//! must serve on.

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::effect::{left, until_answered, until_shown};
use crate::bare::wal;
use crate::faults::{
    Evidence, Fault, FaultError, Healing, Injected, LogDamage, Member, Running, Target,
};

/// Where etcd has the first segment of its log; a run of this tier does not fill it.
const FOLDER: &str = "/var/lib/etcd/data/member/wal";
const SEGMENT: &str = "0000000000000000-0000000000000000.wal";

/// What etcd logs, in every version from 3.4 on, when a checksum is wrong, and when it has cut off what was torn.
const REFUSED: &str = "crc mismatch";
const REPAIRED: &str = "\"repaired\"";

/// A member with a damaged log.
struct Damaged {
    cluster: BareCluster,
    fault: String,
    how: LogDamage,
    member: String,
    /// A member that is whole: it asks the other.
    witness: String,
    /// The log as it was when the member was killed.
    before: Vec<u8>,
    /// Lines that the member had said by then, in earlier rounds too.
    said: usize,
}

/// Kills one member, damages its log, and starts it.
///
/// # Errors
/// What is not as it must be, or the step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, how): (&Fault, LogDamage),
    chosen: Vec<Member>,
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let [member] = chosen.as_slice() else {
        let reason = format!("{} were chosen", chosen.len());
        return Err(FaultError::find(
            "the one member whose log is damaged",
            reason,
        ));
    };
    let member = member.pod.clone();
    let witness = cluster
        .layout()
        .names()
        .into_iter()
        .find(|name| *name != member);
    let witness = witness.ok_or_else(|| FaultError::find("a member that stays whole", &member))?;
    let failed = |error: BareError| FaultError::docker(format!("inject {fault}"), error);
    cluster
        .kill(std::slice::from_ref(&member))
        .await
        .map_err(failed)?;
    let path = format!("{FOLDER}/{SEGMENT}");
    let before = cluster.read_file(&member, &path).await.map_err(failed)?;
    let said = cluster.whole_log(&member).await.map_err(failed)?;
    let said = said.lines().count();
    let mut damaged = before.clone();
    let place = match how {
        LogDamage::Flipped => wal::flip(&mut damaged),
        LogDamage::Torn => wal::tear(&mut damaged),
    };
    let place =
        place.map_err(|why| FaultError::find(format!("a log to damage in {member}"), why))?;
    let mut running = Damaged {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        how,
        member: member.clone(),
        witness,
        before,
        said,
    };
    if let Err(error) = running.start_with(&damaged).await {
        // The error of the injection is the one to report; the run removes the containers in any case.
        let _ = Running::heal(&mut running).await;
        return Err(failed(error));
    }
    Ok(Injected {
        targets: vec![Target::member(&member)],
        evidence: evidence.with("damaged", place),
        running: Box::new(running),
    })
}

impl Damaged {
    async fn start_with(&self, log: &[u8]) -> Result<(), BareError> {
        let place = (FOLDER, SEGMENT);
        self.cluster.write_file(&self.member, place, log).await?;
        self.cluster.start(&self.member).await
    }

    /// What etcd made of it.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let member = &self.member;
        let seen = self
            .cluster
            .seen(member)
            .await
            .map_err(|error| error.to_string())?;
        let all = self.cluster.whole_log(member).await;
        let all = all.map_err(|error| error.to_string())?;
        let line = |words: &str| said_since(&all, self.said, words);
        match (self.how, seen.running) {
            (LogDamage::Flipped, true) => Err(format!("{member} still runs")),
            (LogDamage::Flipped, false) => {
                let line = line(REFUSED).ok_or_else(|| {
                    format!(
                        "{member} ended with {} and says nothing of it",
                        seen.exit_code
                    )
                })?;
                let evidence = Evidence::new().with("exit code", seen.exit_code);
                Ok(evidence.with("refused", line))
            }
            (LogDamage::Torn, false) => Err(format!(
                "{member} ended with {}: {}",
                seen.exit_code,
                last_words(&all)
            )),
            (LogDamage::Torn, true) => {
                let line =
                    line(REPAIRED).ok_or_else(|| format!("{member} has cut off nothing yet"))?;
                Ok(Evidence::new().with("repaired", line))
            }
        }
    }
}

/// The newest line with these words, after so many lines: those are of earlier rounds.
fn said_since(log: &str, before: usize, words: &str) -> Option<String> {
    let lines = log.lines().skip(before);
    let line = lines.filter(|line| line.contains(words)).last()?;
    Some(line.chars().take(300).collect())
}

/// The last lines of a log.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}

impl Running for Damaged {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = match self.how {
            LogDamage::Flipped => "the member refuse its log",
            LogDamage::Torn => "the member cut off what was torn",
        };
        until_shown(&self.fault, what, || self.shown()).await
    }

    /// A member that refused gets back what its disk had; it has answered nothing since, so that nothing is lost.
    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.clone(),
            reason,
        };
        let seen = self.cluster.seen(&self.member).await;
        let running = seen.map_err(|error| failed(error.to_string()))?.running;
        let mut healing = Healing::default();
        if running && self.how == LogDamage::Flipped {
            healing.early(&self.member, "something else");
        }
        if !running {
            let started = self.start_with(&self.before).await;
            started.map_err(|error| failed(error.to_string()))?;
        }
        let asked = (std::slice::from_ref(&self.member), Some(&self.witness));
        until_answered(&self.cluster, &self.fault, asked, healing).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let members = std::slice::from_ref(&self.member);
        left(&self.cluster, members, |seen| seen.running).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_round_said_proves_nothing() {
        let first = "started\nfirst \"repaired\"\nready\n";
        let before = first.lines().count();
        assert_eq!(said_since(first, before, REPAIRED), None);
        assert!(
            said_since(first, 0, REPAIRED).is_some(),
            "of its own round it does"
        );
        let again = format!("{first}started\nwalpb: crc mismatch\n");
        assert_eq!(said_since(&again, before, REPAIRED), None);
        let refused = said_since(&again, before, REFUSED);
        assert_eq!(refused.as_deref(), Some("walpb: crc mismatch"));
        let second = format!("{again}second \"repaired\"\n");
        let repaired = said_since(&second, before, REPAIRED);
        assert_eq!(repaired.as_deref(), Some("second \"repaired\""));
    }

    #[test]
    fn a_member_that_ended_is_quoted_by_its_last_lines() {
        assert_eq!(last_words("a\nb\nc\nd\n"), "b\nc\nd");
        assert_eq!(last_words("a\n"), "a");
        assert_eq!(last_words(""), "");
    }
}
