//! Commands of the recording client's program, run in its pod. What opens a guarded cluster is mounted there and
//! nowhere else.
//!
//! Streams of a command whose connection breaks have no end: `kube` drops what it writes them by, and a pipe of tokio
//! ends only when it is shut down. Whether the process has ended is therefore asked beside every read.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::api::{Api, AttachParams, AttachedProcess};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::Instant;

use crate::scenario::RunError;
use crate::timeouts;
use crate::wait::pause;

/// Name of the recording client's pod and of its container.
pub(super) const POD: &str = "workload";
/// The recording client's program in its image.
const PROGRAM: &str = "/workload";
/// Longest line that is read.
const LINE: u64 = 1 << 16;
/// Longest time without a line of a command that prints a few a second. A run in which no member list is read for 10 s
/// proves nothing.
const SILENT: Duration = Duration::from_secs(7);

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

/// That a process has ended, or its connection.
type Ended = Shared<BoxFuture<'static, ()>>;

/// A command that is under way.
struct Printing {
    out: BufReader<Out>,
    ended: Ended,
    _process: AttachedProcess,
}

/// The next line of a command; nothing when it has ended, or has printed none for so long.
async fn next_line<R: AsyncRead + Unpin>(
    out: &mut BufReader<R>,
    ended: Ended,
    silent: Duration,
) -> Option<String> {
    let mut line = String::new();
    let mut out = out.take(LINE);
    let read = {
        let mut reading = std::pin::pin!(out.read_line(&mut line));
        let read = async {
            tokio::select! {
                biased;
                read = &mut reading => read.ok(),
                // What was printed before the end is in the pipe by now.
                () = ended => reading.now_or_never()?.ok(),
            }
        };
        tokio::time::timeout(silent, read).await.ok()??
    };
    (read > 0).then_some(line)
}

/// Reads to the end of a process, which is its status; nothing where the connection broke.
async fn until_end(
    status: impl Future<Output = Option<Status>>,
    reading: impl Future<Output = ()>,
) -> Option<Status> {
    let (mut status, mut reading) = (std::pin::pin!(status), std::pin::pin!(reading));
    tokio::select! {
        ended = &mut status => {
            let ended = ended?;
            reading.await;
            Some(ended)
        }
        () = &mut reading => status.await,
    }
}

