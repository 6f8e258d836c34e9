//! Faults of the links between members, by the proxy that they pass. What shows one is what the proxy did to etcd's own
//! traffic, and what etcd itself says of it: how long a read that needs the others takes, which links it lost.

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::effect::until_shown;
use crate::bare::health::Health;
use crate::bare::links::{Line, LinkFault, Pair, Rule, shown};
use crate::faults::{Cut, Evidence, Fault, FaultError, Healing, Injected, Member, Running, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Longest read that is waited for where one must fail.
const SHORT: Duration = Duration::from_millis(500);
/// Longest read that is waited for where it must only be late.
const LONG: Duration = Duration::from_secs(5);
/// What etcd logs when a stream to another member breaks, in every version from 3.4 on.
const LOST: &str = "lost TCP streaming connection with remote peer";

/// Links that were disturbed.
struct Disturbed {
    cluster: BareCluster,
    fault: String,
    of: LinkFault,
    /// Those whose links they are; the bridge between two halves.
    members: Vec<String>,
    pairs: Vec<Pair>,
    /// Broken streams that each of the members had logged before.
    lost_before: Vec<usize>,
}

/// Gives the links of the chosen members their rule.
///
/// # Errors
/// The step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, of): (&Fault, LinkFault),
    (chosen, all): (Vec<Member>, Vec<Member>),
    mut evidence: Evidence,
) -> Result<Injected, FaultError> {
    let pairs = of.pairs(&chosen, &all);
    if pairs.is_empty() {
        return Err(FaultError::find("a link that it concerns", fault));
    }
    let members: Vec<String> = chosen.into_iter().map(|member| member.pod).collect();
    if of.rule.delay_ms > 0 {
        let before = slowest(cluster, &members, LONG).await;
        let before = before.map_err(|error| FaultError::find("a read before it", error))?;
        evidence.add("read_before_ms", before.as_millis());
    }
    let lost_before = match of.rule.reset_ms {
        0 => Vec::new(),
        _ => lost(cluster, &members)
            .await
            .map_err(|error| FaultError::find("the streams that were lost before", error))?,
    };
    let disturbed = Disturbed {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        of,
        members,
        pairs,
        lost_before,
    };
    if let Err(error) = cluster.rules(&disturbed.pairs, disturbed.of.rule).await {
        // The proxy may have it. The error of the injection is the one to report; the run removes the containers in any
        // case.
        let _ = disturbed.undo().await;
        return Err(FaultError::docker(format!("inject {fault}"), error));
    }
    let targets = disturbed.members.iter();
    Ok(Injected {
        targets: targets.map(|name| Target::member(name)).collect(),
        evidence,
        running: Box::new(disturbed),
    })
}

/// How long the slowest of these members took for a read that needs the others.
async fn slowest(
    cluster: &BareCluster,
    members: &[String],
    limit: Duration,
) -> Result<Duration, String> {
    let reads = members.iter().map(|name| cluster.health(name, limit));
    let mut slowest = Duration::ZERO;
    for (name, read) in members.iter().zip(join_all(reads).await) {
        match read? {
            Health::Healthy(took) => slowest = slowest.max(took),
            Health::Unhealthy(why) => return Err(format!("{name}: {why}")),
        }
    }
    Ok(slowest)
}

/// What shows that a read was late: how long it took, or why it failed after it had waited that long. etcd from 3.6.9
/// on asks the others under a new number every 500 ms and takes no answer to a former one, so that a read there gets
/// none at all where answers are late by more.
///
/// # Errors
/// What was seen instead, in words.
fn late(
    read: Result<Duration, String>,
    waited: Duration,
    least: Duration,
) -> Result<Result<Duration, String>, String> {
    match read {
        Ok(took) if took < least => Err(format!("a read took {took:?}, less than {least:?}")),
        Err(why) if waited < least => Err(why),
        read => Ok(read),
    }
}

/// Broken streams that these members have logged.
async fn lost(cluster: &BareCluster, members: &[String]) -> Result<Vec<usize>, BareError> {
    let logs = members.iter().map(|name| cluster.whole_log(name));
    let logs = try_join_all(logs).await?;
    Ok(logs.iter().map(|log| log.matches(LOST).count()).collect())
}

