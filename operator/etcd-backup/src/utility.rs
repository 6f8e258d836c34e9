//! Runs etcd's own programs: etcdutl, and a throw-away etcd on loopback.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::member::Member;
use crate::private::certify;

/// Most that is kept of what a program prints, in bytes.
const OUTPUT: usize = 64 * 1024;
/// Most of it that an error shows, in characters: the end.
const SHOWN: usize = 600;
/// How long a throw-away etcd may take to load its data.
const START: Duration = Duration::from_secs(180);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(100);
/// Entries of its log that a throw-away etcd keeps in memory for followers, which it has none of.
const ENTRIES: &str = "100";
/// Added to the revision of restored data (D1): above all that the old cluster can ever have served.
pub const BUMP: u64 = 1_000_000_000;

/// etcd's programs, of the version of the cluster (D2).
#[derive(Clone, Debug)]
pub struct Programs {
    /// etcd.
    pub etcd: PathBuf,
    /// etcdutl.
    pub etcdutl: PathBuf,
}

/// Revision of a member into which no key was ever written.
const FIRST: i64 = 1;

/// What `etcdutl snapshot status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Hash of the database.
    pub hash: u32,
    /// Revision.
    pub revision: i64,
    /// Keys in all revisions.
    pub total_key: u64,
}

/// The member that restored data is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its name.
    pub name: String,
    /// Its peer URL.
    pub peer_url: String,
    /// Token of the new cluster: other members of the same URLs do not belong to it.
    pub token: String,
    /// True when the revision is raised and all before it is compacted (D1).
    pub bump: bool,
}

impl Programs {
    /// What etcdutl reads in a snapshot.
    ///
    /// # Errors
    /// When it cannot read it.
    pub async fn status(&self, snapshot: &Path) -> Result<FileStatus, Error> {
        let mut command = Command::new(&self.etcdutl);
        command
            .args(["snapshot", "status", "--write-out", "json"])
            .arg(snapshot);
        let output = run("etcdutl snapshot status", command).await?;
        let status: FileStatus = serde_json::from_str(&output).map_err(|error| Error::Program {
            program: "etcdutl snapshot status".to_owned(),
            output: format!("its answer cannot be read ({error}): {}", tail(&output)),
        })?;
        // It reads the last key's; a member into which no key was ever written is at 1.
        Ok(FileStatus {
            revision: status.revision.max(FIRST),
            ..status
        })
    }

    /// Makes a data directory of a snapshot, as the only member of a new cluster.
    ///
    /// # Errors
    /// When etcdutl refuses, for one because the hash at the snapshot's end is wrong.
    pub async fn restore(
        &self,
        snapshot: &Path,
        data: &Path,
        member: &NewMember,
    ) -> Result<(), Error> {
        let NewMember {
            name,
            peer_url,
            token,
            bump,
        } = member;
        let mut command = Command::new(&self.etcdutl);
        command.args(["snapshot", "restore"]).arg(snapshot);
        command.arg("--data-dir").arg(data);
        command.args([
            format!("--name={name}"),
            format!("--initial-cluster={name}={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster-token={token}"),
        ]);
        if *bump {
            command.arg(format!("--bump-revision={BUMP}"));
            command.arg("--mark-compacted");
        }
        run("etcdutl snapshot restore", command).await.map(|_| ())
    }

