//! Another time for the etcd of a member: `workload clock` changes how that process asks for it, from a container of
//! its own that shares the member's processes and may trace them. It sets it back when it is told to end, or after
//! three minutes; one that was killed is made up for by another, and nothing outlives the member.

use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::bare::BareError;
use crate::bare::beside::{Beside, LIMIT};
use crate::bare::cluster::BareCluster;
use crate::bare::effect::{until_answered, until_shown};
use crate::faults::{EtcdClock, Evidence, Fault, FaultError, Healing, Injected, Running, Target};

/// What it may do.
const RIGHTS: &[&str] = &["SYS_PTRACE"];
/// Etcd says its time to the second, and a busy machine compares it late: so many seconds are no difference.
const SLACK_S: u64 = 10;
/// The machine's own rate, in percent.
const MACHINE: u16 = 100;
/// Rates that the program takes.
const RATES: RangeInclusive<u16> = 10..=1_000;
/// A deadline shows the least rate alone, and comes late on a busy machine: no lower rate is told from the machine's.
const FAST: u16 = 110;

/// How a clock is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is so many seconds ahead, or behind where that is less than none.
    Ahead(i32),
    /// One of them runs at so many percent of the machine's rate.
    Rate(EtcdClock, u16),
}

/// A line that it prints while the clock is shifted, and at the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    /// Its code is where it was written.
    in_place: bool,
    /// By how many seconds etcd's answers are ahead of the machine; none when it gave none.
    ahead_s: Option<i64>,
    /// The least and the most percent of the machine's rate at which the time in etcd's answers has run since; none
    /// before that can be known.
    rate_percent: Option<[i64; 2]>,
    /// The least percent of the machine's rate at which etcd's monotonic clock runs, by a deadline that it kept; none
    /// where that is not changed, or not known.
    deadline_percent: Option<i64>,
    /// How often etcd was stopped until that could be written, and for how long the last time.
    tries: u32,
    held_us: u64,
    /// `asked` or `limit`; none while it runs.
    ended: Option<String>,
}

/// What it prints of a clock that may be shifted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    shifted: bool,
    ahead_s: Option<i64>,
}

/// Members whose etcd has another time.
struct Shifted {
    cluster: BareCluster,
    fault: String,
    change: Change,
    members: Vec<String>,
    /// A member that has not: it asks the others.
    witness: Option<String>,
}

/// Gives the etcd of these members another time.
///
/// # Errors
/// [`FaultError::Unavailable`] where that cannot be done, with the reason.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, change): (&Fault, Change),
    (members, witness): (Vec<String>, Option<String>),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let shifted = Shifted {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        change,
        members,
        witness,
    };
    for member in &shifted.members {
        if let Err(reason) = shifted.begin(member).await {
            // The error of the injection is the one to report; the run removes the containers in any case.
            for member in &shifted.members {
                let _ = shifted.end(member, &mut Healing::default()).await;
            }
            let fault = shifted.fault;
            return Err(FaultError::Unavailable { fault, reason });
        }
    }
    let targets = shifted.members.iter();
    Ok(Injected {
        targets: targets.map(|name| Target::member(name)).collect(),
        evidence,
        running: Box::new(shifted),
    })
}

/// Name of the container that shifts a member's clock.
fn daemon(member: &str) -> String {
    format!("{member}-clock")
}

/// Whether what was seen is so many seconds ahead.
fn is_ahead(seen: Option<i64>, seconds: i32) -> bool {
    seen.is_some_and(|seen| seen.abs_diff(seconds.into()) <= SLACK_S)
}

