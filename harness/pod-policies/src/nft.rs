//! Gives rules to the kernel, by the node's own program.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The node's program, in the folder that the DaemonSet mounts.
const PROGRAM: &str = "/usr/sbin/nft";
/// Longest time for one table.
const LIMIT: Duration = Duration::from_secs(10);

/// Replaces the table, in one transaction: all of it is there, or all of what was before.
pub(crate) async fn load(rules: &str) -> anyhow::Result<()> {
    let mut nft = Command::new(PROGRAM)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{PROGRAM} does not start: is the node's /usr mounted?"))?;
    let mut stdin = nft.stdin.take().context("nft has no input")?;
    let done = async {
        // A program that ends early says why; that it no longer reads is no news.
        let _ = stdin.write_all(rules.as_bytes()).await;
        drop(stdin);
        nft.wait_with_output().await
    };
    let done = tokio::time::timeout(LIMIT, done).await;
    let done = done.context("nft does not end")?.context("nft is lost")?;
    if !done.status.success() {
        bail!(
            "nft refuses the rules: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}
