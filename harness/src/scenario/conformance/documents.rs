//! The commands of the documents, as they stand there: every block that is marked as shell to be run (`sh run`) is run
//! by bash in the repository, in the run's namespace, and must succeed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::checklist::Checklist;
use super::outcome::{found, not_there};
use crate::cluster::{Repository, state_dir};
use crate::scenario::Lab;
use crate::scenario::outcome::Found;
use crate::scenario::subject::Subject;

/// What marks a block.
const MARK: &str = "```sh run";
/// Time for one block.
const BLOCK: Duration = Duration::from_secs(300);

/// A block of a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Document and line of its mark.
    place: String,
    commands: String,
}

pub(crate) async fn documents(lab: &Lab, subject: &Subject) -> Found {
    let repository = match Repository::find() {
        Ok(repository) => repository,
        Err(error) => return not_there("documents", &error.to_string()),
    };
    let mut blocks = Vec::new();
    for name in ["README.md", "docs/tasks.md", "docs/troubleshooting.md"] {
        match repository.read(name) {
            Ok(text) => blocks.extend(marked(name, &text)),
            Err(error) => return not_there("documents", &error.to_string()),
        }
    }
    let mut list = Checklist::new("documents", lab.live.clone());
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return not_there("documents", &error.to_string()),
    };
    let shell = Shell {
        root: repository.path("."),
        kubeconfig: folder.path().join("kubeconfig"),
    };
    let ready = shell.point_at(&lab.cluster.context, &subject.namespace);
    if list
        .came_about("kubectl reaches the cluster", ready.await)
        .is_none()
    {
        return found(list);
    }
    for block in blocks {
        lab.live.say(format!("  {}", block.place));
        let ended = shell.run(&block.commands).await;
        if list.came_about(block.place, ended).is_none() {
            // Later blocks rest on earlier ones.
            break;
        }
    }
    found(list)
}

/// The marked blocks of a document.
fn marked(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == MARK {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside: Vec<&str> = inside.take_while(|line| *line != "```").collect();
            blocks.push(Block {
                place: format!("{name}:{}", at + 1),
                commands: inside.join("\n"),
            });
        }
    }
    blocks
}

/// Where commands are run.
struct Shell {
    root: PathBuf,
    kubeconfig: PathBuf,
}

impl Shell {
    /// Writes a kubeconfig for the commands, so that they need no flags and the user's own is not changed.
    async fn point_at(&self, context: &str, namespace: &str) -> Result<(), String> {
        let mut view = Command::new("kubectl");
        view.env("PATH", path());
        view.args(["config", "view", "--raw", "--minify", "--flatten"]);
        view.args(["--context", context]);
        let text = output(view).await?;
        write_private(&self.kubeconfig, &text).map_err(|error| error.to_string())?;
        let mut set = Command::new("kubectl");
        set.env("PATH", path());
        set.args(["config", "set-context", context, "--namespace", namespace]);
        set.env("KUBECONFIG", &self.kubeconfig);
        output(set).await.map(drop)
    }

    async fn run(&self, commands: &str) -> Result<(), String> {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", commands]);
        bash.current_dir(&self.root)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", path());
        output(bash).await.map(drop)
    }
}

/// The machine's programs, then those that `make up` has put beside the harness's.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(state_dir().join("bin"));
    path
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

async fn output(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(BLOCK, command.output())
        .await
        .map_err(|_| format!("it has not ended after {} s", BLOCK.as_secs()))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!("{}: {}", output.status, last.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_run() {
        let text =
            "a\n```sh\nno\n```\n```sh run\none\ntwo\n```\nb\n```yaml\n```\n```sh run\nthree\n```\n";
        let block = |place: &str, commands: &str| Block {
            place: place.to_owned(),
            commands: commands.to_owned(),
        };
        assert_eq!(
            marked("x.md", text),
            [block("x.md:5", "one\ntwo"), block("x.md:12", "three")]
        );
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let shell = Shell {
            root: folder.path().to_owned(),
            kubeconfig: folder.path().join("kubeconfig"),
        };
        assert_eq!(shell.run("true | cat").await, Ok(()));
        let error = shell.run("echo first >&2; false | cat; echo never").await;
        let error = error.expect_err("it fails");
        assert!(error.contains("first"), "{error}");
    }
}
