//! Clients that are not ours, written with the libraries that users have: what they print is read here, and each fault
//! is measured on them as on the recording client's routes.

use std::collections::BTreeMap;

use etcd_history::record::Nanos;
use serde::Serialize;

use super::failover::{Failover, milliseconds};
use super::statistics::Summary;
use crate::report::continuity::Acknowledgements;

/// A client that writes through the service every 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Probe {
    /// Go's clientv3 with default options.
    Go,
    /// A process of etcdctl for each write.
    Etcdctl,
    /// Python's etcd3.
    Python,
    /// An API server that keeps its objects in the cluster.
    KubeApiserver,
    /// Java's jetcd.
    Jetcd,
}

impl Probe {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Go,
        Self::Etcdctl,
        Self::Python,
        Self::KubeApiserver,
        Self::Jetcd,
    ];

    /// Its word in options, images and names of pods.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Etcdctl => "etcdctl",
            Self::Python => "python",
            Self::KubeApiserver => "kube-apiserver",
            Self::Jetcd => "jetcd",
        }
    }

    /// Its image, as `images/probes.sh` makes it.
    pub(crate) fn image(self) -> String {
        format!("etcd-harness/probe-{}:dev", self.word())
    }

    /// The name of its pod.
    pub(crate) fn pod(self) -> String {
        format!("probe-{}", self.word())
    }
}

/// What became of a probe's writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    acknowledged: Acknowledgements,
    /// When the others were given up.
    failed: Vec<Nanos>,
}

impl Writes {
    /// Of the logs of its pod, oldest first, each line behind its time: `begin UNIX_NANOSECONDS`, then `write
    /// NANOSECONDS_SINCE ok` or `write NANOSECONDS_SINCE failed WHY`. What its library says stands between them.
    ///
    /// # Errors
    /// A line that begins like one of these and is none.
    pub(crate) fn read(logs: &[String]) -> Result<Self, String> {
        let mut found = Self::default();
        for log in logs {
            let mut begun = None;
            for line in log.split_inclusive('\n') {
                // The last line of a log that is still written may be cut.
                let Some(line) = line.strip_suffix('\n') else {
                    continue;
                };
                let said = line.split_once(' ').map_or("", |(_, said)| said);
                found
                    .take(&mut begun, said)
                    .ok_or_else(|| format!("{line:?} is no line of a probe"))?;
            }
        }
        let acknowledged = &mut found.acknowledged;
        acknowledged.times.sort_unstable();
        acknowledged.last = acknowledged
            .times
            .iter()
            .chain(&found.failed)
            .max()
            .copied();
        Ok(found)
    }

    /// `None` for a line that is broken.
    fn take(&mut self, begun: &mut Option<Nanos>, said: &str) -> Option<()> {
        let mut words = said.split(' ');
        match words.next() {
            Some("begin") => {
                let at = words.next()?.parse().ok()?;
                *begun = Some(at);
                let first = &mut self.acknowledged.first;
                *first = Some(first.map_or(at, |first| first.min(at)));
            }
            Some("write") => {
                let since: Nanos = words.next()?.parse().ok()?;
                let at = begun.as_ref()?.checked_add(since)?;
                match words.next()? {
                    "ok" => self.acknowledged.times.push(at),
                    "failed" => self.failed.push(at),
                    _ => return None,
                }
            }
            _ => {}
        }
        Some(())
    }

    /// What a fault cost that is there from `from` on, until the next one; nothing where it wrote nothing then.
    pub(crate) fn toll(&self, from: Nanos, until: Nanos) -> Option<Toll> {
        let gap = self.acknowledged.longest_mostly_within(from, until)?;
        let within = |times: &[Nanos]| {
            let within = times.iter().filter(|at| (from..until).contains(at));
            within.count()
        };
        let failed = within(&self.failed);
        Some(Toll {
            gap_ms: milliseconds(gap.length()),
            closed: gap.closed,
            failed,
            writes: failed + within(&self.acknowledged.times),
        })
    }
}

/// What a probe lost in one failover.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Toll {
    /// Longest time without an acknowledged write, in milliseconds.
    pub gap_ms: f64,
    /// False when no acknowledgement ended it.
    pub closed: bool,
    /// Writes that it gave up, until the next fault.
    pub failed: usize,
    /// Writes that ended, until the next fault.
    pub writes: usize,
}

