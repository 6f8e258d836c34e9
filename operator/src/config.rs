//! Settings of the process, from its command line and environment.

/// Settings of this process; never change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// DNS domain of the Kubernetes cluster, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// Namespace the operator runs in.
    pub namespace: String,
    /// Service account that the operator runs as; the admission policies name it.
    pub service_account: String,
    /// Age at which the token of a component's agents is replaced; zero for never.
    pub token_age: std::time::Duration,
    /// Namespaces whose Clusters are served; all when there are none. Each once.
    pub namespaces: Vec<String>,
    /// Name of this replica (its pod).
    pub identity: String,
    /// Where traces of failovers are sent, `http://HOST:PORT`; none when `None`.
    pub collector: Option<String>,
    /// Image of the program that backup Jobs run.
    pub backup_image: String,
}
