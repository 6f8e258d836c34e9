//! Members whose etcd panics or sleeps at one of its failpoints: a crash, or a delay, between two steps of its own.
//! etcd is told so over its container's loopback, by the client's program, which is put there.

use crate::bare::cluster::BareCluster;
use crate::bare::effect::{until_answered, until_shown};
use crate::bare::gofail::{self, Points};
use crate::bare::member::SUPERVISOR;
use crate::faults::{Evidence, FailAction, Fault, FaultError, Healing, Injected, Running, Target};

/// Lines of a log that hold the text of a panic and its stack.
const LINES: &str = "400";

/// Members with a failpoint that is set.
struct Set {
    cluster: BareCluster,
    fault: String,
    name: String,
    action: FailAction,
    members: Vec<String>,
    /// A member that has none: it asks the others.
    witness: Option<String>,
    /// What was said instead of an answer.
    unanswered: Vec<String>,
}

/// Sets the failpoint that the seed picks, at each of these members.
///
/// # Errors
/// [`FaultError::Unavailable`] before any is set where one of them has no such failpoint, else the step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    fault: &Fault,
    (members, witness, seed): (Vec<String>, Option<String>, u64),
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let unavailable = |reason| FaultError::Unavailable {
        fault: fault.to_string(),
        reason,
    };
    let Fault::Failpoint { at, action, .. } = fault else {
        return Err(unavailable("it names no failpoint".to_owned()));
    };
    let name = gofail::pick(at, *action, seed).map_err(unavailable)?;
    for member in &members {
        let points = cluster.failpoints(member).await;
        let points = points.map_err(|why| unavailable(format!("{why}; {}", gofail::REMEDY)))?;
        points.get(name).map_err(unavailable)?;
    }
    let mut set = Set {
        cluster: cluster.clone(),
        fault: fault.to_string(),
        name: name.to_owned(),
        action: *action,
        members,
        witness,
        unanswered: Vec::new(),
    };
    if let Err(why) = set.begin().await {
        // The error of the injection is the one to report; the run removes the containers in any case.
        let _ = Running::heal(&mut set).await;
        return Err(FaultError::find(format!("failpoint {name}"), why));
    }
    let targets = set.members.iter();
    Ok(Injected {
        targets: targets.map(|name| Target::member(name)).collect(),
        evidence: evidence.with("failpoint", name),
        running: Box::new(set),
    })
}

impl BareCluster {
    /// The failpoints of a member.
    ///
    /// # Errors
    /// Why there are none, in words.
    async fn failpoints(&self, member: &str) -> Result<Points, String> {
        let told = self.failpoint(member, &["list"]).await?;
        Points::parse(&told).map_err(|error| format!("{member}: {error}"))
    }

    /// Gives an order to etcd of a member.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    async fn failpoint(&self, member: &str, order: &[&str]) -> Result<String, String> {
        let program = [SUPERVISOR.0, SUPERVISOR.1].concat();
        let command = [&[program.as_str(), "failpoint"], order].concat();
        let output = self.run(member, &command).await;
        let output = output.map_err(|error| error.to_string())?;
        if output.success() {
            return Ok(output.stdout);
        }
        let said = output.stderr.trim();
        Err(format!("{member}: {said} (ended with {})", output.status))
    }
}

impl Set {
    async fn begin(&mut self) -> Result<(), String> {
        let action = gofail::words(&self.name, self.action);
        for member in &self.members {
            let order = ["set", self.name.as_str(), &action];
            match self.cluster.failpoint(member, &order).await {
                Ok(_) => {}
                // It may have ended before its answer, and what asked it with it: its end will show.
                Err(why) if self.action == FailAction::Panic => self.unanswered.push(why),
                Err(why) => return Err(why),
            }
            let Some(command) = gofail::reached_by(&self.name) else {
                continue;
            };
            // It fails where the member ends of it: only what the member does then counts.
            match self.cluster.run(member, command).await {
                Ok(output) if output.success() => {}
                Ok(output) => {
                    let said = output.stderr.trim();
                    self.unanswered.push(format!("{member}: {said}"));
                }
                Err(error) => self.unanswered.push(error.to_string()),
            }
        }
        Ok(())
    }

