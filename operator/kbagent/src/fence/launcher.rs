//! Speaks to the launcher, etcd's parent in the other container, through a socket in the volume that both share.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::launch::{ANSWER_BYTES, Demand, LAUNCHER_SOCKET, YES};

/// Longest wait for an answer: the launcher has nothing else to do.
const DEADLINE: Duration = Duration::from_secs(1);

/// Why the launcher did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// It cannot be reached.
    #[error("failed to reach the launcher at {path}: {why}")]
    Unreachable {
        /// The socket.
        path: String,
        /// What happened.
        why: String,
    },
    /// It said no.
    #[error("the launcher does not do it: {0}")]
    Refused(String),
}

/// The launcher of this pod.
#[derive(Clone, Debug)]
pub struct Launcher {
    socket: PathBuf,
}

impl Launcher {
    /// By the directory that both containers share.
    pub fn new(run_dir: &std::path::Path) -> Self {
        Self {
            socket: run_dir.join(LAUNCHER_SOCKET),
        }
    }

    /// Demands something.
    ///
    /// # Errors
    /// When the launcher cannot be reached or refuses.
    pub async fn demand(&self, demand: Demand) -> Result<(), LauncherError> {
        let answer = match timeout(DEADLINE, self.exchange(demand)).await {
            Err(_) => Err("it does not answer".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(answer)) => Ok(answer),
        };
        match answer {
            Ok(answer) if answer.trim() == YES => Ok(()),
            Ok(answer) => Err(LauncherError::Refused(answer.trim().to_owned())),
            Err(why) => Err(LauncherError::Unreachable {
                path: self.socket.display().to_string(),
                why,
            }),
        }
    }

    async fn exchange(&self, demand: Demand) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(format!("{demand}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream
            .take(ANSWER_BYTES)
            .read_to_string(&mut answer)
            .await?;
        Ok(answer)
    }
}
