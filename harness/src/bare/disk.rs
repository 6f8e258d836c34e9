//! A slow disk: a member's control group lets only so many writes a second through, which delays what etcd must sync
//! before it goes further. The recording client's container sets it, which has the host's control groups mounted in
//! such a run and in no other. The group goes with its container, so that nothing is left of it.
//!
//! A disk that is busy with something else makes a sync slow too. So the limit is read back when the effect is looked
//! for and before it is taken away, and etcd must wait for its disk for much of the time, sync after sync.

use std::time::{Duration, Instant};

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::effect::until_shown;
use crate::bare::health::duration;
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Member, Running, Target};

/// What etcd logs, in every version from 3.4 on, when a sync of its log took longer than a second.
const SLOW: &str = "slow fdatasync";
/// The shortest of them.
const SHORTEST: Duration = Duration::from_secs(1);
/// So many slow syncs at least, since one may be anything's.
const LEAST: usize = 2;
/// They take this part of the time at least, as one over: with a limit that delays a sync by seconds etcd waits for its
/// disk nearly all the time. Syncs of less than a second are not logged.
const PART: u32 = 4;
/// Who may write to control groups. The client itself stays an ordinary user: this command alone is root's.
const ROOT: &str = "0";

/// Members whose disks are slow.
struct Slow {
    cluster: BareCluster,
    fault: String,
    writes_s: u32,
    members: Vec<Slowed>,
}

/// One of them.
struct Slowed {
    name: String,
    /// Slow syncs that it had logged before.
    before: usize,
    /// When the limit was set.
    since: Instant,
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
    let mut slow = Slow {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        writes_s,
        members: Vec::new(),
    };
    for member in chosen {
        let log = cluster.whole_log(&member.pod).await;
        let log = log.map_err(|error| FaultError::find("the slow syncs before it", error))?;
        slow.members.push(Slowed {
            before: slow_syncs(&log).len(),
            name: member.pod,
            since: Instant::now(),
        });
    }
    for at in 0..slow.members.len() {
        match slow.limit(at).await {
            Ok(limits) => evidence.add("limits", limits),
            Err(reason) => {
                // The error of the injection is the one to report; the run removes the containers in any case.
                let _ = Running::heal(&mut slow).await;
                let fault = fault.to_string();
                return Err(FaultError::Unavailable { fault, reason });
            }
        }
    }
    Ok(Injected {
        targets: slow
            .members
            .iter()
            .map(|member| Target::member(&member.name))
            .collect(),
        evidence,
        running: Box::new(slow),
    })
}

/// How long each slow sync took that is in a log.
fn slow_syncs(log: &str) -> Vec<Duration> {
    let slow = log.lines().filter(|line| line.contains(SLOW));
    slow.map(|line| took(line).unwrap_or(SHORTEST)).collect()
}

fn took(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once("\"took\":\"")?;
    duration(rest.split_once('"')?.0)
}

/// What shows that a disk was slow for so long: etcd waited for it again and again.
///
/// # Errors
/// What was seen instead, in words.
fn waited(syncs: &[Duration], elapsed: Duration) -> Result<Duration, String> {
    let all: Duration = syncs.iter().sum();
    if syncs.len() >= LEAST && all * PART >= elapsed {
        return Ok(all);
    }
    Err(format!(
        "{} slow syncs of {:.1} s together in {:.1} s",
        syncs.len(),
        all.as_secs_f64(),
        elapsed.as_secs_f64()
    ))
}

/// True when a control group's limits, of either version, are so many writes a second.
fn holds(limits: &str, writes_s: u32) -> bool {
    let writes = writes_s.to_string();
    limits.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.any(|word| word.strip_prefix("wiops=").unwrap_or(word) == writes)
    })
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
    /// Sets the limit of one member; returns the limits that it then has.
    ///
    /// # Errors
    /// Why it has none, in words.
    async fn limit(&mut self, at: usize) -> Result<String, String> {
        let member = &mut self.members[at];
        let set = self.cluster.throttle(&member.name, Some(self.writes_s));
        let limits = set.await.map_err(|error| error.to_string())?;
        member.since = Instant::now();
        if holds(&limits, self.writes_s) {
            return Ok(limits);
        }
        Err(format!("{} has the limits {limits:?} then", member.name))
    }

    /// The limit is still the one that was set.
    ///
    /// # Errors
    /// What it is instead, or why it cannot be read, in words.
    async fn is_limited(&self, member: &Slowed) -> Result<(), String> {
        let limits = self.cluster.throttle(&member.name, None).await;
        let limits = limits.map_err(|error| error.to_string())?;
        if holds(&limits, self.writes_s) {
            return Ok(());
        }
        Err(format!("{} has the limits {limits:?}", member.name))
    }

    /// Slow syncs of a member since its limit was set.
    ///
    /// # Errors
    /// Why its log cannot be read, in words.
    async fn syncs(&self, member: &Slowed) -> Result<Vec<Duration>, String> {
        let log = self.cluster.whole_log(&member.name).await;
        let log = log.map_err(|error| error.to_string())?;
        Ok(slow_syncs(&log).into_iter().skip(member.before).collect())
    }

    /// etcd itself says that each of its disks is slow, by the limit that was set.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            let syncs = self.syncs(member).await?;
            let waited = waited(&syncs, member.since.elapsed());
            let waited = waited.map_err(|seen| format!("{}: {seen}", member.name))?;
            self.is_limited(member).await?;
            evidence.add("slow_syncs", syncs.len());
            evidence.add("waited_ms", waited.as_millis());
        }
        Ok(evidence)
    }
}