impl Change {
    /// A clock at so many percent of the machine's rate.
    ///
    /// # Errors
    /// What is accepted, where that rate is not.
    pub(crate) fn rate(clock: EtcdClock, percent: u16) -> Result<Self, String> {
        let (least, most) = (*RATES.start(), *RATES.end());
        let accepted = match clock {
            EtcdClock::TimeOfDay => RATES.contains(&percent) && percent != MACHINE,
            EtcdClock::Monotonic => RATES.contains(&percent) && percent >= FAST,
        };
        if accepted {
            return Ok(Self::Rate(clock, percent));
        }
        Err(match clock {
            EtcdClock::TimeOfDay => {
                format!(
                    "accepted for the time of day are {least} to {most} % of the machine's rate, but for {MACHINE} %"
                )
            }
            EtcdClock::Monotonic => {
                format!(
                    "accepted for the monotonic clock are {FAST} to {most} % of the machine's rate"
                )
            }
        })
    }

    /// How the program is asked for it.
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Ahead(seconds) => vec![format!("--ms={}", i64::from(seconds) * 1_000)],
            Self::Rate(clock, percent) => {
                let clock = match clock {
                    EtcdClock::TimeOfDay => "realtime",
                    EtcdClock::Monotonic => "monotonic",
                };
                vec![
                    format!("--clock={clock}"),
                    format!("--rate-percent={percent}"),
                ]
            }
        }
    }

    /// What shows of this that etcd has the time that it was given.
    fn seen(self, report: &Report) -> Option<Evidence> {
        match self {
            Self::Ahead(seconds) => {
                let ahead = report.ahead_s?;
                let shown = is_ahead(Some(ahead), seconds);
                shown.then(|| Evidence::new().with("etcd_ahead_s", ahead))
            }
            Self::Rate(EtcdClock::TimeOfDay, percent) => {
                let [least, most] = report.rate_percent?;
                let allows = |rate: u16| (least..=most).contains(&i64::from(rate));
                let seen = format!("{least} to {most}");
                let shown = allows(percent) && !allows(MACHINE);
                shown.then(|| Evidence::new().with("etcd_rate_percent", seen))
            }
            Self::Rate(EtcdClock::Monotonic, percent) => {
                let least = report.deadline_percent?;
                // Nearer to what it was given than to the machine's.
                let middle = i64::from(MACHINE + percent) / 2;
                let shown = (middle..=i64::from(percent)).contains(&least);
                shown.then(|| Evidence::new().with("etcd_deadline_percent", least))
            }
        }
    }
}

/// What shows that etcd has the time that it was given.
///
/// # Errors
/// What was seen instead, in words.
fn shown(report: &Report, change: Change) -> Result<Evidence, String> {
    match change.seen(report) {
        Some(evidence) if report.in_place => Ok(evidence
            .with("stopped_us", report.held_us)
            .with("stopped_times", report.tries)),
        _ => Err(format!("not seen: {report:?}")),
    }
}

impl Shifted {
    /// Shifts the clock of a member.
    ///
    /// # Errors
    /// Why it is not shifted, in words.
    async fn begin(&self, member: &str) -> Result<(), String> {
        let limit = LIMIT.as_secs();
        let name = daemon(member);
        let beside = Beside {
            name: &name,
            order: [
                vec!["clock".to_owned(), "shift".to_owned()],
                self.change.arguments(),
                vec![format!("--seconds={limit}")],
            ]
            .concat(),
            rights: RIGHTS,
            processes: true,
        };
        let begun = self.cluster.run_beside(member, beside).await;
        begun.map_err(|error| error.to_string())?;
        self.cluster.begun_beside::<Report>(&name).await
    }

    /// Asks about the clock of a member: `look` or `restore`, which sets it back and prints how it was.
    ///
    /// # Errors
    /// Why that is not known, in words.
    async fn ask(&self, member: &str, word: &str) -> Result<Look, String> {
        let beside = Beside {
            name: &format!("{}-{word}", daemon(member)),
            order: vec!["clock".to_owned(), word.to_owned()],
            rights: RIGHTS,
            processes: true,
        };
        self.cluster.ask_beside(member, beside).await
    }

