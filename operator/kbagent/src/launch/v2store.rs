//! Has etcd's own tool check whether clients have left anything in the store of API v2, which servers of 3.6 do not
//! start with (V6). In a process of its own beside etcd, in the container whose image has the tool.
//!
//! The tool wants a directory that etcd does not use: it may rename or delete what it takes for broken. So it is given
//! links to the files of log and snapshots. It holds the log in memory, of which it gets no more than etcd leaves free.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use kbagent_protocol::V2Store;
use rustix::process::{Resource, Rlimit, Signal};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::V2STORE_FILE;
use super::evidence::beside;
use super::run::{publish, retract};
use crate::config::Config;

/// The links, beside the data directory on the same volume.
const FOLDER: &str = ".v2store";
/// etcd begins first, and has its share of the machine.
const FIRST: Duration = Duration::from_secs(5);
/// Pause after a check that found something or nothing: a client can write there while a member has `--enable-v2`.
const AGAIN: Duration = Duration::from_secs(3600);
/// Pauses after a check that failed: the first ones may have come before etcd had written what the tool reads, and an
/// upgrade may wait for the answer.
const FAILED: Duration = Duration::from_secs(5);
const FAILED_MOST: Duration = Duration::from_secs(60);
/// Longest time of one check.
const LONGEST: Duration = Duration::from_secs(120);
/// Longest text that is kept, in characters.
const TEXT: usize = 300;
/// Least memory that the tool begins with, and most that it is given, in bytes.
const LEAST: u64 = 128 << 20;
const MOST: u64 = 2 << 30;
/// What the tool says with success when it has looked at the log, too; the first releases that had it did not.
const BOTH: &str = "WAL";
/// The only minor whose tool has the check, as the tool names it.
const API: &str = "API version: 3.5";

/// Checks again and again, and leaves what was found for the agent; `open` says that clients can write there. Ends at
/// once where etcd is of another minor.
///
/// # Errors
/// When the process cannot be bound to its parent, or what was found cannot be written.
pub async fn check_v2(config: &Config, tool: &Path, open: bool) -> io::Result<()> {
    // The launcher is the parent: without it there is no etcd.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It matters little, and shares etcd's processors.
    let _same = rustix::process::nice(10);
    sleep(FIRST).await;
    checks(config, tool, open).await
}

async fn checks(config: &Config, tool: &Path, open: bool) -> io::Result<()> {
    // Links of a check that was killed with its pod keep all that etcd has deleted since. This one may not get as far.
    let folder = beside(config, FOLDER);
    if let Err(error) = clear(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "links of an earlier check are not deleted");
    }
    let told = config.run_dir.join(V2STORE_FILE);
    let mut failures = 0;
    loop {
        let found = match run(tool, &["version"]).await {
            Ok(output) if !text(&output.stdout).contains(API) => return retract(&told),
            Ok(_) => lasting(check(config, tool).await, open),
            Err(error) => unknown(format!("{} cannot be run: {error}", tool.display())),
        };
        tracing::info!(?found, "checked the store of API v2");
        publish(&told, &found)?;
        failures = if found.clean.is_some() {
            0
        } else {
            failures + 1
        };
        sleep(pause(failures)).await;
    }
}

/// Pure: when to check again after so many checks in a row that failed.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => AGAIN,
        Some(more) => FAILED_MOST.min(FAILED * 2_u32.saturating_pow(more.min(8))),
    }
}

/// Pure: what a check is worth later.
fn lasting(found: V2Store, open: bool) -> V2Store {
    match found.clean {
        Some(true) if open => unknown(
            "with --enable-v2 clients can write there at any time: take the flag out of the ComponentDefinition first"
                .to_owned(),
        ),
        _ => found,
    }
}

/// One check.
async fn check(config: &Config, tool: &Path) -> V2Store {
    let folder = beside(config, FOLDER);
    let checked = match clear(&folder).and_then(|()| link(&config.data_dir, &folder)) {
        Ok(()) => within_memory(tool, &folder).await,
        Err(error) => unknown(format!("its log cannot be linked to: {error}")),
    };
    match clear(&folder) {
        Ok(()) => checked,
        Err(error) => unknown(format!("{} cannot be deleted: {error}", folder.display())),
    }
}

