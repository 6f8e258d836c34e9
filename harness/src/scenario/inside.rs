//! Commands of the recording client's program, run in its pod. What opens a guarded cluster is mounted there and
//! nowhere else.

use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, AttachParams, AttachedProcess};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::scenario::RunError;
use crate::timeouts;
use crate::wait::pause;

/// Name of the recording client's pod and of its container.
pub(super) const POD: &str = "workload";
/// The recording client's program in its image.
const PROGRAM: &str = "/workload";
/// Longest line that is read.
const LINE: u64 = 1 << 16;

/// The pod in which commands are run.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) pods: Api<Pod>,
    /// Name of the pod.
    pub(super) pod: String,
    /// Its container.
    container: &'static str,
    /// What is run there.
    program: &'static str,
}

enum Attempted {
    NotBegun(String),
    Ran(String),
}

type Out = Box<dyn AsyncRead + Send + Unpin>;

/// A command that is under way.
struct Printing {
    out: BufReader<Out>,
    _process: AttachedProcess,
}

/// The next line of a command; nothing when it has ended, or none is under way.
async fn next_line(printing: &mut Option<Printing>) -> Option<String> {
    let mut line = String::new();
    let mut out = (&mut printing.as_mut()?.out).take(LINE);
    let read = out.read_line(&mut line).await.ok()?;
    (read > 0).then_some(line)
}

impl Inside {
    pub(super) fn of(kube: &Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(kube.clone(), namespace),
            pod: POD.to_owned(),
            container: POD,
            program: PROGRAM,
        }
    }

    /// The same program in another pod, whose container is called like it.
    pub(super) fn other(pods: Api<Pod>, pod: &'static str) -> Self {
        Self {
            pods,
            pod: pod.to_owned(),
            container: pod,
            program: PROGRAM,
        }
    }

    /// etcdctl in a member's pod.
    pub(super) fn member(kube: &Client, namespace: &str, pod: &str) -> Self {
        Self {
            pods: Api::namespaced(kube.clone(), namespace),
            pod: pod.to_owned(),
            container: "etcd",
            program: "etcdctl",
        }
    }

    /// Runs a command in the pod until it has succeeded or the limit has passed: an exec that could not even begin
    /// (the node is just coming back) is tried again, one that ran and failed is not.
    pub(super) async fn exec(
        &self,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Vec<u8>, RunError> {
        let command = arguments.join(" ");
        let begin = Instant::now();
        loop {
            let left = limit
                .saturating_sub(begin.elapsed())
                .max(timeouts::POLL_CALL_MIN);
            let failed = |message: String| RunError::Client {
                command: command.clone(),
                message,
            };
            let message = match tokio::time::timeout(left, self.attempt(arguments)).await {
                Ok(Ok(text)) => return Ok(text),
                Ok(Err(Attempted::Ran(message))) => return Err(failed(message)),
                Ok(Err(Attempted::NotBegun(message))) => message,
                Err(_) => "no end in time".to_owned(),
            };
            if begin.elapsed() + timeouts::POLL_SLOW > limit {
                return Err(failed(message));
            }
            pause(timeouts::POLL).await;
        }
    }

    /// Lines that a command prints; it is begun again when it ends.
    pub(super) fn lines(self, arguments: Vec<String>) -> BoxStream<'static, String> {
        let state = (self, arguments, None);
        stream::unfold(state, |(inside, arguments, mut printing)| async move {
            loop {
                if let Some(line) = next_line(&mut printing).await {
                    return Some((line, (inside, arguments, printing)));
                }
                pause(timeouts::POLL).await;
                printing = inside.begin(&arguments).await;
            }
        })
        .boxed()
    }

    async fn begin(&self, arguments: &[String]) -> Option<Printing> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = self.start(&arguments, false).await.ok()?;
        let out: Out = Box::new(process.stdout()?);
        Some(Printing {
            out: BufReader::new(out),
            _process: process,
        })
    }

    async fn start(
        &self,
        arguments: &[&str],
        errors: bool,
    ) -> Result<AttachedProcess, kube::Error> {
        let command: Vec<&str> = std::iter::once(self.program)
            .chain(arguments.iter().copied())
            .collect();
        let params = AttachParams::default()
            .stdin(false)
            .stdout(true)
            .stderr(errors)
            .container(self.container);
        self.pods.exec(&self.pod, command, &params).await
    }

    async fn attempt(&self, arguments: &[&str]) -> Result<Vec<u8>, Attempted> {
        let mut process = self
            .start(arguments, true)
            .await
            .map_err(|error| Attempted::NotBegun(error.to_string()))?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let read_out = async {
            if let Some(mut stream) = stdout {
                let _ = stream.read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(mut stream) = stderr {
                let _ = stream.read_to_end(&mut err).await;
            }
        };
        tokio::join!(read_out, read_err);
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status.and_then(|status| status.status).as_deref() {
            Some("Success") => Ok(out),
            Some(_) => Err(Attempted::Ran(
                String::from_utf8_lossy(&err).trim().to_owned(),
            )),
            None => Err(Attempted::NotBegun("the connection broke".to_owned())),
        }
    }
}