    async fn all_shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            let said = self.cluster.said_beside::<Report>(&daemon(member)).await;
            let shown = said.and_then(|report| shown(&report, self.change));
            evidence.extend(shown.map_err(|seen| format!("{member}: {seen}"))?);
        }
        Ok(evidence)
    }

    /// Sets the clock of a member back.
    ///
    /// # Errors
    /// The step that failed, in words.
    async fn end(&self, member: &str, healing: &mut Healing) -> Result<(), String> {
        let name = daemon(member);
        let last = self.cluster.end_beside::<Report>(&name).await;
        match last.map_err(|error: BareError| error.to_string())? {
            Ok(last) => {
                match last.ended.as_deref() {
                    Some("asked") => {}
                    Some(_) => healing.early(member, "its time limit"),
                    None => healing.doubt(format!("{name} was killed: {last:?}")),
                }
                match shown(&last, self.change) {
                    Ok(evidence) => healing.evidence.extend(evidence),
                    Err(seen) => healing.doubt(format!("{member} at the end: {seen}")),
                }
            }
            Err(said) => healing.early(member, &format!("its own end: {said}")),
        }
        let left = self.ask(member, "restore").await?;
        if left.shifted {
            healing.doubt(format!("{name} had not set the clock back"));
        }
        Ok(())
    }
}

