//! Members that are stopped, and started with another version of etcd on their data: its program takes the place of the
//! former one in their container, as an upgrade of a machine's package does.

use bollard::query_parameters::KillContainerOptionsBuilder;
use futures::future::join_all;

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::effect::{left, until_shown};
use crate::bare::member::ETCD;
use crate::bare::release;
use crate::faults::{Evidence, Fault, FaultError, Injected, Running, Target};
use crate::timeouts;

/// Members that were started again.
struct Changed {
    cluster: BareCluster,
    fault: String,
    /// Each, and when it was started before.
    members: Vec<(String, String)>,
}

/// Stops members and starts them with the next version, all at once or one after the other.
///
/// # Errors
/// The step that failed, or how a member has ended.
pub(crate) async fn inject(
    cluster: &BareCluster,
    (fault, in_turn): (&Fault, bool),
    members: Vec<String>,
    evidence: Evidence,
) -> Result<Injected, FaultError> {
    let failed = |error: BareError| FaultError::docker(format!("inject {fault}"), error);
    let before = join_all(members.iter().map(|name| cluster.seen(name))).await;
    let before: Result<Vec<_>, _> = before.into_iter().collect();
    let before = before
        .map_err(failed)?
        .into_iter()
        .map(|seen| seen.started_at);
    let program = cluster.next_program().await.map_err(failed)?;
    let at_once = if in_turn { 1 } else { members.len().max(1) };
    for group in members.chunks(at_once) {
        let changed = cluster.change(group, program.as_deref());
        changed.await.map_err(failed)?;
        if in_turn {
            let whole = cluster.wait_whole(timeouts::patient(timeouts::BARE_WHOLE));
            whole.await.map_err(failed)?;
        }
    }
    let version = cluster.layout().next_version().unwrap_or("their own");
    Ok(Injected {
        targets: members.iter().map(|name| Target::member(name)).collect(),
        evidence: evidence.with("version", version),
        running: Box::new(Changed {
            cluster: cluster.clone(),
            fault: fault.to_string(),
            members: members.iter().cloned().zip(before).collect(),
        }),
    })
}

impl BareCluster {
    /// The program of the next version, where there is one.
    async fn next_program(&self) -> Result<Option<Vec<u8>>, BareError> {
        if self.layout().next_version().is_none() {
            return Ok(None);
        }
        let tools = self.layout().next_tools();
        self.read_file(&tools, ETCD).await.map(Some)
    }

    /// Stops these members, gives them this program, and starts them.
    async fn change(&self, members: &[String], program: Option<&[u8]>) -> Result<(), BareError> {
        let stopped = join_all(members.iter().map(|name| self.stop(name))).await;
        let ended = members.iter().zip(&stopped);
        let ended = ended.filter_map(|(name, stopped)| stopped.is_ok().then_some(name));
        let ended: Vec<&String> = ended.collect();
        let given = join_all(ended.iter().map(|name| self.give(name, program))).await;
        // Also where something failed: what stays stopped would be taken for a member that does not come back.
        let started = join_all(ended.iter().map(|name| self.start(name))).await;
        stopped.into_iter().chain(given).chain(started).collect()
    }

    async fn give(&self, name: &str, program: Option<&[u8]>) -> Result<(), BareError> {
        match (program, ETCD.rsplit_once('/')) {
            (Some(program), Some(place)) => self.write_program(name, place, program).await,
            _ => Ok(()),
        }
    }

    /// Asks etcd to end, and waits until it has.
    async fn stop(&self, name: &str) -> Result<(), BareError> {
        let options = KillContainerOptionsBuilder::default()
            .signal("SIGTERM")
            .build();
        let asked = self.docker().kill_container(name, Some(options)).await;
        asked.map_err(|error| BareError::docker(format!("stop container {name}"), error))?;
        self.until_ended(name).await
    }
}

impl Changed {
    /// That each was started again and has the version.
    ///
    /// # Errors
    /// What was seen instead, in words.
    async fn shown(&self) -> Result<Evidence, String> {
        let next = self.cluster.layout().next_version();
        let next = next.and_then(release::told_as);
        let status = self.cluster.look().await?;
        let mut evidence = Evidence::new();
        for (name, before) in &self.members {
            let seen = self.cluster.seen(name).await;
            let seen = seen.map_err(|error| error.to_string())?;
            if seen.started_at == *before || !seen.running {
                return Err(format!("{name} was not started again"));
            }
            let version = status
                .version(name)
                .ok_or_else(|| format!("no answer of {name}"))?;
            if next.is_some_and(|next| next != version) {
                return Err(format!("{name} has etcd {version}"));
            }
            evidence.add(name, version);
        }
        Ok(evidence)
    }
}

impl Running for Changed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "every target answer with the version";
        until_shown(&self.fault, what, || self.shown()).await
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        let members: Vec<String> = self.members.iter().map(|(name, _)| name.clone()).collect();
        left(&self.cluster, &members, |seen| seen.running && !seen.paused).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::FakeDocker;

    #[tokio::test]
    async fn what_was_stopped_is_started_also_where_something_failed() {
        let fake = FakeDocker::new(|request| match request {
            "POST /containers/bare-r-1/kill" => (409, br#"{"message":"it has ended"}"#.to_vec()),
            "PUT /containers/bare-r-0/archive" => (500, br#"{"message":"no space"}"#.to_vec()),
            "GET /containers/bare-r-0/json" => (200, br#"{"State":{"Running":false}}"#.to_vec()),
            _ => (200, Vec::new()),
        });
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 2, &[]));
        let names = cluster.layout().names();
        let changed = cluster.change(&names, Some(&b"new"[..])).await;
        let error = changed.expect_err("one has ended by itself").to_string();
        assert!(error.contains("bare-r-1"), "{error}");
        let asked = fake.asked();
        let started = asked.iter().filter(|asked| asked.ends_with("/start"));
        assert_eq!(
            started.collect::<Vec<_>>(),
            ["POST /containers/bare-r-0/start"]
        );
    }
}
