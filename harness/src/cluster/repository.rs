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
        "failed to find the repository (a folder with kind-config.yaml and images/): set ETCD_HARNESS_ROOT or run inside it"
    )]
    Find,
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

impl Repository {
    /// Finds it: `ETCD_HARNESS_ROOT`, else a parent of the working directory, else where this binary was compiled.
    ///
    /// # Errors
    /// When none of them is one.
    pub fn find() -> Result<Self, RepositoryError> {
        let named = std::env::var_os("ETCD_HARNESS_ROOT").map(PathBuf::from);
        if let Some(root) = named {
            return if is_root(&root) {
                Ok(Self { root })
            } else {
                Err(RepositoryError::Find)
            };
        }
        let working = std::env::current_dir().unwrap_or_default();
        let compiled = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .map(Path::to_path_buf);
        let parents = working.ancestors().map(Path::to_path_buf);
        parents
            .chain(compiled)
            .find(|root| is_root(root))
            .map(|root| Self { root })
            .ok_or(RepositoryError::Find)
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
}
