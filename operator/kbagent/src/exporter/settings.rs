//! Settings of the exporter, from its environment.

use std::net::{AddrParseError, SocketAddr};
use std::path::{Path, PathBuf};

use kbagent_protocol::{EXPORTER_PORT, PORT, TLS_DIRECTORY_VARIABLE};

use crate::tls::Tls;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `KB_EXPORTER_LISTEN`; `0.0.0.0` is all addresses, those of IPv6 too.
    pub listen: SocketAddr,
    /// `KB_ETCD_METRICS`: `host:port` of etcd's own metrics.
    pub etcd_metrics: String,
    /// `KB_AGENT`: `host:port` of kbagent.
    pub agent: String,
    /// `KB_VOLUME`: where the data volume is mounted.
    pub volume: PathBuf,
    /// `KB_TLS_DIR`: folder with the member's certificate. Figures are served by TLS then.
    pub tls: Tls,
}

impl Settings {
    /// From the process's environment, with the pod's defaults.
    ///
    /// # Errors
    /// When a variable is unreadable.
    pub fn from_env() -> Result<Self, AddrParseError> {
        let given = |name: &str, default: String| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .unwrap_or(default)
        };
        let directory = given(TLS_DIRECTORY_VARIABLE, String::new());
        Ok(Self {
            listen: given("KB_EXPORTER_LISTEN", format!("0.0.0.0:{EXPORTER_PORT}")).parse()?,
            etcd_metrics: given("KB_ETCD_METRICS", "127.0.0.1:2381".into()),
            agent: given("KB_AGENT", format!("127.0.0.1:{PORT}")),
            volume: given("KB_VOLUME", "/var/lib/etcd/data".into()).into(),
            tls: Tls::new((!directory.is_empty()).then_some(Path::new(&directory))),
        })
    }
}