    /// The variable that says how many entries are kept. What etcd cannot be started by is told when it is started.
    async fn entries(&self) -> &'static str {
        let mut command = Command::new(&self.etcd);
        command.arg("--version");
        let told = run("etcd --version", command).await;
        entries(&told.unwrap_or_default())
    }

    /// Starts an etcd on restored data, on loopback only, and waits until it leads itself. Its only client is `root`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&self, data: &Path, name: &str, ports: Ports) -> Result<Server, Error> {
        self.start_with(data, name, ports, &[]).await
    }

    /// As `start`, with more arguments.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_with(
        &self,
        data: &Path,
        name: &str,
        ports: Ports,
        more: &[&str],
    ) -> Result<Server, Error> {
        let client = format!("https://127.0.0.1:{}", ports.client);
        // Beside etcd's own folder in its data directory, which takes it for nothing of its own: it is deleted with it.
        let certificates = data.join("private-certificates");
        certify(&certificates)?;
        let file = |name: &str| certificates.join(name).display().to_string();
        let peer = format!("http://127.0.0.1:{}", ports.peer);
        let mut command = Command::new(&self.etcd);
        command.arg("--data-dir").arg(data).args([
            format!("--name={name}"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--trusted-ca-file={}", file("ca.crt")),
            format!("--cert-file={}", file("tls.crt")),
            format!("--key-file={}", file("tls.key")),
            "--client-cert-auth".to_owned(),
            "--log-level=error".to_owned(),
        ]);
        command.args(more);
        command
            .env_clear()
            .env(self.entries().await, ENTRIES)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| spawn("etcd", &error))?;
        let mut server = Server {
            child,
            client,
            certificates,
        };
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(Error::Program {
                    program: "the throw-away etcd".to_owned(),
                    output: format!("it ended with {status} on the restored data"),
                });
            }
            if let Ok(member) = server.member().await
                && member.status().await.is_ok_and(|status| status.led)
            {
                return Ok(server);
            }
            if began.elapsed() > START {
                return Err(Error::Program {
                    program: "the throw-away etcd".to_owned(),
                    output: format!(
                        "it does not serve the restored data within {} s",
                        START.as_secs()
                    ),
                });
            }
            sleep(ASK).await;
        }
    }
}

/// Pure: 3.6 does not start with both, 3.7 does not know the first. Before 3.5.14 it is not known, and a warning.
fn entries(version: &str) -> &'static str {
    if version.contains("Version: 3.5.") {
        "ETCD_EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES"
    } else {
        "ETCD_SNAPSHOT_CATCHUP_ENTRIES"
    }
}

/// Where a throw-away etcd listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For peers, which there are none of.
    pub peer: u16,
}

/// A throw-away etcd; it is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    client: String,
    certificates: PathBuf,
}

impl Server {
    /// Its client URL.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client
    }

    /// Folder with the certificates that it wants of a client: `root`'s.
    #[must_use]
    pub fn certificates(&self) -> &Path {
        &self.certificates
    }

    /// It, asked by `root`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn member(&self) -> Result<Member, Error> {
        Member::connect_by(&self.client, Some(&self.certificates)).await
    }

    /// Ends it.
    pub async fn stop(mut self) {
        // It may have ended already.
        let _ended = self.child.kill().await;
    }
}

/// Runs a program to its end; what it printed on stdout.
async fn run(program: &str, mut command: Command) -> Result<String, Error> {
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| spawn(program, &error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(collect(stdout), collect(stderr), child.wait());
    match status {
        Ok(status) if status.success() => Ok(stdout),
        Ok(status) => Err(Error::Program {
            program: program.to_owned(),
            output: format!("{status}: {}", tail(&stderr)),
        }),
        Err(error) => Err(spawn(program, &error)),
    }
}

/// The beginning of a stream; all of it is read, so that its writer does not wait.
async fn collect(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let (mut kept, mut piece) = (Vec::new(), vec![0_u8; 8192]);
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        let free = OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(free)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skip).collect()
}

fn spawn(program: &str, error: &std::io::Error) -> Error {
    Error::Program {
        program: program.to_owned(),
        output: format!(
            "it cannot be started ({error}): the image of etcd must have etcd and etcdutl"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minor_is_told_by_the_name_that_it_knows() {
        for (version, experimental) in [
            ("etcd Version: 3.5.21\nGit SHA: 1\n", true),
            ("etcd Version: 3.6.16\n", false),
            ("etcd Version: 3.7.0\n", false),
        ] {
            assert_eq!(entries(version).contains("EXPERIMENTAL"), experimental);
        }
    }
}