    /// What shows that each member has come to the failpoint.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let mut evidence = Evidence::new();
        for member in &self.members {
            evidence.extend(match self.action {
                FailAction::Panic => self.panicked(member).await?,
                FailAction::Sleep { .. } => self.slept(member).await?,
            });
        }
        Ok(evidence)
    }

    async fn panicked(&self, member: &str) -> Result<Evidence, String> {
        let seen = self.cluster.seen(member).await;
        let seen = seen.map_err(|error| error.to_string())?;
        if seen.running {
            let runs = format!("{member} still runs");
            let said = [&[runs][..], &self.unanswered].concat();
            return Err(said.join("; "));
        }
        let log = self.cluster.log_since_start(member, LINES).await?;
        let ended = gofail::panicked(&self.name, seen.exit_code, &log);
        ended.map_err(|why| format!("{member}: {why}"))?;
        Ok(Evidence::new()
            .with("exit_code", seen.exit_code)
            .with("panic", &self.name))
    }

    async fn slept(&self, member: &str) -> Result<Evidence, String> {
        let points = self.cluster.failpoints(member).await?;
        let point = points.get(&self.name)?;
        if !self.is_set(point) {
            return Err(format!("{member}: set to {:?}", point.action));
        }
        if point.reached == 0 {
            return Err(format!("{member} has not come to {}", self.name));
        }
        Ok(Evidence::new()
            .with("set", &point.action)
            .with("reached", point.reached))
    }

    fn is_set(&self, point: &gofail::Point) -> bool {
        point.action == gofail::words(&self.name, self.action)
    }

    /// Starts a member that has ended.
    async fn restart(&self, member: &str, healing: &mut Healing) -> Result<(), String> {
        let seen = self.cluster.seen(member).await;
        if seen.map_err(|error| error.to_string())?.running {
            healing.early(member, "something else");
            return self.clear(member, healing).await;
        }
        let started = self.cluster.start(member).await;
        started.map_err(|error| error.to_string())
    }

    /// Clears the failpoint of a member that runs.
    async fn clear(&self, member: &str, healing: &mut Healing) -> Result<(), String> {
        let points = self.cluster.failpoints(member).await?;
        let point = points.get(&self.name)?;
        if !self.is_set(point) {
            healing.early(member, "something else");
            return Ok(());
        }
        healing.evidence.add("reached", point.reached);
        let order = ["clear", self.name.as_str()];
        self.cluster.failpoint(member, &order).await.map(drop)
    }
}

impl Running for Set {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = format!("every target come to {}", self.name);
        until_shown(&self.fault, &what, || self.shown()).await
    }

    /// One that has panicked is started, without a failpoint that is set; else it is cleared.
    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let failed = |reason: String| FaultError::Heal {
            fault: self.fault.clone(),
            reason,
        };
        let mut healing = Healing::default();
        for member in &self.members {
            let healed = match self.action {
                FailAction::Panic => self.restart(member, &mut healing).await,
                FailAction::Sleep { .. } => self.clear(member, &mut healing).await,
            };
            healed.map_err(failed)?;
        }
        let asked = (&self.members[..], self.witness.as_ref());
        until_answered(&self.cluster, &self.fault, asked, healing).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for member in &self.members {
            let points = self.cluster.failpoints(member).await;
            let points = points.map_err(|why| FaultError::find(member.as_str(), why))?;
            let set = points.set();
            if !set.is_empty() {
                return Ok(Some(format!("{member}: {}", set.join(", "))));
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

    /// What shows a panic in a container that was started at six and has this log.
    async fn panicked(log: &[&str]) -> Result<Evidence, String> {
        let log = log
            .iter()
            .flat_map(|line| log_line(line))
            .collect::<Vec<u8>>();
        let fake = FakeDocker::new(move |request| match request {
            "GET /containers/m0/json" => {
                let state = r#"{"State":{"Running":false,"ExitCode":2,"StartedAt":"2026-11-30T06:00:00Z"}}"#;
                (200, state.as_bytes().to_vec())
            }
            _ => (200, log.clone()),
        });
        let set = Set {
            cluster: BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[])),
            fault: "failpoint".to_owned(),
            name: "raftBeforeSave".to_owned(),
            action: FailAction::Panic,
            members: vec!["m0".to_owned()],
            witness: None,
            unanswered: Vec::new(),
        };
        set.panicked("m0").await
    }

    #[tokio::test]
    async fn a_panic_of_the_life_before_proves_nothing() {
        let before = "2026-11-30T05:59:59.900000000Z panic: failpoint panic: raftBeforeSave\n";
        let start = "2026-11-30T06:00:00.100000000Z {\"level\":\"info\"}\n";
        let why = panicked(&[before, start]).await.expect_err("another life");
        assert!(why.contains("no panic"), "{why}");
        let now = "2026-11-30T06:00:07.000000000Z panic: failpoint panic: raftBeforeSave\n";
        let evidence = panicked(&[before, start, now]).await.expect("it did");
        assert_eq!(evidence.get("panic"), Some("raftBeforeSave"));
    }
}
