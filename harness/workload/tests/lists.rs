//! `workload lists` as the harness begins it in the client's pod: again when it receives nothing, whatever became of
//! the former one.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

/// Longest wait for what takes a moment.
const SOON: Duration = Duration::from_secs(20);
/// An address without a member.
const MEMBER: &str = "127.0.0.1:1";

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Begins to ask for lists, once it has said so to the one before.
    fn lists(dir: &Path, out: impl Into<Stdio>) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_workload"))
            .arg("lists")
            .arg(format!("--member=one={MEMBER}"))
            .env("WORKLOAD_DIR", dir)
            .stdout(out)
            .spawn();
        let process = Self(child.expect("it runs"));
        let own = process.0.id().to_string();
        until("it begin", || {
            fs::read_to_string(dir.join("lists")).is_ok_and(|holder| holder == own)
        });
        process
    }

    fn has_ended(&mut self) -> bool {
        let status = self.0.try_wait().expect("asked");
        if let Some(status) = status {
            assert!(status.success(), "{status}");
        }
        status.is_some()
    }
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !look() {
        assert!(begin.elapsed() < SOON, "failed to see {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of a run.
fn history() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let config = json!({
        "seed": 7,
        "service": MEMBER,
        "members": [{"pod": "one", "address": MEMBER}],
        "dir": dir.path(),
    });
    fs::write(dir.path().join("config.json"), config.to_string()).expect("written");
    dir
}

#[test]
fn a_command_that_is_begun_again_ends_the_former_one() {
    let dir = history();
    // Its output stays open, as that of a process does whose connection has broken.
    let mut first = Process::lists(dir.path(), Stdio::piped());
    assert!(!first.has_ended());
    let mut second = Process::lists(dir.path(), Stdio::null());
    until("the first end", || first.has_ended());
    assert!(!second.has_ended());
    let mut third = Process::lists(dir.path(), Stdio::null());
    until("the second end", || second.has_ended());
    assert!(!third.has_ended());
}