impl Running for Slow {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "every target wait for its disk";
        until_shown(&self.fault, what, || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        for member in &self.members {
            match self.syncs(member).await {
                Ok(syncs) => healing.evidence.add("slow_syncs", syncs.len()),
                Err(error) => healing.evidence.add("not counted", error),
            }
            if let Err(seen) = self.is_limited(member).await {
                let doubt = "it is not known whether the disk was slow to the end";
                healing.doubt(format!("{doubt}: {seen}"));
            }
        }
        for member in &self.members {
            let freed = self.cluster.throttle(&member.name, Some(0)).await;
            freed.map_err(|error| FaultError::Heal {
                fault: self.fault.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for member in &self.members {
            let name = member.name.as_str();
            let limits = self.cluster.throttle(name, None).await;
            let limits = limits.map_err(|error| FaultError::find(name, error))?;
            if !limits.is_empty() && !limits.contains("wiops=max") {
                return Ok(Some(format!("{name}: {limits}")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::FakeDocker;
    use crate::faults::Selector;

    #[tokio::test]
    async fn without_a_log_to_compare_with_nothing_is_slowed() {
        let fake = FakeDocker::new(|_| (500, br#"{"message":"no logs"}"#.to_vec()));
        let layout = Layout::new("r", 1, &[]).with_slow_disks(true);
        let cluster = BareCluster::new(fake.docker.clone(), layout);
        let fault = Fault::SlowDisk {
            of: Selector::Leader,
            writes_s: 2,
        };
        let member = Member {
            pod: "m0".to_owned(),
            ordinal: Some(0),
            uid: String::new(),
            ip: None,
            node: None,
            role: None,
        };
        let injected = inject(&cluster, (&fault, 2), vec![member], Evidence::new()).await;
        let Err(error) = injected else {
            panic!("it was injected")
        };
        assert!(error.to_string().contains("no logs"), "{error}");
        let asked = fake.asked();
        assert_eq!(asked, ["GET /containers/m0/logs"], "no limit was set");
        assert_eq!(cluster.log("m0", "3").await, "");
    }

    fn line(took: &str) -> String {
        format!(
            "{{\"level\":\"warn\",\"ts\":\"2026-11-29T10:00:00.1Z\",\"caller\":\"wal/wal.go:805\",\
             \"msg\":\"slow fdatasync\",\"took\":\"{took}\",\"expected-duration\":\"1s\"}}\n"
        )
    }

    #[test]
    fn slow_syncs_are_read_with_their_times() {
        let log = format!(
            "{{\"msg\":\"took\",\"took\":\"9s\"}}\n{}{}{}",
            line("3.25s"),
            line("1m1s"),
            line("long")
        );
        let found: Vec<u128> = slow_syncs(&log).iter().map(Duration::as_millis).collect();
        assert_eq!(found, [3250, 61_000, 1000]);
        assert!(slow_syncs("").is_empty());
    }

    #[test]
    fn a_sync_or_two_of_a_busy_disk_are_no_slow_disk() {
        let s = Duration::from_secs;
        assert!(waited(&[], s(0)).is_err());
        let one = waited(&[s(30)], s(30)).expect_err("one is no rate");
        assert_eq!(one, "1 slow syncs of 30.0 s together in 30.0 s");
        assert!(waited(&[s(1), s(1)], s(60)).is_err(), "far apart");
        assert_eq!(waited(&[s(3), s(3)], s(7)), Ok(s(6)));
        assert_eq!(waited(&[s(3), s(3)], s(24)), Ok(s(6)));
        assert!(waited(&[s(3), s(3)], s(25)).is_err());
    }

    #[test]
    fn the_limit_is_the_one_that_was_set_in_both_versions_of_control_groups() {
        let versions = [
            "8:0 2",
            "8:16 7\n8:0 2\n",
            "8:0 rbps=max wbps=max riops=max wiops=2",
        ];
        for limits in versions {
            assert!(holds(limits, 2), "{limits}");
            assert!(!holds(limits, 20) && !holds(limits, 8), "{limits}");
        }
        for limits in ["", "8:0 riops=2 wiops=max", "8:0 20", "2:0 3"] {
            assert!(!holds(limits, 2), "{limits}");
        }
    }
}
