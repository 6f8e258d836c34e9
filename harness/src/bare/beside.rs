//! Containers beside a member: the client's program in some of the member's namespaces, root there with few rights, on
//! a file system that is read-only. It prints lines of JSON, and the last one of its log is read.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use serde::de::DeserializeOwned;

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;
use crate::bare::member::SUPERVISOR;
use crate::deploy::owner;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// What harms a member from there ends by itself after so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// Docker waits for its end for so long, in seconds.
const END_S: i32 = 10;

/// One of them, before it is made.
pub(crate) struct Beside<'a> {
    /// Name of the container.
    pub(crate) name: &'a str,
    /// Arguments of the program.
    pub(crate) order: Vec<String>,
    /// What it may do.
    pub(crate) rights: &'a [&'a str],
    /// True when it has the member's processes, as it has the member's network.
    pub(crate) processes: bool,
}

impl BareCluster {
    /// Makes and starts it.
    pub(crate) async fn run_beside(
        &self,
        member: &str,
        beside: Beside<'_>,
    ) -> Result<(), BareError> {
        let name = beside.name;
        // The client's own image: which one that is, is chosen elsewhere.
        let client = self.layout().client();
        let found = self.docker().inspect_container(&client, None).await;
        let found = found
            .map_err(|error| BareError::docker(format!("inspect container {client}"), error))?;
        let program = [SUPERVISOR.0, SUPERVISOR.1].concat();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let of_member = format!("container:{member}");
        let body = ContainerCreateBody {
            image: found.image,
            entrypoint: Some([vec![program], beside.order].concat()),
            cmd: Some(Vec::new()),
            // An ordinary user has no rights, whatever the container is given.
            user: Some("0".to_owned()),
            labels: Some(owner::labels(self.layout().run())),
            host_config: Some(HostConfig {
                pid_mode: beside.processes.then(|| of_member.clone()),
                network_mode: Some(of_member),
                cap_drop: Some(words(&["ALL"])),
                cap_add: Some(words(beside.rights)),
                readonly_rootfs: Some(true),
                security_opt: Some(words(&["no-new-privileges"])),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.docker().create_container(Some(options), body).await;
        made.map_err(|error| BareError::docker(format!("make container {name}"), error))?;
        self.start(name).await
    }

    /// Waits for its first line.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn begun_beside<T: DeserializeOwned>(&self, name: &str) -> Result<(), String> {
        let what = format!("{name} begin");
        let begun = wait_until(what, timeouts::EFFECT, async || {
            if self.said_beside::<T>(name).await.is_ok() {
                return Poll::Ready(());
            }
            match self.seen(name).await {
                Ok(seen) if seen.running => Poll::NotYet::<_, String>("no line yet".to_owned()),
                Ok(_) => Poll::Failed(self.log(name, "5").await.trim().to_owned()),
                Err(error) => Poll::NotYet(error.to_string()),
            }
        });
        begun.await.map_err(|error| error.to_string())
    }

    /// Its last line.
    ///
    /// # Errors
    /// What it says instead.
    pub(crate) async fn said_beside<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let said = self.log(name, "1").await;
        serde_json::from_str(&said).map_err(|_| said.trim().to_owned())
    }

    /// Asks it to end, and removes it; its last line, or what it says instead.
    pub(crate) async fn end_beside<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Result<T, String>, BareError> {
        let options = StopContainerOptionsBuilder::default().t(END_S).build();
        let stopped = self.docker().stop_container(name, Some(options)).await;
        let last = self.said_beside(name).await;
        // In any case.
        self.remove_beside(name).await?;
        stopped.map_err(|error| BareError::docker(format!("stop container {name}"), error))?;
        Ok(last)
    }

    /// Runs one that ends by itself; what it printed.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub(crate) async fn ask_beside<T: DeserializeOwned>(
        &self,
        member: &str,
        beside: Beside<'_>,
    ) -> Result<T, String> {
        let name = beside.name;
        let begun = self.run_beside(member, beside).await;
        let ended = match begun {
            Ok(()) => wait_until("the look end", timeouts::NODE_COMMAND, async || match self
                .seen(name)
                .await
            {
                Ok(seen) if !seen.running => Poll::Ready(()),
                Ok(_) => Poll::NotYet::<_, String>("it runs".to_owned()),
                Err(error) => Poll::NotYet(error.to_string()),
            })
            .await
            .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let said = self.said_beside(name).await;
        let removed = self.remove_beside(name).await;
        ended?;
        removed.map_err(|error| error.to_string())?;
        said
    }

    /// Removes it, whether it runs or not.
    pub(crate) async fn remove_beside(&self, name: &str) -> Result<(), BareError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        let removed = self.docker().remove_container(name, Some(options)).await;
        removed.map_err(|error| BareError::docker(format!("remove container {name}"), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};

    /// What one that has ended with this line is found to have said, and what Docker was asked last.
    async fn asked(line: &'static str) -> (Result<bool, String>, Option<String>) {
        let fake = FakeDocker::new(move |request| match request {
            "GET /containers/bare-r-client/json" => (200, br#"{"Image":"i"}"#.to_vec()),
            "POST /containers/create" => (201, br#"{"Id":"1","Warnings":[]}"#.to_vec()),
            "GET /containers/m0-look/json" => (200, br#"{"State":{"Running":false}}"#.to_vec()),
            "GET /containers/m0-look/logs" => (200, log_line(line)),
            _ => (204, Vec::new()),
        });
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
        let beside = Beside {
            name: "m0-look",
            order: vec!["look".to_owned()],
            rights: &[],
            processes: true,
        };
        let said = cluster.ask_beside("m0", beside).await;
        (said, fake.asked().pop())
    }

    #[tokio::test]
    async fn one_that_has_ended_is_removed_whatever_it_says() {
        let removed = Some("DELETE /containers/m0-look".to_owned());
        assert_eq!(asked("true\n").await, (Ok(true), removed.clone()));
        let (said, last) = asked("workload: failed to look\n").await;
        assert_eq!(said, Err("workload: failed to look".to_owned()));
        assert_eq!(last, removed);
    }
}
