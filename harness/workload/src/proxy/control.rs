//! Orders to the proxy: one line of JSON over a socket in its own container, answered by what every link has done.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::proxy::net::{Net, Orders};
use crate::schedule::pause;

/// Longest order and longest answer.
const LINE_MAX: u64 = 256 * 1024;
/// Longest time for one order.
const LIMIT: Duration = Duration::from_secs(5);

fn socket(dir: &Path) -> PathBuf {
    dir.join("proxy.sock")
}

/// The socket at which orders come; one that a process before this left is replaced.
pub(crate) fn listen(dir: &Path) -> anyhow::Result<UnixListener> {
    let path = socket(dir);
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("failed to make {}", path.display()))
}

/// Takes orders, one after the other, for ever.
pub(crate) async fn serve(net: Arc<Net>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((asker, _)) => {
                // Who hangs or leaves has no answer, and that is all.
                let _ = tokio::time::timeout(LIMIT, answer(&net, asker)).await;
            }
            Err(_) => pause(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(net: &Net, asker: UnixStream) -> anyhow::Result<()> {
    let (from, mut to) = asker.into_split();
    let mut line = String::new();
    BufReader::new(from.take(LINE_MAX))
        .read_line(&mut line)
        .await?;
    let taken = serde_json::from_str::<Orders>(&line).map_err(|error| error.to_string());
    let answer = match taken.and_then(|orders| net.take(&orders)) {
        Ok(()) => json!({"links": net.tell()}),
        Err(error) => json!({"error": error}),
    };
    to.write_all(answer.to_string().as_bytes()).await?;
    to.shutdown().await?;
    Ok(())
}

/// Sends orders to the proxy of this container; returns what every link has done.
pub(crate) async fn ask(dir: &Path, orders: &str) -> anyhow::Result<String> {
    let path = socket(dir);
    let asked = async {
        let proxy = UnixStream::connect(&path).await;
        let mut proxy = proxy.with_context(|| format!("failed to reach {}", path.display()))?;
        // Its own line breaks would end it early.
        let line = orders.replace('\n', " ") + "\n";
        proxy.write_all(line.as_bytes()).await?;
        let mut text = String::new();
        proxy.take(LINE_MAX).read_to_string(&mut text).await?;
        Ok::<_, anyhow::Error>(text)
    };
    let text = tokio::time::timeout(LIMIT, asked)
        .await
        .context("the proxy did not answer in time")??;
    let value: serde_json::Value =
        serde_json::from_str(&text).context("the proxy's answer is no JSON")?;
    if let Some(error) = value.get("error").and_then(|error| error.as_str()) {
        bail!("the proxy refused the rules: {error}");
    }
    Ok(text)
}