impl Running for Shifted {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "the etcd of every target say another time";
        until_shown(&self.fault, what, || self.all_shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        for member in &self.members {
            let ended = self.end(member, &mut healing).await;
            ended.map_err(|reason| FaultError::Heal {
                fault: self.fault.clone(),
                reason,
            })?;
        }
        let asked = (self.members.as_slice(), self.witness.as_ref());
        until_answered(&self.cluster, &self.fault, asked, healing).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for member in &self.members {
            let look = self.ask(member, "look").await;
            let look =
                look.map_err(|why| FaultError::find(format!("the clock of {member}"), why))?;
            if look.shifted || !is_ahead(look.ahead_s, 0) {
                return Ok(Some(format!("{member}: its clock is another: {look:?}")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};

    fn report(ahead_s: Option<i64>) -> Report {
        Report {
            in_place: true,
            ahead_s,
            rate_percent: None,
            deadline_percent: None,
            tries: 1,
            held_us: 600,
            ended: None,
        }
    }

    #[test]
    fn it_is_shown_by_the_code_and_by_the_time_that_etcd_says() {
        let ahead = |ahead_s, seconds| shown(&report(ahead_s), Change::Ahead(seconds));
        let evidence = ahead(Some(3_599), 3_600).expect("shown");
        assert_eq!(evidence.get("etcd_ahead_s"), Some("3599"));
        assert!(ahead(Some(-3_603), -3_600).is_ok(), "behind");
        assert!(ahead(Some(3_600), -3_600).is_err(), "the other way");
        assert!(ahead(Some(0), 3_600).is_err(), "etcd has the machine's");
        assert!(ahead(None, 3_600).is_err(), "etcd says none");
        let mut gone = report(Some(3_600));
        gone.in_place = false;
        assert!(shown(&gone, Change::Ahead(3_600)).is_err(), "other code");
    }

    #[test]
    fn a_rate_is_shown_once_it_cannot_be_the_machines() {
        let at = |rate_percent, percent| {
            let report = Report {
                rate_percent,
                ..report(Some(3))
            };
            shown(&report, Change::Rate(EtcdClock::TimeOfDay, percent))
        };
        let evidence = at(Some([179, 221]), 200).expect("shown");
        assert_eq!(evidence.get("etcd_rate_percent"), Some("179 to 221"));
        assert!(at(Some([39, 81]), 50).is_ok(), "slow");
        assert!(at(Some([99, 400]), 200).is_err(), "too soon to know");
        assert!(at(Some([33, 100]), 50).is_err(), "too soon to know");
        assert!(at(Some([101, 199]), 200).is_err(), "another rate");
        assert!(at(None, 200).is_err(), "not known");
    }

    #[test]
    fn a_fast_monotonic_clock_is_shown_by_a_deadline_that_is_kept_early_enough() {
        let at = |deadline_percent| {
            let report = Report {
                rate_percent: Some([99, 101]),
                deadline_percent,
                ..report(Some(0))
            };
            shown(&report, Change::Rate(EtcdClock::Monotonic, 120))
        };
        let evidence = at(Some(117)).expect("shown");
        assert_eq!(evidence.get("etcd_deadline_percent"), Some("117"));
        assert!(at(Some(120)).is_ok(), "exactly");
        assert!(at(Some(109)).is_err(), "late, or the machine's");
        assert!(at(Some(121)).is_err(), "another rate, or another end");
        assert!(at(None).is_err(), "not known");
    }

    #[test]
    fn the_program_is_asked_by_the_names_that_it_knows() {
        let slow = Change::Rate(EtcdClock::TimeOfDay, 50).arguments();
        assert_eq!(slow, ["--clock=realtime", "--rate-percent=50"]);
        let fast = Change::Rate(EtcdClock::Monotonic, 120).arguments();
        assert_eq!(fast, ["--clock=monotonic", "--rate-percent=120"]);
        assert_eq!(Change::Ahead(-1).arguments(), ["--ms=-1000"]);
    }

    fn shifted(fake: &FakeDocker) -> Shifted {
        Shifted {
            cluster: BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[])),
            fault: "clock".to_owned(),
            change: Change::Ahead(3_600),
            members: vec!["m0".to_owned()],
            witness: None,
        }
    }

    /// A Docker whose daemon has said this last, and what asks afterwards that.
    fn docker(last: String, look: &'static str) -> FakeDocker {
        FakeDocker::new(move |request| match request {
            "GET /containers/bare-r-client/json" => (200, br#"{"Image":"i"}"#.to_vec()),
            "POST /containers/create" => (201, br#"{"Id":"1","Warnings":[]}"#.to_vec()),
            "GET /containers/m0-clock/logs" => (200, log_line(&format!("{last}\n"))),
            request if request.ends_with("/logs") => (200, log_line(&format!("{look}\n"))),
            request if request.starts_with("GET") => {
                (200, br#"{"State":{"Running":false}}"#.to_vec())
            }
            _ => (204, Vec::new()),
        })
    }

    async fn healed(last: &str, look: &'static str) -> Healing {
        let line = r#"{"in_place":true,"ahead_s":3600,"rate_percent":[99,101],"deadline_percent":null,"tries":1,"held_us":600,"ended":LAST}"#;
        let fake = docker(line.replace("LAST", last), look);
        let mut healing = Healing::default();
        shifted(&fake).end("m0", &mut healing).await.expect("ended");
        let asked = fake.asked();
        for request in [
            "POST /containers/m0-clock/stop",
            "DELETE /containers/m0-clock",
            "POST /containers/m0-clock-restore/start",
            "DELETE /containers/m0-clock-restore",
        ] {
            assert!(asked.contains(&request.to_owned()), "{request}: {asked:?}");
        }
        healing
    }

    const BACK: &str = r#"{"shifted":false,"ahead_s":0}"#;
    const LEFT: &str = r#"{"shifted":true,"ahead_s":0}"#;

    #[tokio::test]
    async fn one_that_did_not_set_it_back_makes_the_run_doubtful() {
        let asked = healed("\"asked\"", BACK).await;
        assert!(asked.doubts.is_empty(), "{asked}");
        assert_eq!(asked.evidence.get("etcd_ahead_s"), Some("3600"));
        let limit = healed("\"limit\"", BACK).await;
        assert!(limit.doubts[0].contains("time limit"), "{limit}");
        let killed = healed("null", LEFT).await;
        assert!(killed.doubts[0].contains("was killed"), "{killed}");
        assert!(
            killed.doubts[1].contains("not set the clock back"),
            "{killed}"
        );
    }

    #[tokio::test]
    async fn a_clock_that_is_another_afterwards_is_residue() {
        let residue = async |look: &'static str| {
            let fake = docker(String::new(), look);
            Running::residue(&shifted(&fake))
                .await
                .expect("it is looked for")
        };
        assert_eq!(residue(BACK).await, None);
        assert!(residue(LEFT).await.is_some());
        let another = r#"{"shifted":false,"ahead_s":3600}"#;
        assert!(residue(another).await.is_some());
    }
}
