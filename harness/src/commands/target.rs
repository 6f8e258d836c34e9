//! Which cluster a command works on.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::cluster::Choice;

/// Which cluster a command works on.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Name of the kind cluster; its context is `kind-NAME`. Not beside --kubeconfig or --context.
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

/// The options that name a cluster, the kind cluster's first.
const NAMES: [&str; 3] = ["name", "kubeconfig", "context"];

impl TargetArgs {
    /// What is wrong with the options that the command line itself has, where a command works on a cluster or on none.
    /// The environment speaks to all commands, so that what it says may be of no use to one.
    pub(super) fn refuse(given: &ArgMatches, works_on_a_cluster: bool) -> Option<String> {
        let is_given = |name: &&str| given.value_source(name) == Some(ValueSource::CommandLine);
        let named: Vec<String> = NAMES
            .iter()
            .filter(|name| is_given(name))
            .map(|name| format!("--{name}"))
            .collect();
        let words = named.join(" and ");
        if named.is_empty() {
            None
        } else if !works_on_a_cluster {
            Some(format!(
                "this command works on no cluster: leave out {words}"
            ))
        } else if named.len() > 1 && is_given(&NAMES[0]) {
            Some(format!(
                "{words} name two clusters: leave out --name, which is for the harness's own"
            ))
        } else {
            None
        }
    }

    /// The cluster that was chosen.
    pub fn choice(&self) -> Choice {
        Choice {
            name: self.name.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}
