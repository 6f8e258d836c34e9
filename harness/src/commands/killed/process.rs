//! A fault in a process of its own, and how that process ends.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::commands::{TargetArgs, fault};
use crate::wait::pause;

/// Seconds that a fault is to last: short, so that its healing is hit as often as its injection.
const LASTS_S: u64 = 2;
/// A harness has attached, tried what the nodes can do and names its fault.
const BEGINS: Duration = Duration::from_secs(60);
/// Spacing of looks at it: an injection takes tens of milliseconds, and kills are to hit it.
const LOOK: Duration = Duration::from_millis(5);
/// The signal of a kill.
pub(super) const SIGKILL: i32 = 9;
/// File of what a harness prints.
const OUTPUT: &str = "output";

/// How a harness ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was killed, and had begun with its fault.
    Killed,
    /// It was killed, and had not begun: no fault was on.
    Early,
    /// It was through with its fault before.
    Through,
    /// It ended in another way before: maybe no fault was ever on.
    Otherwise(ExitStatus),
}

impl End {
    /// Only who dies of SIGKILL was killed: to kill what has ended does not fail.
    pub(super) fn of(status: ExitStatus, begun: bool) -> Self {
        match status.signal() {
            Some(SIGKILL) if begun => Self::Killed,
            Some(SIGKILL) => Self::Early,
            _ if status.success() => Self::Through,
            _ => Self::Otherwise(status),
        }
    }
}

/// A fault in a process of its own.
pub(super) struct Harness {
    fault: &'static str,
    /// What it prints before it injects.
    title: String,
    child: Child,
    /// Has the file with what it prints.
    folder: tempfile::TempDir,
}

impl Harness {
    /// Starts it for an etcd cluster, given by its namespace and name; the fault ends by itself after so many seconds.
    pub(super) fn start(
        line: &'static str,
        target: &TargetArgs,
        (namespace, etcd): (&str, &str),
        dead_man: u64,
    ) -> anyhow::Result<Self> {
        let title = fault::parse(line).with_context(|| format!("{line:?} is no fault"))?;
        let folder = tempfile::tempdir().context("failed to make a folder for its output")?;
        let output = File::create(folder.path().join(OUTPUT));
        let output = output.context("failed to make a file for its output")?;
        let own = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(own);
        command
            .args(target.kubeconfig.iter().flat_map(|path| {
                let path = path.display().to_string();
                ["--kubeconfig".to_owned(), path]
            }))
            .args(
                target
                    .context
                    .iter()
                    .flat_map(|context| ["--context", context]),
            )
            // In the environment it may stand beside a context.
            .env("ETCD_HARNESS_CLUSTER", &target.name)
            .arg("fault")
            .args(line.split_whitespace())
            .args(["--namespace", namespace, "--etcd", etcd])
            .args(["--for", &LASTS_S.to_string()])
            .args(["--dead-man", &dead_man.to_string()])
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output));
        Ok(Self {
            fault: line,
            title: title.to_string(),
            child: command.spawn().context("failed to start the fault")?,
            folder,
        })
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(OUTPUT)).unwrap_or_default()
    }

    /// Lets so much time pass unless it ends before, or `enough` is true.
    async fn let_pass(
        &mut self,
        limit: Duration,
        enough: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let since = Instant::now();
        while !enough(self) {
            let ended = self.child.try_wait();
            let left = limit.saturating_sub(since.elapsed());
            if left.is_zero() || ended.context("failed to look at the harness")?.is_some() {
                break;
            }
            pause(left.min(LOOK)).await;
        }
        Ok(())
    }

    /// Kills it so long after it has begun.
    pub(super) async fn kill(mut self, after: Duration) -> anyhow::Result<Ended> {
        let begun = |harness: &Self| has_begun(&harness.output(), &harness.title);
        self.let_pass(BEGINS, begun).await?;
        let since = Instant::now();
        if begun(&self) {
            self.let_pass(after, |_| false).await?;
        }
        let after = since.elapsed();
        // SIGKILL: nothing of it can clean up.
        self.child.kill().context("failed to kill the harness")?;
        let status = self.child.wait();
        let status = status.context("failed to wait for the harness")?;
        let text = self.output();
        let said = text.lines().last().unwrap_or("nothing").trim().to_owned();
        Ok(Ended {
            fault: self.fault,
            after,
            end: End::of(status, has_begun(&text, &self.title)),
            said,
        })
    }
}

/// Whether a harness that has printed this has named its fault: what it prints next is of the injection.
pub(super) fn has_begun(text: &str, title: &str) -> bool {
    text.lines().any(|line| line == title)
}

/// A harness that is no more.
pub(super) struct Ended {
    pub(super) fault: &'static str,
    pub(super) after: Duration,
    pub(super) end: End,
    pub(super) said: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(script: &str) -> Harness {
        let folder = tempfile::tempdir().expect("a folder");
        let output = File::create(folder.path().join(OUTPUT)).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::from(output));
        Harness {
            fault: "kill-etcd leader",
            title: "kill etcd of the leader".to_owned(),
            child: command.spawn().expect("a shell"),
            folder,
        }
    }

    #[tokio::test]
    async fn the_moment_counts_from_the_line_that_names_the_fault() {
        let slow = "sleep 0.5; echo kill etcd of the leader; exec sleep 60";
        let ended = running(slow).kill(Duration::from_millis(300)).await;
        let ended = ended.expect("it is killed");
        assert_eq!(ended.end, End::Killed);
        assert_eq!(ended.said, "kill etcd of the leader");
        let through = "echo kill etcd of the leader; echo nothing is left";
        let ended = running(through).kill(Duration::from_secs(60)).await;
        let ended = ended.expect("it has ended");
        assert_eq!(
            (ended.end, ended.said.as_str()),
            (End::Through, "nothing is left")
        );
        assert!(ended.after < Duration::from_secs(30), "{:?}", ended.after);
        let failed = running("echo no cluster; exit 3")
            .kill(Duration::ZERO)
            .await;
        let failed = failed.expect("it has failed").end;
        assert!(matches!(failed, End::Otherwise(_)), "{failed:?}");
    }
}
