//! Which cluster a command works on.

use std::path::PathBuf;

use crate::cluster::Choice;

/// Which cluster a command works on.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Name of the kind cluster; its context is `kind-NAME`.
    #[arg(
        long,
        global = true,
        default_value = "etcd-harness",
        env = "ETCD_HARNESS_CLUSTER"
    )]
    pub name: String,
    /// Use an existing cluster of this kubeconfig; it is never created, stopped or deleted.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Use an existing cluster by its context; it is never created, stopped or deleted.
    #[arg(long, global = true)]
    pub context: Option<String>,
}

impl TargetArgs {
    /// The cluster that was chosen.
    pub fn choice(&self) -> Choice {
        Choice {
            name: self.name.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}