impl Disturbed {
    /// What shows that it bites, by the proxy and by etcd.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let report = self.cluster.rules(&[], Rule::default()).await;
        let report = report.map_err(|error| error.to_string())?;
        let mut evidence = shown(&self.of.rule, &report.of(&self.pairs)?)?;
        if self.of.rule.blocked && !matches!(self.of.cut, Cut::Around(_)) {
            for name in &self.members {
                let Health::Unhealthy(why) = self.cluster.health(name, SHORT).await? else {
                    return Err(format!("{name} still reads what needs the others"));
                };
                evidence.add("read", why);
            }
        }
        if self.of.rule.delay_ms > 0 {
            let begun = Instant::now();
            let read = slowest(&self.cluster, &self.members, LONG).await;
            let least = Duration::from_millis(self.of.least_delay_ms());
            match late(read, begun.elapsed(), least)? {
                Ok(took) => evidence.add("read_ms", took.as_millis()),
                Err(why) => evidence.add("read", why),
            }
        }
        if self.of.rule.reset_ms > 0 {
            let now = lost(&self.cluster, &self.members).await;
            let now = now.map_err(|error| error.to_string())?;
            for ((name, before), now) in self.members.iter().zip(&self.lost_before).zip(now) {
                if now <= *before {
                    return Err(format!("{name} has logged no broken stream"));
                }
                evidence.add("streams_lost", now - before);
            }
        }
        Ok(evidence)
    }

    async fn undo(&self) -> Result<(), BareError> {
        self.cluster
            .rules(&self.pairs, Rule::default())
            .await
            .map(drop)
    }

    /// Figures of the whole time, and what ended early.
    async fn before_heal(&self) -> Result<Healing, String> {
        let report = self.cluster.rules(&[], Rule::default()).await;
        let report = report.map_err(|error| error.to_string())?;
        let lines = report.of(&self.pairs)?;
        let mut healing = Healing::default();
        for line in &lines {
            if line.rule != self.of.rule {
                healing.early(format!("{} to {}", line.from, line.to), "another rule");
            }
        }
        let sum = |of: fn(&Line) -> u64| -> u64 { lines.iter().map(|line| of(line)).sum() };
        let figures = [
            ("bytes", sum(|line| line.bytes)),
            ("bytes_waiting", sum(|line| line.waiting)),
            ("stopped", sum(|line| line.stopped)),
            ("queued", sum(|line| line.queued)),
            ("resets", sum(|line| line.resets)),
            ("lost", sum(|line| line.lost)),
        ];
        for (name, figure) in figures.into_iter().filter(|(_, figure)| *figure > 0) {
            healing.evidence.add(name, figure);
        }
        Ok(healing)
    }
}

impl Running for Disturbed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        until_shown(&self.fault, "the links show it", || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.clone(),
            reason,
        };
        let figures = self.before_heal().await;
        // In any case: what cannot be read is no reason to leave the links as they are.
        self.undo()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let mut healing = figures.map_err(failed)?;
        let begun = Instant::now();
        let what = "every target read what needs the others";
        let arrived = wait_until(what, timeouts::HEAL, async || {
            match slowest(&self.cluster, &self.members, LONG).await {
                Ok(_) => Poll::Ready(()),
                Err(error) => Poll::NotYet::<_, String>(error),
            }
        });
        arrived.await.map_err(|error| failed(error.to_string()))?;
        let after = format!("{} ms", begun.elapsed().as_millis());
        healing.evidence.add("reads_after", after);
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let report = self.cluster.rules(&[], Rule::default()).await;
        let report = report.map_err(|error| FaultError::find("the proxy's rules", error))?;
        let ruled = report.ruled();
        Ok((!ruled.is_empty()).then(|| ruled.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::links;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::FakeDocker;
    use crate::faults::{Direction, Selector};

    #[tokio::test]
    async fn a_rule_that_the_proxy_may_have_is_taken_back_where_the_injection_fails() {
        let fake = FakeDocker::new(|_| (500, br#"{"message":"no answer"}"#.to_vec()));
        let layout = Layout::new("r", 3, &[]).with_proxy(true);
        let cluster = BareCluster::new(fake.docker.clone(), layout);
        let fault = Fault::Split {
            side: Selector::Leader,
            direction: Direction::Outgoing,
        };
        let of = links::of(&fault).expect("a fault of links");
        let member = |name: String| Member {
            pod: name,
            ordinal: None,
            uid: String::new(),
            ip: None,
            node: None,
            role: None,
        };
        let all: Vec<Member> = cluster.layout().names().into_iter().map(member).collect();
        let chosen = (all[..1].to_vec(), all);
        let injected = inject(&cluster, (&fault, of), chosen, Evidence::new()).await;
        assert!(injected.is_err());
        let proxy = cluster.layout().proxy().expect("a proxy");
        let order = format!("POST /containers/{proxy}/exec");
        assert_eq!(fake.asked(), [order.clone(), order]);
    }

    #[test]
    fn a_read_is_late_when_it_waited_as_long_whatever_its_end() {
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(2));
        let least = Duration::from_millis(1800);
        let failed = || Err("no alarm list".to_owned());
        assert_eq!(late(Ok(long), long, least), Ok(Ok(long)));
        assert_eq!(late(failed(), long, least), Ok(failed()));
        assert_eq!(
            late(failed(), short, least),
            Err("no alarm list".to_owned())
        );
        assert!(late(Ok(short), long, least).is_err());
    }
}
