//! The containers of one run: made, asked, stopped, cut off, removed, all through Docker's API. No port is published
//! and nothing needs root on the host: members are asked by etcdctl in one of their containers.

use std::collections::{BTreeSet, HashMap};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, LogsOptionsBuilder,
    StartContainerOptions,
};
use futures::StreamExt;
use futures::future::try_join_all;

use crate::bare::BareError;
use crate::bare::health::Health;
use crate::bare::leftovers;
use crate::bare::member::{Layout, SUPERVISOR, address};
use crate::bare::status::Status;
use crate::cluster::{ShellOutput, exec_as};
use crate::deploy::owner;
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Time between two looks at members that are coming up.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);
/// Longest wait of etcdctl for one member that does not answer.
const DIAL: &str = "--dial-timeout=300ms";
const COMMAND: &str = "--command-timeout=500ms";

/// The containers of one run.
#[derive(Clone, Debug)]
pub(crate) struct BareCluster {
    docker: Docker,
    layout: Layout,
}

/// A container as Docker reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) exit_code: i64,
    pub(crate) started_at: String,
    /// The networks that it is on.
    pub(crate) networks: BTreeSet<String>,
}

/// A container before it is made.
pub(crate) struct Recipe<'a> {
    pub(crate) name: &'a str,
    /// The name that it finds itself by.
    pub(crate) hostname: &'a str,
    pub(crate) image: &'a str,
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<String>,
    /// Folders in memory, with their mount options.
    pub(crate) memory: HashMap<String, String>,
    /// Folders of the host, as `HOST:CONTAINER`.
    pub(crate) binds: Vec<String>,
}

