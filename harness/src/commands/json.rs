//! Reports of benches as files, and their pictures beside them.

use std::path::{Path, PathBuf};

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

/// Writes the picture of a report that is in this file beside it, and says where.
pub(super) fn write_picture(report: &Path, svg: &str) -> anyhow::Result<PathBuf> {
    let path = report.with_extension("svg");
    std::fs::write(&path, svg).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}
