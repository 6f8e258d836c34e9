//! Reads what the decision rests on: the volume, the run directory, the other members.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::decide::{Evidence, Identity, IdentityFile, OldLog, Trace};
use super::{ANSWERED_FILE, BEGUN_FILE, FORCED_FILE, IDENTITY_FILE};
use crate::config::Config;
use crate::etcd::{Client, Member};
use crate::wal::{Content, Reader};

/// Deadline of a linearizable list.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest time in which etcd says its version.
const VERSION: Duration = Duration::from_secs(5);

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
        old_log: None,
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

/// The log when it holds requests of the API v2 (V7). What cannot be read is left to etcd, which says what is wrong.
pub(super) async fn old_log(config: &Config, program: &str) -> Option<OldLog> {
    let data_dir = config.data_dir.clone();
    let read = move || Reader::default().read(&data_dir);
    let read = tokio::task::spawn_blocking(read).await;
    let content = match read.map_err(io::Error::other).and_then(|read| read) {
        Ok(content) => content?,
        Err(error) => {
            tracing::warn!(%error, "failed to read etcd's log: it is not known whether it holds requests of the API v2");
            return None;
        }
    };
    let Content { old_request, .. } = content;
    let request = old_request?;
    let minor = minor(program).await;
    if minor.is_none() {
        tracing::warn!(
            program,
            request,
            "the log holds requests of the API v2, and etcd does not say its version"
        );
    }
    Some(OldLog {
        content,
        request,
        minor: minor?,
    })
}

/// The minor of an etcd, as it says itself.
async fn minor(program: &str) -> Option<(u64, u64)> {
    let mut etcd = tokio::process::Command::new(program);
    etcd.arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        etcd.env_remove(name);
    }
    let told = tokio::time::timeout(VERSION, etcd.output())
        .await
        .ok()?
        .ok()?;
    of_version(&String::from_utf8_lossy(&told.stdout))
}

/// From the line `etcd Version: 3.6.16`.
fn of_version(told: &str) -> Option<(u64, u64)> {
    let mut lines = told.lines();
    let version = lines.find_map(|line| line.strip_prefix("etcd Version:"))?;
    let mut parts = version.trim().split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// True for a variable that etcd would take for a flag, beside those that were judged (V4).
pub(super) fn is_setting(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"ETCD_")
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
    fn variables_that_etcd_would_take_for_flags_do_not_reach_it() {
        for name in [
            "ETCD_FORCE_NEW_CLUSTER",
            "ETCD_UNSAFE_NO_FSYNC",
            "ETCD_NAME",
        ] {
            assert!(is_setting(OsStr::new(name)), "{name}");
        }
        for name in ["GOMAXPROCS", "PATH", "etcd_name", "MY_ETCD_NAME"] {
            assert!(!is_setting(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_minor_is_read_from_what_etcd_says() {
        let told =
            "etcd Version: 3.6.16\nGit SHA: 1\nGo Version: go1.24.1\nGo OS/Arch: linux/amd64\n";
        assert_eq!(of_version(told), Some((3, 6)));
        assert_eq!(of_version("etcd Version: 3.7.0-rc.1"), Some((3, 7)));
        for told in ["", "etcd Version: main", "Go Version: 1.24"] {
            assert_eq!(of_version(told), None, "{told}");
        }
    }

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