impl BareCluster {
    /// The containers of a run, none of which is there yet.
    pub(crate) fn new(docker: Docker, layout: Layout) -> Self {
        Self { docker, layout }
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The members' names and addresses.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes the container of a member, with the program that some of them need.
    pub(crate) async fn create_member(
        &self,
        name: &str,
        image: &str,
        program: Option<&[u8]>,
    ) -> Result<(), BareError> {
        let recipe = Recipe {
            name,
            hostname: name,
            image,
            command: self.layout.command(name),
            environment: self.layout.environment(),
            memory: HashMap::new(),
            binds: Vec::new(),
        };
        self.create(recipe).await?;
        if let Some(program) = program {
            self.write_program(name, SUPERVISOR, program).await?;
        }
        if self.layout.peers().is_some() {
            self.join_peers(name).await?;
        }
        Ok(())
    }

    /// The client's program, from a container that is never started.
    pub(crate) async fn program(&self, image: &str) -> Result<Vec<u8>, BareError> {
        let (folder, name) = SUPERVISOR;
        let tools = self.layout.tools();
        let recipe = Recipe {
            name: &tools,
            hostname: &tools,
            image,
            command: vec![[folder, name].concat()],
            environment: Vec::new(),
            memory: HashMap::new(),
            binds: Vec::new(),
        };
        self.create(recipe).await?;
        self.read_file(&tools, &[folder, name].concat()).await
    }

    /// Makes and starts a container on the network.
    pub(crate) async fn make(&self, recipe: Recipe<'_>) -> Result<(), BareError> {
        let name = recipe.name;
        self.create(recipe).await?;
        self.start(name).await
    }

    /// Makes a container on the network.
    pub(crate) async fn create(&self, recipe: Recipe<'_>) -> Result<(), BareError> {
        let name = recipe.name;
        let body = ContainerCreateBody {
            networking_config: Some(self.first_place(name).await?),
            image: Some(recipe.image.to_owned()),
            hostname: Some(recipe.hostname.to_owned()),
            entrypoint: Some(recipe.command),
            cmd: Some(Vec::new()),
            env: Some(recipe.environment),
            labels: Some(owner::labels(self.layout.run())),
            host_config: Some(HostConfig {
                network_mode: Some(self.layout.network()),
                tmpfs: Some(recipe.memory),
                binds: Some(recipe.binds),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.docker.create_container(Some(options), body).await;
        made.map_err(|error| BareError::docker(format!("make container {name}"), error))?;
        Ok(())
    }

    /// Waits until all members answer and follow one leader; returns its name and the version of etcd.
    pub(crate) async fn wait_whole(
        &self,
        limit: std::time::Duration,
    ) -> Result<(String, String), BareError> {
        let names = self.layout.names();
        let what = "every member answer and follow one leader";
        let waited = wait_every(LOOK, what, limit, async || {
            let looked = self.look().await;
            let agreed = looked.and_then(|status| {
                let leader = status.agreed(&names)?.to_owned();
                Ok((leader, status.versions().join(", ")))
            });
            match agreed {
                Ok(agreed) => Poll::Ready(agreed),
                Err(status) => match self.ended().await {
                    Some(ended) => Poll::Failed(ended),
                    None => Poll::NotYet(status),
                },
            }
        });
        match waited.await {
            Ok(agreed) => Ok(agreed),
            Err(error) => Err(self.not_whole(error.to_string()).await),
        }
    }

    /// What members did not come to. Where Docker itself does not answer, nothing is known of them.
    async fn not_whole(&self, told: String) -> BareError {
        let silent = match tokio::time::timeout(timeouts::API_CALL, self.docker.ping()).await {
            Ok(Ok(_)) => return BareError::wait(told),
            Ok(Err(error)) => error,
            Err(_) => bollard::errors::Error::RequestTimeoutError,
        };
        BareError::docker(format!("reach Docker, and to see {told}"), silent)
    }

    /// What the members say, asked from the first of them that can ask.
    pub(crate) async fn look(&self) -> Result<Status, String> {
        let names = self.layout.names();
        let mut last = "there is no member".to_owned();
        for from in &names {
            match self.look_from(from, &names).await {
                Ok(status) => return Ok(status),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What these members say, asked from one of them.
    pub(crate) async fn look_from(&self, from: &str, of: &[String]) -> Result<Status, String> {
        let own = |name: &String| {
            if name == from {
                "127.0.0.1:2379".to_owned()
            } else {
                address(name)
            }
        };
        let endpoints: Vec<String> = of.iter().map(own).collect();
        let endpoints = format!("--endpoints={}", endpoints.join(","));
        let command = [
            "/usr/local/bin/etcdctl",
            &endpoints,
            DIAL,
            COMMAND,
            "endpoint",
            "status",
            "-w=json",
        ];
        let output = self
            .run(from, &command)
            .await
            .map_err(|error| error.to_string())?;
        // Its status says that one did not answer; those that did are printed anyway.
        if output.stdout.trim().is_empty() {
            let said = output.stderr.lines().last().unwrap_or_default();
            return Err(format!(
                "etcdctl in {from} ended with {}: {said}",
                output.status
            ));
        }
        Status::parse(&output.stdout.replace("127.0.0.1:2379", &address(from)))
    }

    /// Asks one member for a read that needs the others.
    pub(crate) async fn health(
        &self,
        member: &str,
        limit: std::time::Duration,
    ) -> Result<Health, String> {
        self.health_from(member, member, limit).await
    }

    /// The same, asked in the container of another.
    pub(crate) async fn health_from(
        &self,
        from: &str,
        member: &str,
        limit: std::time::Duration,
    ) -> Result<Health, String> {
        let limit = format!("--command-timeout={}ms", limit.as_millis());
        let endpoint = if from == member {
            "--endpoints=127.0.0.1:2379".to_owned()
        } else {
            format!("--endpoints={}", address(member))
        };
        let etcdctl = ["/usr/local/bin/etcdctl", &endpoint, &limit];
        let command = [&etcdctl[..], &["endpoint", "health", "-w=json"]].concat();
        let output = self.run(from, &command).await;
        let output = output.map_err(|error| error.to_string())?;
        Health::parse(&output.stdout).map_err(|error| format!("{member}: {error}"))
    }

    /// Runs a command in a container.
    pub(crate) async fn run(
        &self,
        container: &str,
        command: &[&str],
    ) -> Result<ShellOutput, BareError> {
        self.run_as((container, None), command).await
    }

    /// Runs a command in a container as another user than its own.
    pub(crate) async fn run_as(
        &self,
        (container, user): (&str, Option<&str>),
        command: &[&str],
    ) -> Result<ShellOutput, BareError> {
        let failed = |message: String| BareError::Command {
            command: command.join(" "),
            container: container.to_owned(),
            message,
        };
        let ran = exec_as(&self.docker, (container, user), command);
        match tokio::time::timeout(timeouts::NODE_COMMAND, ran).await {
            Ok(ran) => ran.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!(
                "no end after {} s",
                timeouts::NODE_COMMAND.as_secs()
            ))),
        }
    }

    /// A container as Docker reports it.
    pub(crate) async fn seen(&self, name: &str) -> Result<Seen, BareError> {
        let found = self.docker.inspect_container(name, None).await;
        let found =
            found.map_err(|error| BareError::docker(format!("inspect container {name}"), error))?;
        let state = found.state.unwrap_or_default();
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        Ok(Seen {
            running: state.running.unwrap_or_default(),
            paused: state.paused.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            started_at: state.started_at.unwrap_or_default(),
            networks: networks.unwrap_or_default().into_keys().collect(),
        })
    }

    /// Docker's ID of a container.
    pub(crate) async fn id(&self, name: &str) -> Result<String, BareError> {
        let found = self.docker.inspect_container(name, None).await;
        let found =
            found.map_err(|error| BareError::docker(format!("inspect container {name}"), error))?;
        Ok(found.id.unwrap_or_default())
    }

    /// Starts a container.
    pub(crate) async fn start(&self, name: &str) -> Result<(), BareError> {
        let started = self
            .docker
            .start_container(name, None::<StartContainerOptions>)
            .await;
        started.map_err(|error| BareError::docker(format!("start container {name}"), error))
    }

    /// SIGKILL to these members at once.
    pub(crate) async fn kill(&self, names: &[String]) -> Result<(), BareError> {
        let kill = async |name: &String| {
            let options = KillContainerOptionsBuilder::default()
                .signal("SIGKILL")
                .build();
            let killed = self.docker.kill_container(name, Some(options)).await;
            killed.map_err(|error| BareError::docker(format!("kill container {name}"), error))
        };
        try_join_all(names.iter().map(kill)).await.map(drop)
    }

    /// Freezes all processes of a container.
    pub(crate) async fn pause(&self, name: &str) -> Result<(), BareError> {
        let paused = self.docker.pause_container(name).await;
        paused.map_err(|error| BareError::docker(format!("pause container {name}"), error))
    }

    /// Resumes them.
    pub(crate) async fn unpause(&self, name: &str) -> Result<(), BareError> {
        let resumed = self.docker.unpause_container(name).await;
        resumed.map_err(|error| BareError::docker(format!("unpause container {name}"), error))
    }

    /// The end of a container's log, so many lines or `all`; what cannot be read is left out.
    pub(crate) async fn log(&self, name: &str, lines: &str) -> String {
        self.logged(name, lines).await.0
    }

    /// The whole log of a container, for what counts in it.
    pub(crate) async fn whole_log(&self, name: &str) -> Result<String, BareError> {
        match self.logged(name, "all").await {
            (text, None) => Ok(text),
            (_, Some(error)) => {
                let action = format!("read the log of container {name}");
                Err(BareError::docker(action, error))
            }
        }
    }

    /// What could be read, and why no more.
    async fn logged(&self, name: &str, lines: &str) -> (String, Option<bollard::errors::Error>) {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(lines)
            .build();
        let mut chunks = self.docker.logs(name, Some(options));
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => text.push_str(&String::from_utf8_lossy(&chunk.into_bytes())),
                Err(error) => return (text, Some(error)),
            }
        }
        (text, None)
    }

    /// Removes everything of the run.
    pub(crate) async fn remove(&self) -> Result<(), BareError> {
        leftovers::remove(&self.docker, self.layout.run()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::fake_docker::FakeDocker;
    use crate::scenario::blame::{Blame, Blamed as _};

    #[tokio::test]
    async fn members_are_not_blamed_where_docker_does_not_answer() {
        for (status, blame) in [(200, Blame::Product), (500, Blame::Harness)] {
            let fake = FakeDocker::new(move |request| match request {
                "GET /_ping" => (status, b"OK".to_vec()),
                _ => (500, br#"{"message":"no answer"}"#.to_vec()),
            });
            let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
            let waited = cluster.wait_whole(Duration::ZERO).await;
            let error = waited.expect_err("there is no member");
            assert_eq!(error.blame(), blame, "{error}");
        }
    }
}