async fn within_memory(tool: &Path, folder: &Path) -> V2Store {
    let memory = spare().map_or(MOST, |spare| (spare / 2).min(MOST));
    if memory < LEAST {
        return unknown(format!(
            "{} MiB of memory are free beside etcd, the check begins with {}: raise the memory limit",
            memory >> 20,
            LEAST >> 20
        ));
    }
    let before = rustix::process::getrlimit(Resource::Data);
    let bound = |current| {
        let limit = Rlimit { current, ..before };
        rustix::process::setrlimit(Resource::Data, limit)
    };
    let current = before.current.map_or(memory, |before| before.min(memory));
    if let Err(error) = bound(Some(current)) {
        return unknown(format!("its memory cannot be bounded: {error}"));
    }
    let directory = format!("--data-dir={}", folder.display());
    let output = run(tool, &["check", "v2store", &directory]).await;
    let _freed = bound(before.current);
    match output {
        Ok(output) => judge(&output, memory),
        Err(error) => unknown(format!("{} cannot be run: {error}", tool.display())),
    }
}

async fn run(tool: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .env_clear()
        // A limit of processor time is etcd's, too.
        .env("GOMAXPROCS", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not end");
    timeout(LONGEST, command.output())
        .await
        .map_err(|_| late())?
}

/// Pure: what the tool's end means.
fn judge(output: &Output, memory: u64) -> V2Store {
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        if said.contains(BOTH) {
            return V2Store {
                clean: Some(true),
                message: None,
            };
        }
        return unknown(
            "its etcdutl checks the snapshot and not the log: go to the newest release of 3.5 first".to_owned(),
        );
    }
    let word = complained
        .lines()
        .find_map(|line| line.strip_prefix("Error: "));
    match word {
        Some(word) if word.contains("custom") => V2Store {
            clean: Some(false),
            message: Some(word.chars().take(TEXT).collect()),
        },
        _ if complained.contains("out of memory") => unknown(format!(
            "the check needs more than the {} MiB that are free beside etcd: raise the memory limit",
            memory >> 20
        )),
        word => unknown(format!(
            "the check failed: {}",
            word.unwrap_or(&complained).trim()
        )),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unknown(why: String) -> V2Store {
    V2Store {
        clean: None,
        message: Some(why.chars().take(TEXT).collect()),
    }
}

/// Links to the snapshots, then to the log: what a snapshot says of the log is then there.
fn link(data: &Path, folder: &Path) -> io::Result<()> {
    for (part, kind) in [("snap", "snap"), ("wal", "wal")] {
        let (from, to) = (
            data.join("member").join(part),
            folder.join("member").join(part),
        );
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let name = entry?.file_name();
            if Path::new(&name).extension().is_some_and(|is| is == kind) {
                match fs::hard_link(from.join(&name), to.join(&name)) {
                    // etcd deletes what is too old.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
    }
    Ok(())
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Bytes of memory that the container may yet use, of either version of control groups; `None` without a limit.
fn spare() -> Option<u64> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let second = || {
        left(
            &read("memory.max")?,
            &read("memory.current")?,
            &read("memory.stat")?,
        )
    };
    let first = || {
        left(
            &read("memory/memory.limit_in_bytes")?,
            &read("memory/memory.usage_in_bytes")?,
            &read("memory/memory.stat")?,
        )
    };
    second().or_else(first)
}

/// Pure: the limit less what is in use and cannot be dropped.
fn left(limit: &str, used: &str, statistics: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let of = |name: &str| {
        let mut lines = statistics.lines().filter_map(|line| line.split_once(' '));
        number(lines.find(|(key, _)| *key == name)?.1)
    };
    let dropped = of("total_inactive_file").or_else(|| of("inactive_file"));
    let held = number(used)?.saturating_sub(dropped.unwrap_or_default());
    Some(number(limit)?.saturating_sub(held))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn ended(code: i32, said: &str, complained: &str) -> V2Store {
        let output = Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: said.as_bytes().to_vec(),
            stderr: complained.as_bytes().to_vec(),
        };
        judge(&output, LEAST)
    }

    #[test]
    fn only_a_whole_check_without_a_find_is_clean_and_what_failed_says_why() {
        let both = "No custom content found in both v2store and WAL records.\n";
        assert_eq!(ended(0, both, "").clean, Some(true));
        let snapshot = ended(0, "No custom content found in v2store.\n", "");
        assert!(snapshot.clean.is_none() && snapshot.message.expect("why").contains("newest"));
        let found = ended(1, "", "Error: detected custom v2 content in WAL records\n");
        assert_eq!(
            (found.clean, found.message.as_deref()),
            (
                Some(false),
                Some("detected custom v2 content in WAL records")
            )
        );
        for (complaint, told) in [
            ("fatal error: out of memory allocating heap", "128 MiB"),
            (
                "{\"level\":\"warn\"}\nError: failed to open WAL: x\n",
                "failed to open WAL",
            ),
            ("", "the check failed"),
        ] {
            let failed = ended(1, both, complaint);
            assert_eq!(failed.clean, None, "{complaint}");
            let why = failed.message.expect("why");
            assert!(why.contains(told), "{why}");
        }
    }

    #[test]
    fn what_clients_can_still_write_is_not_known_and_what_was_found_stays() {
        let clean = |clean| V2Store {
            clean,
            message: None,
        };
        assert_eq!(lasting(clean(Some(true)), false).clean, Some(true));
        assert_eq!(lasting(clean(Some(false)), true).clean, Some(false));
        let open = lasting(clean(Some(true)), true);
        assert!(open.clean.is_none() && open.message.expect("why").contains("--enable-v2"));
    }

    #[test]
    fn a_check_that_fails_is_soon_tried_again_and_not_often() {
        let seconds = |failures| pause(failures).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 99].map(seconds), [5, 10, 20, 40, 60, 60]);
        assert_eq!(pause(0), AGAIN);
    }

    #[test]
    fn what_can_be_dropped_is_free_and_no_limit_is_none() {
        let first = "cache 5\ninactive_file 1\ntotal_inactive_file 200\n";
        let second = "anon 5\ninactive_file 200\n";
        for statistics in [first, second] {
            assert_eq!(left("1000\n", "700\n", statistics), Some(500));
        }
        assert_eq!(left("max\n", "700\n", second), None);
        assert_eq!(left("600", "900", ""), Some(0));
    }

    #[tokio::test]
    async fn links_of_a_check_that_was_killed_are_gone_where_the_next_minor_has_none() {
        let volume = tempfile::tempdir().expect("a directory");
        let root = volume.path().to_owned();
        let config = Config::from_lookup(&|name| {
            let value = match name {
                "POD_NAME" => "p1".to_owned(),
                "POD_UID" | "KB_CLUSTER_UID" => "u".to_owned(),
                "KB_HEADLESS_DOMAIN" => "h".to_owned(),
                "KB_DATA_DIR" => root.join("etcd").display().to_string(),
                "KB_RUN_DIR" => root.display().to_string(),
                _ => return None,
            };
            Some(value)
        });
        let config = config.expect("config");
        let left = root.join(FOLDER).join("member/wal");
        fs::create_dir_all(&left).expect("mkdir");
        fs::write(left.join("a.wal"), "of before").expect("write");
        fs::write(root.join(V2STORE_FILE), "{}").expect("write");
        let tool = root.join("etcdutl");
        let script = "#!/bin/sh\n[ \"$1\" = version ] && echo 'API version: 3.6'\n";
        fs::write(&tool, script).expect("write");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("chmod");
        checks(&config, &tool, false).await.expect("it ends");
        assert!(!root.join(FOLDER).exists());
        assert!(!root.join(V2STORE_FILE).exists(), "it says nothing");
    }

    #[test]
    fn links_are_of_snapshots_and_log_and_of_nothing_that_etcd_writes_elsewhere() {
        let volume = tempfile::tempdir().expect("a directory");
        let (data, links) = (volume.path().join("etcd"), volume.path().join(FOLDER));
        for file in [
            "snap/db",
            "snap/a.snap",
            "snap/tmp1",
            "wal/a.wal",
            "wal/0.tmp",
        ] {
            let path = data.join("member").join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
            fs::write(path, file).expect("write");
        }
        link(&data, &links).expect("linked");
        let there = |part: &str| {
            fs::read_dir(links.join("member").join(part))
                .expect("read")
                .count()
        };
        assert_eq!((there("snap"), there("wal")), (1, 1));
        clear(&links).expect("cleared");
        clear(&links).expect("nothing to clear");
        assert!(data.join("member/wal/a.wal").exists());
    }
}
