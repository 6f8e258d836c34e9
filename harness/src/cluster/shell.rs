//! Commands in a node, through Docker's exec API: works wherever Docker runs and needs no root on the host.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures::StreamExt;

use crate::timeouts;

/// What a command in a node left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellOutput {
    /// Exit status.
    pub status: i64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ShellOutput {
    /// True for status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Standard output of a command in this node that had to end with status 0.
    ///
    /// # Errors
    /// [`ShellError::Failed`] with what it said.
    pub(crate) fn succeeded(self, node: &str, action: &str) -> Result<String, ShellError> {
        if self.success() {
            return Ok(self.stdout);
        }
        Err(ShellError::Failed {
            action: action.to_owned(),
            node: node.to_owned(),
            status: self.status,
            stderr: last_lines(&self.stderr, 5),
        })
    }
}

/// A command in a node that could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// Docker refused.
    #[error("failed to run a command in node {node:?}: {source}")]
    Exec {
        /// The node.
        node: String,
        /// Cause.
        source: bollard::errors::Error,
    },
    /// It did not end in time.
    #[error("failed to run a command in node {node:?}: no end after {seconds} s: {script}")]
    TimedOut {
        /// The node.
        node: String,
        /// Limit.
        seconds: u64,
        /// The command's first line.
        script: String,
    },
    /// It ended with another status than 0.
    #[error("failed to {action} in node {node:?}: status {status}: {stderr}")]
    Failed {
        /// What it was for.
        action: String,
        /// The node.
        node: String,
        /// Exit status.
        status: i64,
        /// What it said.
        stderr: String,
    },
}

/// Runs POSIX shell scripts in one node.
#[derive(Clone)]
pub struct NodeShell {
    docker: Docker,
    container: String,
}

impl std::fmt::Debug for NodeShell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeShell({})", self.container)
    }
}

impl NodeShell {
    /// A shell in a container.
    pub fn new(docker: Docker, container: String) -> Self {
        Self { docker, container }
    }

    /// The container.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The Docker it is in.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Runs a script to its end; any status is an answer.
    ///
    /// # Errors
    /// When Docker does not run it, or it does not end in [`timeouts::NODE_COMMAND`].
    pub async fn run(&self, script: &str) -> Result<ShellOutput, ShellError> {
        match tokio::time::timeout(timeouts::NODE_COMMAND, self.exec(script)).await {
            Ok(result) => result.map_err(|source| self.refused(source)),
            Err(_) => Err(ShellError::TimedOut {
                node: self.container.clone(),
                seconds: timeouts::NODE_COMMAND.as_secs(),
                script: script.lines().next().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Runs a script that must end with status 0 and returns its standard output.
    ///
    /// # Errors
    /// As [`Self::run`], and [`ShellError::Failed`] with what it said.
    pub async fn check(&self, action: &str, script: &str) -> Result<String, ShellError> {
        let output = self.run(script).await?;
        output.succeeded(&self.container, action)
    }

    fn refused(&self, source: bollard::errors::Error) -> ShellError {
        ShellError::Exec {
            node: self.container.clone(),
            source,
        }
    }

    async fn exec(&self, script: &str) -> Result<ShellOutput, bollard::errors::Error> {
        exec(&self.docker, &self.container, &["sh", "-c", script]).await
    }
}

/// Runs a command in a container to its end; any status is an answer.
///
/// # Errors
/// When Docker does not run it.
pub(crate) async fn exec(
    docker: &Docker,
    container: &str,
    command: &[&str],
) -> Result<ShellOutput, bollard::errors::Error> {
    exec_as(docker, (container, None), command).await
}

/// The same, as another user than the container's own.
///
/// # Errors
/// When Docker does not run it.
pub(crate) async fn exec_as(
    docker: &Docker,
    (container, user): (&str, Option<&str>),
    command: &[&str],
) -> Result<ShellOutput, bollard::errors::Error> {
    let config = ExecConfig {
        user: user.map(str::to_owned),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        ..Default::default()
    };
    let exec = docker.create_exec(container, config).await?;
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec.id, None).await?
    {
        while let Some(chunk) = output.next().await {
            match chunk? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                other => stdout.extend_from_slice(&other.into_bytes()),
            }
        }
    }
    let status = docker.inspect_exec(&exec.id).await?.exit_code.unwrap_or(-1);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(ShellOutput {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

/// Panics when the script is not valid shell.
#[cfg(test)]
pub(crate) fn assert_is_shell(script: &str) {
    let status = std::process::Command::new("sh")
        .args(["-n", "-c", script])
        .status();
    assert!(status.expect("a shell").success(), "{script}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_end_of_what_was_said() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b | c");
        assert_eq!(last_lines("", 2), "");
    }
}
