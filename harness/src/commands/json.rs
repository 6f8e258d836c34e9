//! Reports of benches as files.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Writes a report, and makes its folder where there is none.
pub(super) fn write(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
}