/// What a probe lost in all failovers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ProbeReport {
    /// Longest time without an acknowledged write, in milliseconds.
    pub gap_ms: Option<Summary>,
    /// Writes that it gave up.
    pub failed: usize,
    /// Writes that ended.
    pub writes: usize,
    /// Failovers that say nothing about it: it wrote nothing, or its gap never ended.
    pub unusable: usize,
}

/// Of each probe that was asked for or that has written.
pub(crate) fn reports(failovers: &[Failover], asked: &[Probe]) -> BTreeMap<Probe, ProbeReport> {
    let wrote = failovers.iter().flat_map(|failover| failover.probes.keys());
    let mut all: Vec<Probe> = wrote.chain(asked).copied().collect();
    all.sort_unstable();
    all.dedup();
    let report = |probe: Probe| {
        let tolls = || {
            let effective = failovers.iter().filter(|failover| failover.effective);
            let tolls = effective.filter_map(|failover| failover.probes.get(&probe));
            tolls.filter(|toll| toll.closed)
        };
        let report = ProbeReport {
            gap_ms: Summary::of(tolls().map(|toll| toll.gap_ms)),
            failed: tolls().map(|toll| toll.failed).sum(),
            writes: tolls().map(|toll| toll.writes).sum(),
            unusable: failovers.len() - tolls().count(),
        };
        (probe, report)
    };
    all.into_iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    const MS: Nanos = 1_000_000;

    fn log(lines: &[&str]) -> String {
        let line = |line: &&str| format!("2026-11-29T04:00:00.000000000Z {line}\n");
        lines.iter().map(line).collect()
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        for (probe, value) in Probe::ALL.into_iter().zip(Probe::value_variants()) {
            assert_eq!(probe, *value);
            let name = value.to_possible_value().expect("a value");
            assert_eq!(name.get_name(), probe.word());
        }
    }

    #[test]
    fn acknowledged_and_failed_writes_are_told_apart_and_the_library_may_talk() {
        let log = log(&[
            "begin 1000000000",
            "write 10000000 ok",
            "{\"level\":\"warn\",\"msg\":\"retrying of unary invoker failed\"}",
            "write 500000000 failed context deadline exceeded",
            "write 510000000 ok",
            "write 520000000 ok",
        ]);
        let writes = Writes::read(&[log]).expect("a log");
        let toll = writes.toll(1005 * MS, Nanos::MAX).expect("writes");
        let expected = Toll {
            gap_ms: 500.0,
            closed: true,
            failed: 1,
            writes: 4,
        };
        assert_eq!(toll, expected);
    }

    #[test]
    fn a_probe_that_was_restarted_has_one_gap_over_both_lives() {
        let before = log(&["begin 1000000000", "write 10000000 ok"]);
        let after = log(&["begin 3000000000", "write 5000000 ok"]);
        let writes = Writes::read(&[before, after]).expect("logs");
        let toll = writes.toll(1015 * MS, Nanos::MAX).expect("writes");
        assert_eq!((toll.gap_ms, toll.closed), (1995.0, true));
    }

    #[test]
    fn writes_that_fail_to_the_end_leave_the_gap_open() {
        let log = log(&[
            "begin 0",
            "write 10000000 ok",
            "write 2000000000 failed refused",
        ]);
        let toll = Writes::read(&[log])
            .expect("a log")
            .toll(11 * MS, Nanos::MAX);
        let toll = toll.expect("writes");
        assert_eq!((toll.closed, toll.failed), (false, 1));
    }

    #[test]
    fn a_broken_line_is_refused_and_a_cut_one_at_the_end_is_not() {
        for line in ["write 1 perhaps", "write x ok", "begin soon", "write"] {
            let log = log(&["begin 0", line]);
            assert!(Writes::read(&[log]).is_err(), "{line}");
        }
        let early = log(&["write 1 ok"]);
        assert!(Writes::read(&[early]).is_err(), "nothing has begun");
        let cut = log(&["begin 0", "write 1 ok"]) + "2026-11-29T04:00:00Z write 12";
        assert!(Writes::read(&[cut]).is_ok());
    }

    #[test]
    fn a_probe_that_was_asked_for_and_wrote_nothing_is_reported() {
        let report = &reports(&[], &[Probe::Go])[&Probe::Go];
        assert_eq!((report.gap_ms, report.unusable), (None, 0));
        let failover = Failover {
            run: "1".into(),
            fault: "kill_process".into(),
            target: "e-0".into(),
            effective: true,
            routes: BTreeMap::new(),
            probes: BTreeMap::new(),
        };
        assert_eq!(reports(&[failover], &[Probe::Go])[&Probe::Go].unusable, 1);
    }
}
