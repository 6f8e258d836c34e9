//! Enforces NetworkPolicies on the node that it runs on, where the network plugin of a test cluster does not: one table
//! of nft, made from the policies, pods and namespaces of the API server ([`plan`]) and replaced as a whole when it is
//! another one ([`nft`]).
//!
//! What is asked of a connection is asked once, of its first packet: a connection that is there when a policy comes
//! stays. Only IPv4. A pod is closed once the API server has its address, about a second after it began.

mod follow;
mod nft;
mod plan;
mod state;

use anyhow::Context as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let node = std::env::var("NODE_NAME")
        .context("NODE_NAME is not set: the DaemonSet takes it from spec.nodeName")?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = kube::Client::try_default()
        .await
        .context("there is no way to the API server: run this in a pod with a service account")?;
    tokio::select! {
        end = follow::run(&client, &node) => end,
        end = terminated() => end,
    }
}

/// The table stays when this ends: the next one replaces it.
async fn terminated() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signal = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    signal.recv().await;
    Ok(())
}
