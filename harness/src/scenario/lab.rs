//! Where runs happen: the cluster, the folder of the runs, what is kept.

use std::path::PathBuf;

use crate::cluster::{Choice, Cluster, ClusterError};
use crate::deploy::policies;
use crate::scenario::{Interrupt, Live, Turn};
use crate::timeouts;

/// Where runs happen.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// True when the namespace stays when the run is over.
    pub keep: bool,
    /// Where progress is printed.
    pub live: Live,
    /// Who may end a run early.
    pub interrupt: Interrupt,
    /// When a run continues after its set-up.
    pub turn: Turn,
    /// Image of the recording client.
    pub client_image: String,
    /// Folder with KubeBlocks' own manifests, if there is one.
    pub manifests: Option<PathBuf>,
}

impl Lab {
    /// A lab in the chosen cluster, with the choices that the environment makes: `ETCD_HARNESS_RUNS`,
    /// `ETCD_HARNESS_KUBEBLOCKS_EXAMPLES`, `ETCD_HARNESS_WORKLOAD_IMAGE`. A cluster that does not answer is asked again
    /// for a minute.
    ///
    /// # Errors
    /// When the cluster cannot be attached to.
    pub async fn attach(choice: &Choice, live: Live) -> Result<Self, ClusterError> {
        let mut told = String::new();
        let tell = |error: &ClusterError| {
            let words = format!("asked again: {error}");
            if words != told {
                live.say(&words);
                told = words;
            }
        };
        let cluster = Cluster::attach_within(choice, timeouts::ATTACH, tell);
        let cluster = live.telling(Box::pin(cluster)).await?;
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Ok(Self {
            cluster,
            runs: var("ETCD_HARNESS_RUNS").map_or_else(|| PathBuf::from("runs"), PathBuf::from),
            keep: false,
            live,
            interrupt: Interrupt::never(),
            turn: Turn::now(),
            client_image: policies::client_image(),
            manifests: var("ETCD_HARNESS_KUBEBLOCKS_EXAMPLES").map(PathBuf::from),
        })
    }
}
