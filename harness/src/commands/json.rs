//! Reports of benches as files, and their pictures beside them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// What the name of a picture ends in.
const PICTURE: &str = "svg";

/// Writes a report, and makes its folder where there is none.
pub(super) fn write(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
}

/// A report's file, whose picture has another name.
pub(super) fn beside_picture(report: PathBuf) -> Result<PathBuf, &'static str> {
    let end = report.extension();
    // A disk may take both for one name.
    match end.is_some_and(|end| end.eq_ignore_ascii_case(PICTURE)) {
        true => Err(
            "the picture is written beside the JSON, by the same name with .svg: end it in .json",
        ),
        false => Ok(report),
    }
}

/// Writes the picture of a report that is in this file beside it, and says where.
pub(super) fn write_picture(report: &Path, svg: &str) -> anyhow::Result<PathBuf> {
    let path = report.with_extension(PICTURE);
    std::fs::write(&path, svg).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_not_overwritten_by_its_picture() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.json", "a", "a.svg.json", ".svg"] {
            let path = beside_picture(folder.path().join(name)).expect(name);
            write(&path, &7).expect("a report");
            write_picture(&path, "<svg/>").expect("a picture");
            assert_eq!(
                std::fs::read_to_string(&path).expect("a report"),
                "7\n",
                "{name}"
            );
        }
        for name in ["a.svg", "a.SVG", "b/a.json.Svg"] {
            let error = beside_picture(PathBuf::from(name)).expect_err(name);
            assert!(error.contains(".json"), "{error}");
        }
    }
}
