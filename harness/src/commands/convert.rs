//! `harness convert FROM TO`: writes the file of a history in its other form, record by record.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use etcd_history::binary::BinaryWriter;
use etcd_history::history::write_header;

use super::{CommandResult, Exit, history_file};

/// Arguments of `harness convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file of a history, in either form.
    from: PathBuf,
    /// The new file; a name that ends in .jsonl gives lines of JSON, one in .bin the binary form.
    to: PathBuf,
}

pub(super) fn run(args: &Args) -> CommandResult {
    let (written, cut_off) = convert(&args.from, &args.to)?;
    let size = |path: &Path| fs::metadata(path).map(|file| file.len());
    let (from, to) = (size(&args.from)?, size(&args.to)?);
    println!("{written} records, {from} bytes before, {to} bytes after");
    if cut_off {
        eprintln!(
            "{}: it ends within a record, which is left out: nothing in {} says so",
            args.from.display(),
            args.to.display()
        );
        return Ok(Exit::Inconclusive);
    }
    Ok(Exit::Pass)
}

/// Number of records written, and whether the file ends within a record, which is left out. What was written of a file
/// that cannot be read to its end is deleted.
fn convert(from: &Path, to: &Path) -> anyhow::Result<(u64, bool)> {
    let binary = match to.extension().and_then(|end| end.to_str()) {
        Some("jsonl") => false,
        Some("bin") => true,
        _ => bail!(
            "failed to choose a form for {}: end its name in .jsonl for lines of JSON or in .bin for the binary form",
            to.display()
        ),
    };
    let file = File::create_new(to).with_context(|| {
        format!(
            "failed to make {}: name a file that is not there",
            to.display()
        )
    })?;
    let written = copy(from, BufWriter::new(file), binary);
    if written.is_err() {
        // It is half a history; that it cannot be deleted is no second failure.
        let _ = fs::remove_file(to);
    }
    written
}

fn copy(from: &Path, mut to: impl Write, binary: bool) -> anyhow::Result<(u64, bool)> {
    let mut records = history_file::records(from)?;
    let mut written = 0;
    if binary {
        let mut writer = BinaryWriter::new(to)?;
        for record in records.by_ref() {
            writer.write(&record?)?;
            written += 1;
        }
        writer.finish()?;
    } else {
        write_header(&mut to)?;
        for record in records.by_ref() {
            serde_json::to_writer(&mut to, &record?)?;
            to.write_all(b"\n")?;
            written += 1;
        }
        to.flush()?;
    }
    Ok((written, records.cut_off()))
}

#[cfg(test)]
mod tests {
    use etcd_history::History;
    use etcd_history::simulate::{Plan, simulate};

    use super::*;
    use crate::report::Severity;

    #[test]
    fn a_history_comes_back_from_the_binary_form_and_is_judged_in_both() {
        let folder = tempfile::tempdir().unwrap();
        let [lines, binary, again] =
            ["a.jsonl", "a.bin", "b.jsonl"].map(|name| folder.path().join(name));
        let history = simulate(&Plan::default());
        history.write(File::create(&lines).unwrap()).unwrap();
        let count = history.records.len() as u64;
        assert_eq!(convert(&lines, &binary).unwrap(), (count, false));
        assert_eq!(convert(&binary, &again).unwrap(), (count, false));
        let back = History::read(fs::read(&again).unwrap().as_slice()).unwrap();
        assert_eq!(back, history);
        for path in [&lines, &binary] {
            assert_ne!(
                history_file::check(path, false, None).unwrap(),
                Severity::Violation
            );
            assert_eq!(history_file::stream(path, true).unwrap(), Severity::Pass);
        }
    }

    #[test]
    fn a_file_that_ends_within_a_record_proves_nothing_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let [lines, binary] = ["a.jsonl", "a.bin"].map(|name| folder.path().join(name));
        let history = simulate(&Plan::default());
        history.write(File::create(&lines).unwrap()).unwrap();
        convert(&lines, &binary).unwrap();
        for (path, to) in [(&lines, "b.bin"), (&binary, "b.jsonl")] {
            let whole = fs::read(path).unwrap();
            fs::write(path, &whole[..whole.len() - 3]).unwrap();
            let judged = history_file::stream(path, false).unwrap();
            assert_eq!(judged, Severity::Inconclusive, "{}", path.display());
            let judged = history_file::check(path, false, None).unwrap();
            assert_ne!(judged, Severity::Pass, "{}", path.display());
            // What is written of it is a whole file.
            let (from, to) = (path.clone(), folder.path().join(to));
            assert_eq!(run(&Args { from, to }).unwrap(), Exit::Inconclusive);
        }
    }

    #[test]
    fn another_ending_and_a_file_that_is_there_are_refused_and_half_a_file_is_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.jsonl"), "nonsense\n").unwrap();
        let error = convert(&at("a.jsonl"), &at("a.zip")).unwrap_err();
        assert!(error.to_string().contains(".bin"), "{error}");
        let error = convert(&at("a.jsonl"), &at("a.jsonl")).unwrap_err();
        assert!(error.to_string().contains("not there"), "{error}");
        assert!(convert(&at("a.jsonl"), &at("a.bin")).is_err());
        assert!(!at("a.bin").exists());
    }
}
