//! The proxy as a whole: its ports, and the socket for its orders.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::proxy::config::Config;
use crate::proxy::net::Net;
use crate::proxy::{carry, control};

/// Carries what members send each other, for ever.
pub(crate) async fn run(config: &str, dir: &Path) -> anyhow::Result<()> {
    let config = Config::parse(config).map_err(|error| anyhow!("the configuration: {error}"))?;
    let net = Arc::new(Net::new(&config));
    let places = carry::places();
    let mut tasks = JoinSet::new();
    for (place, member) in config.members.iter().enumerate() {
        let listener = TcpListener::bind(("0.0.0.0", member.listen))
            .await
            .with_context(|| format!("failed to listen at port {}", member.listen))?;
        tasks.spawn(carry::serve(
            Arc::clone(&net),
            listener,
            place,
            Arc::clone(&places),
        ));
    }
    // Last: who can ask may count on the ports.
    tasks.spawn(control::serve(net, control::listen(dir)?));
    match tasks.join_next().await {
        Some(Err(error)) => Err(error).context("a part of the proxy ended"),
        _ => Err(anyhow!("a part of the proxy ended")),
    }
}
