//! Subjects of commits, as `hack/subjects` checks them for new commits in CI.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::tree::root;

fn accepted(subject: &str) -> bool {
    let mut check = Command::new(root().join("hack/subjects"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("hack/subjects starts");
    let mut input = check.stdin.take().expect("stdin is a pipe");
    writeln!(input, "{subject}").expect("hack/subjects reads");
    drop(input);
    check.wait().expect("hack/subjects ends").success()
}

#[test]
fn a_subject_names_its_area_and_is_short() {
    assert!(accepted("harness: remove a circle between faults"));
    assert!(accepted("agent/fence, docs: treat a switchover as planned"));
    assert!(!accepted("Labels that looked well and were old"));
    assert!(!accepted("harness remove a circle"));
    assert!(!accepted("harness: "));
    assert!(!accepted(&format!("harness: {}", "a".repeat(64))));
    assert!(accepted(&format!("harness: {}", "a".repeat(63))));
}

/// A command that knows nothing of the repository, the settings and the hooks that this test runs under.
fn isolated(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let above = folder.parent().expect("a folder below another");
    command
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", above)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for of in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{of}_NAME"), "test");
        command.env(format!("GIT_{of}_EMAIL"), "test@example.invalid");
    }
    command
}

/// A repository with a copy of the check, and clones of it; gone with its folder.
struct Repository(tempfile::TempDir);

impl Repository {
    /// One commit before the check, and the one that adds it.
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().expect("a folder"));
        let path = repository.path("origin");
        fs::create_dir_all(path.join("hack")).expect("a folder");
        repository.git(&["init", "-q", "-b", "main"]);
        repository.commit("Before the check");
        fs::copy(root().join("hack/subjects"), path.join("hack/subjects")).expect("a copy");
        repository.git(&["add", "."]);
        repository.commit("hack: check subjects");
        repository
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().canonicalize().expect("a path");
        path.join(name)
    }

    fn git(&self, args: &[&str]) {
        let mut git = isolated(Path::new("git"), &self.path("origin"));
        let output = git.args(args).output().expect("git runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }

    fn commit(&self, subject: &str) {
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
    }

    /// What the check says of a clone with so many commits of each line, or with all.
    fn checked(&self, depth: Option<u32>) -> (bool, String) {
        let name = depth.map_or("whole".to_owned(), |depth| format!("depth-{depth}"));
        let clone = self.path(&name);
        let depth = depth.map(|depth| format!("--depth={depth}"));
        let origin = format!("file://{}", self.path("origin").display());
        let mut args = vec!["clone", "-q"];
        args.extend(depth.as_deref());
        let clone_name = clone.to_str().expect("a name");
        args.extend([&*origin, clone_name]);
        self.git(&args);
        said(&clone)
    }
}

fn said(clone: &Path) -> (bool, String) {
    let mut check = isolated(&clone.join("hack/subjects"), clone);
    let Output { status, stderr, .. } = check.output().expect("hack/subjects runs");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    (status.success(), said)
}

#[test]
fn commits_are_checked_from_the_one_that_added_the_check() {
    let repository = Repository::new();
    assert_eq!(repository.checked(None), (true, String::new()));
    repository.commit("harness: be fine");
    repository.commit("Wrong");
    repository.commit("harness: be fine again");
    let clone = repository.path("whole");
    fs::remove_dir_all(&clone).expect("removed");
    let (passed, said) = repository.checked(None);
    assert!(!passed && said.contains(": Wrong"), "{said}");
    assert!(!said.contains("Before"), "{said}");
}

#[test]
fn a_shallow_clone_has_all_its_commits_checked() {
    let repository = Repository::new();
    repository.commit("Wrong");
    repository.commit("harness: be fine");
    // What it does not have it cannot check.
    assert_eq!(repository.checked(Some(1)), (true, String::new()));
    for depth in [2, 3] {
        let (passed, said) = repository.checked(Some(depth));
        assert!(!passed && said.contains(": Wrong"), "{depth}: {said}");
        assert!(!said.contains("Before"), "{depth}: {said}");
    }
}

#[test]
fn a_shallow_clone_without_a_commit_to_check_is_no_success() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.commit("harness: be beside");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"]);
    let (passed, said) = repository.checked(Some(1));
    assert!(!passed && said.contains("unshallow"), "{said}");
    assert_eq!(repository.checked(Some(2)), (true, String::new()));
}

#[test]
fn without_a_repository_nothing_is_said_to_be_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().canonicalize().expect("a path").join("copy");
    fs::create_dir_all(copy.join("hack")).expect("a folder");
    fs::copy(root().join("hack/subjects"), copy.join("hack/subjects")).expect("a copy");
    let (passed, said) = said(&copy);
    assert!(!passed && said.contains("repository"), "{said}");
}