/// Tries until a command has ended or the limit has passed; half of it is for one attempt.
async fn attempts<F: Future<Output = Result<Vec<u8>, Attempted>>>(
    limit: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<Vec<u8>, String> {
    let begin = Instant::now();
    loop {
        let left = limit
            .saturating_sub(begin.elapsed())
            .min(limit / 2)
            .max(timeouts::POLL_CALL_MIN);
        let message = match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(Attempted::Ran(message))) => return Err(message),
            Ok(Err(Attempted::NotBegun(message))) => message,
            Err(_) => "no end in time".to_owned(),
        };
        if begin.elapsed() + timeouts::POLL_SLOW > limit {
            return Err(message);
        }
        pause(timeouts::POLL).await;
    }
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
    /// (the node is just coming back), whose connection broke, or that has not ended after half of the limit is tried
    /// again, one that ran and failed is not.
    pub(super) async fn exec(
        &self,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Vec<u8>, RunError> {
        let ran = attempts(limit, || self.attempt(arguments));
        ran.await.map_err(|message| RunError::Client {
            command: arguments.join(" "),
            message,
        })
    }

    /// Lines that a command prints a few times a second; it is begun again when it ends or is silent. The former one
    /// may still run, as a command does not end with its connection: it must end itself once it is run again, as
    /// `lists` does.
    pub(super) fn lines(self, arguments: Vec<String>) -> BoxStream<'static, String> {
        let state = (self, arguments, None::<Printing>);
        stream::unfold(state, |(inside, arguments, mut printing)| async move {
            loop {
                if let Some(of) = &mut printing
                    && let Some(line) = next_line(&mut of.out, of.ended.clone(), SILENT).await
                {
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
        let ended = process.take_status()?.map(drop).boxed().shared();
        Some(Printing {
            out: BufReader::new(out),
            ended,
            _process: process,
        })
    }

    async fn start(&self, arguments: &[&str], errors: bool) -> Result<AttachedProcess, String> {
        let command: Vec<&str> = std::iter::once(self.program)
            .chain(arguments.iter().copied())
            .collect();
        let params = AttachParams::default()
            .stdin(false)
            .stdout(true)
            .stderr(errors)
            .container(self.container);
        let begun = self.pods.exec(&self.pod, command, &params);
        match tokio::time::timeout(timeouts::API_CALL, begun).await {
            Ok(begun) => begun.map_err(|error| error.to_string()),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    async fn attempt(&self, arguments: &[&str]) -> Result<Vec<u8>, Attempted> {
        let mut process = self
            .start(arguments, true)
            .await
            .map_err(Attempted::NotBegun)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let Some(status) = process.take_status() else {
            return Err(Attempted::NotBegun("its status is not told".to_owned()));
        };
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
        let reading = async {
            tokio::join!(read_out, read_err);
        };
        let status = until_end(status, reading).await;
        match status.and_then(|status| status.status).as_deref() {
            Some("Success") => Ok(out),
            Some(_) => Err(Attempted::Ran(
                String::from_utf8_lossy(&err).trim().to_owned(),
            )),
            None => Err(Attempted::NotBegun("the connection broke".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::io::AsyncWriteExt;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(30);

    fn ended() -> Ended {
        std::future::ready(()).boxed().shared()
    }

    fn runs() -> Ended {
        std::future::pending().boxed().shared()
    }

    #[tokio::test]
    async fn a_connection_that_breaks_ends_the_lines_after_the_last_that_came() {
        let (reader, mut writer) = tokio::io::simplex(1024);
        writer.write_all(b"one\ntwo\nhal").await.expect("room");
        // As kube's message loop does on an error: without a shutdown.
        drop(writer);
        let mut out = BufReader::new(reader);
        for expected in [Some("one\n"), Some("two\n"), None] {
            let line = tokio::time::timeout(LONG, next_line(&mut out, ended(), LONG)).await;
            assert_eq!(line.expect("an end").as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn a_command_that_is_silent_is_given_up_and_one_that_prints_is_not() {
        let (reader, mut writer) = tokio::io::simplex(1024);
        let mut out = BufReader::new(reader);
        let short = Duration::from_millis(50);
        assert_eq!(next_line(&mut out, runs(), short).await, None);
        let printed = async {
            pause(short).await;
            writer.write_all(b"one\n").await
        };
        let (line, written) = tokio::join!(next_line(&mut out, runs(), LONG), printed);
        written.expect("room");
        assert_eq!(line.as_deref(), Some("one\n"));
        writer.shutdown().await.expect("an end");
        assert_eq!(
            next_line(&mut out, runs(), LONG).await,
            None,
            "it has ended"
        );
    }

    #[tokio::test]
    async fn a_process_is_read_to_its_end_and_a_broken_connection_has_none() {
        let broken = until_end(std::future::ready(None), std::future::pending());
        let broken = tokio::time::timeout(LONG, broken).await.expect("an end");
        assert!(broken.is_none());
        let (mut reader, mut writer) = tokio::io::simplex(4);
        let mut text = String::new();
        let reading = async {
            let _ = reader.read_to_string(&mut text).await;
        };
        // The status may come before the last of the output is read.
        let status = async { Some(Status::default()) };
        let printed = async {
            writer.write_all(b"longer than the pipe").await?;
            writer.shutdown().await
        };
        let (status, printed) = tokio::join!(until_end(status, reading), printed);
        printed.expect("room");
        assert!(status.is_some());
        assert_eq!(text, "longer than the pipe");
    }

    /// The clock stands still but where something waits: the machine's own delays are not in it.
    #[tokio::test(start_paused = true)]
    async fn an_exec_that_hangs_is_tried_again_within_its_limit() {
        let (begun, asked) = (Instant::now(), Cell::new(0));
        let ran = attempts(LONG, async || {
            asked.set(asked.get() + 1);
            std::future::pending().await
        });
        assert_eq!(ran.await.expect_err("it hangs"), "no end in time");
        assert_eq!(asked.get(), 2, "half of the limit each");
        assert!(begun.elapsed() < LONG + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_begin_is_tried_again_and_what_ran_is_not() {
        let asked = Cell::new(0);
        let next = |result: Result<Vec<u8>, Attempted>| {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 => Err(Attempted::NotBegun("the connection broke".to_owned())),
                _ => result,
            }
        };
        let ran = attempts(LONG, async || next(Ok(b"done".to_vec()))).await;
        assert_eq!((ran, asked.get()), (Ok(b"done".to_vec()), 2));
        asked.set(0);
        let failed = || Err(Attempted::Ran("no such key".to_owned()));
        let ran = attempts(LONG, async || next(failed())).await;
        assert_eq!((ran, asked.get()), (Err("no such key".to_owned()), 2));
    }
}
