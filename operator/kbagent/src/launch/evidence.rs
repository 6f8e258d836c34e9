//! Reads what the decision rests on: the volume, the run directory, the other members.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::decide::{Evidence, Identity, IdentityFile, Trace};
use super::{ANSWERED_FILE, BEGUN_FILE, FORCED_FILE, IDENTITY_FILE};
use crate::config::Config;
use crate::etcd::{Client, Member};

/// Deadline of a linearizable list.
const DEADLINE: Duration = Duration::from_secs(2);

/// True when etcd's data directory holds a write-ahead log, which is etcd's own test for "has run before". An error
/// when the directory exists but cannot be read: unknown is not absent.
fn has_wal(data_dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(data_dir.join("member").join("wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    for entry in entries {
        if Path::new(&entry?.file_name())
            .extension()
            .is_some_and(|extension| extension == "wal")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the volume and the run directory. The member list is asked for separately, when it is needed.
pub(super) fn local(config: &Config) -> io::Result<Evidence> {
    Ok(Evidence {
        wal: has_wal(&config.data_dir)?,
        identity: identity(&identity_path(config))?,
        expected: expected(config),
        trace: trace(&config.run_dir)?,
        bootstrap: config.bootstrap.is_some(),
        join_member_id: config.join_member_id,
        force: config.force.clone(),
        forced: forced(&beside(config, FORCED_FILE))?,
        own_peer_url: config.own_peer_url(),
        members: None,
    })
}

/// Whose volume this has to be.
pub(super) fn expected(config: &Config) -> Identity {
    Identity {
        cluster_uid: config.cluster_uid.clone(),
        pod_name: config.pod_name.clone(),
    }
}

/// The identity file, beside the data directory on the same volume.
pub(super) fn identity_path(config: &Config) -> std::path::PathBuf {
    beside(config, IDENTITY_FILE)
}

/// A file beside the data directory on the same volume.
pub(super) fn beside(config: &Config, file: &str) -> std::path::PathBuf {
    let parent = config.data_dir.parent();
    parent.unwrap_or(&config.data_dir).join(file)
}

fn forced(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other?)),
    }
}

fn identity(path: &Path) -> io::Result<IdentityFile> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(IdentityFile::Absent),
        Err(error) => Err(error),
        Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
            Ok(found) => IdentityFile::Present(found),
            Err(error) => IdentityFile::Unreadable(error.to_string()),
        }),
    }
}

fn trace(run_dir: &Path) -> io::Result<Trace> {
    if run_dir.join(ANSWERED_FILE).try_exists()? {
        return Ok(Trace::Answered);
    }
    let begun = run_dir.join(BEGUN_FILE).try_exists()?;
    Ok(if begun { Trace::Begun } else { Trace::None })
}

/// The first linearizable list that any other member gives; `None` when none answers (M5).
pub(super) async fn members(config: &Config) -> Option<Vec<Member>> {
    let clients = config
        .other_client_urls()
        .into_iter()
        .filter_map(|url| Client::new(&url, &config.tls).ok());
    let mut answers: FuturesUnordered<_> = clients
        .map(|client| async move { client.members(true, DEADLINE).await })
        .collect();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(list) => return Some(list.members),
            Err(error) => tracing::debug!(%error, "a peer did not return a member list"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_a_wal_file_and_nothing_less() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(!has_wal(dir.path()).expect("read"), "no directory");
        let wal = dir.path().join("member/wal");
        fs::create_dir_all(&wal).expect("mkdir");
        fs::write(wal.join("0.tmp"), "").expect("write");
        assert!(
            !has_wal(dir.path()).expect("read"),
            "etcd died before its first log was whole"
        );
        fs::write(wal.join("0000000000000000-0000000000000000.wal"), "").expect("write");
        assert!(has_wal(dir.path()).expect("read"));
    }
}
