//! The metrics exporter's process: reads its settings and serves. Wiring only.

use kbagent::exporter::{Settings, serve};
use kbagent::telemetry;

fn main() -> anyhow::Result<()> {
    telemetry::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(Settings::from_env()?))?;
    Ok(())
}
