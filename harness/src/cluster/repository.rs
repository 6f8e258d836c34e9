//! The repository on disk: where the scripts below `images/`, the manifests below `deploy/` and `kind-config.yaml` are,
//! and the running of those scripts. What they do is theirs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::timeouts;

/// The repository is not there, or one of its scripts failed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Not found.
    #[error(
        "failed to find the repository, a clone with kind-config.yaml and images/: images, manifests and tools come from there, \
         also for a harness that was installed; run it inside a clone, or name one in ETCD_HARNESS_ROOT"
    )]
    Find,
    /// Something else is named.
    #[error(
        "failed to use ETCD_HARNESS_ROOT {0:?}: it is no clone of the repository, for it has no kind-config.yaml and images/; \
         name one, or leave the variable out and run inside one"
    )]
    Named(PathBuf),
    /// A file in it cannot be read.
    #[error("failed to read {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A script cannot be started.
    #[error("failed to start {script:?}: {source}")]
    Start {
        /// The script.
        script: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A script ended badly; it has said why on stderr.
    #[error("failed to run {script:?}: {status}; what it said is above")]
    Script {
        /// The script.
        script: PathBuf,
        /// Its status.
        status: String,
    },
}

/// The folder that holds everything that is not compiled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    root: PathBuf,
}

/// Of a harness that was installed: the folder that it was compiled in, as long as that is there. One of a release was
/// compiled elsewhere, and is the same wherever that was (`images/release.sh`).
const COMPILED: Option<&str> = match option_env!("ETCD_HARNESS_RELEASE") {
    Some(_) => None,
    None => Some(env!("CARGO_MANIFEST_DIR")),
};

impl Repository {
    /// Finds it: `ETCD_HARNESS_ROOT`, else a parent of the working directory, else where this binary was compiled.
    ///
    /// # Errors
    /// When none of them is one.
    pub fn find() -> Result<Self, RepositoryError> {
        let named = std::env::var_os("ETCD_HARNESS_ROOT").map(PathBuf::from);
        let working = std::env::current_dir().unwrap_or_default();
        let compiled = COMPILED.map(Path::new).and_then(Path::parent);
        Self::among(named, &working, compiled)
    }

    fn among(
        named: Option<PathBuf>,
        working: &Path,
        compiled: Option<&Path>,
    ) -> Result<Self, RepositoryError> {
        if let Some(root) = named {
            return match is_root(&root) {
                true => Ok(Self { root }),
                false => Err(RepositoryError::Named(root)),
            };
        }
        let mut places = working.ancestors().chain(compiled);
        let root = places.find(|root| is_root(root)).map(Path::to_path_buf);
        root.map(|root| Self { root }).ok_or(RepositoryError::Find)
    }

    /// A path in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, relative: &str) -> Result<String, RepositoryError> {
        let path = self.path(relative);
        std::fs::read_to_string(&path).map_err(|source| RepositoryError::Read { path, source })
    }

    /// Runs a script below `images/`. Its talk (stderr) goes to ours; the lines of its stdout are the result.
    ///
    /// # Errors
    /// When it cannot be started, ends badly or takes longer than [`timeouts::IMAGE_SCRIPT`].
    pub async fn script(&self, name: &str, args: &[&str]) -> Result<Vec<String>, RepositoryError> {
        let script = self.path("images").join(name);
        let mut child = Command::new(&script)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| RepositoryError::Start {
                script: script.clone(),
                source,
            })?;
        let failed = |status: String| RepositoryError::Script {
            script: script.clone(),
            status,
        };
        let mut lines = Vec::new();
        let work = async {
            if let Some(stdout) = child.stdout.take() {
                let mut reader = BufReader::new(stdout).lines();
                while let Some(line) = reader.next_line().await? {
                    lines.push(line);
                }
            }
            child.wait().await
        };
        match tokio::time::timeout(timeouts::IMAGE_SCRIPT, work).await {
            Ok(Ok(status)) if status.success() => Ok(lines),
            Ok(Ok(status)) => Err(failed(status.to_string())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no end after {:?}", timeouts::IMAGE_SCRIPT))),
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.join("kind-config.yaml").is_file() && path.join("images").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_repository_by_its_parts() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        assert!(!is_root(dir.path()));
        std::fs::create_dir(dir.path().join("images")).expect("create");
        std::fs::write(dir.path().join("kind-config.yaml"), "").expect("write");
        assert!(is_root(dir.path()));
    }

    #[test]
    fn it_is_the_one_that_is_named_or_worked_in_or_was_compiled_from() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let clone = |name: &str| {
            let root = dir.path().join(name);
            std::fs::create_dir_all(root.join("images/etcd")).expect("create");
            std::fs::write(root.join("kind-config.yaml"), "").expect("write");
            root
        };
        let (mine, other) = (clone("mine"), clone("other"));
        let found = |named: Option<&PathBuf>, working: &Path, compiled: Option<&Path>| {
            Repository::among(named.cloned(), working, compiled).map(|found| found.root)
        };
        let inside = mine.join("images/etcd");
        assert_eq!(found(Some(&other), &inside, None).ok(), Some(other.clone()));
        assert_eq!(found(None, &inside, Some(&other)).ok(), Some(mine));
        let outside = dir.path();
        assert_eq!(found(None, outside, Some(&other)).ok(), Some(other.clone()));
        let gone = found(None, outside, Some(&outside.join("gone")));
        let text = gone.expect_err("no clone").to_string();
        assert!(text.contains("name one in ETCD_HARNESS_ROOT"), "{text}");
        let wrong = outside.join("wrong");
        let text = found(Some(&wrong), &other, None).expect_err("no clone");
        let text = text.to_string();
        assert!(text.contains(&format!("{wrong:?}")), "{text}");
    }
}
