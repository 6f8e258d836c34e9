//! Pure: where a backup lies in its repository.

use object_store::path::Path;

/// Longest path of a backup in bytes; S3 allows 1024 for a whole key.
const LONGEST: usize = 800;

/// A path that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} is no path in a repository: {why}")]
pub struct NotAPath {
    /// As it was given.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

/// The folder of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(Path);

impl Folder {
    /// Reads a path such as `prefix/demo/shop-uid/etcd/backup`.
    ///
    /// # Errors
    /// When it is empty, too long, or leads out of the repository.
    pub fn read(path: &str) -> Result<Self, NotAPath> {
        let refuse = |why: String| NotAPath {
            path: path.to_owned(),
            why,
        };
        let trimmed = path.trim_matches('/');
        if trimmed.is_empty() {
            return Err(refuse(
                "it is empty, and all of a repository is never one backup".to_owned(),
            ));
        }
        if trimmed.len() > LONGEST {
            return Err(refuse(format!(
                "it has {} bytes, {LONGEST} are allowed",
                trimmed.len()
            )));
        }
        if trimmed
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(refuse("no part of it may be empty, `.` or `..`".to_owned()));
        }
        Path::parse(trimmed)
            .map(Folder)
            .map_err(|error| refuse(error.to_string()))
    }

    /// The manifest: written last, so that a backup without it does not exist.
    pub fn manifest(&self) -> Path {
        self.0.clone().join("manifest.json")
    }

    /// The snapshot of one attempt: no two attempts write to one object.
    pub fn snapshot(&self, attempt: &str) -> Path {
        self.0.clone().join(format!("snapshot-{attempt}.db"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_out_of_its_folder() {
        for bad in [
            "",
            "/",
            "..",
            "a/../b",
            "a//b",
            "./a",
            "a/.",
            &"a/".repeat(500),
        ] {
            assert!(Folder::read(bad).is_err(), "{bad}");
        }
        let folder = Folder::read("/pre/demo/shop-1/etcd/b/").expect("a path");
        assert_eq!(
            folder.manifest().to_string(),
            "pre/demo/shop-1/etcd/b/manifest.json"
        );
        assert_eq!(
            folder.snapshot("x").to_string(),
            "pre/demo/shop-1/etcd/b/snapshot-x.db"
        );
    }
}
