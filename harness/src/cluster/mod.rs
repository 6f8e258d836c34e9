//! A cluster that is there, and shells in its nodes. Being written.

use std::path::PathBuf;

/// Which cluster is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name of the kind cluster.
    pub name: String,
    /// Kubeconfig of an existing cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Context of an existing cluster.
    pub context: Option<String>,
}
