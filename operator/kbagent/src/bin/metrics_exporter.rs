//! The metrics exporter's process: reads its settings and serves. Wiring only.

use anyhow::Context as _;
use kbagent::exporter::{Settings, serve};
use kbagent::telemetry;

fn main() -> anyhow::Result<()> {
    telemetry::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let settings = Settings::from_env().context("failed to read KB_EXPORTER_LISTEN")?;
    runtime
        .block_on(serve(settings))
        .context("failed to listen")
}
