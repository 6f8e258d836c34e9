//! The file of a history by itself, without the run directory: what `check` and `convert` share.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use etcd_history::check::{self, AutoCompaction, Expectations};
use etcd_history::history::Records;
use etcd_history::{History, Record};

use crate::report::{Finding, Severity, Verdict, prose, worst};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Name of the verdict on the file itself.
pub(super) const FILE: &str = "file";

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// True for what is read as the file of a history and not as a run directory: a file, standard input, or whatever else
/// can be read, such as a pipe.
pub(super) fn is_file(path: &Path) -> bool {
    let other = |of: std::fs::Metadata| !of.is_dir();
    path == Path::new(STANDARD_INPUT) || path.metadata().is_ok_and(other)
}

fn open(path: &Path) -> io::Result<File> {
    if path != Path::new(STANDARD_INPUT) {
        return File::open(path);
    }
    let input = io::stdin();
    input.as_fd().try_clone_to_owned().map(File::from)
}

/// The records of a file of either form.
pub(super) fn records(path: &Path) -> anyhow::Result<Records<BufReader<File>>> {
    let file = open(path).context("failed to open the history")?;
    let file = BufReader::with_capacity(BUFFER, file);
    Records::new(file).context("failed to read the history")
}

/// A history, and what is to be said where its file ends within a record.
pub(super) fn read(path: &Path) -> anyhow::Result<(History, Option<Verdict>)> {
    let mut records = records(path)?;
    let read: Result<Vec<Record>, _> = records.by_ref().collect();
    let history = History {
        records: read.context("failed to read the history")?,
    };
    Ok((history, cut_off(&records)))
}

/// Judges a file by every check; nothing is known of what its scenario promised, but for what its etcd was told to
/// compact by itself.
pub(super) fn check(
    path: &Path,
    verbose: bool,
    auto_compaction: Option<AutoCompaction>,
) -> anyhow::Result<Severity> {
    let (history, cut_off) = read(path)?;
    let expectations = Expectations {
        auto_compaction,
        ..expectations(&history)
    };
    let mut verdicts = check::all(&history, &expectations);
    verdicts.extend(cut_off);
    Ok(tell(path, &verdicts, verbose))
}

/// What is to be said where the file ends within a record.
fn cut_off(records: &Records<BufReader<File>>) -> Option<Verdict> {
    let reason = "it ends within a record: what came from there on is not judged".to_owned();
    let found = || Verdict::new(FILE, Finding::Inconclusive { reason });
    records.cut_off().then(found)
}

/// Judges linearizability record by record.
pub(super) fn stream(path: &Path, verbose: bool) -> anyhow::Result<Severity> {
    let mut records = records(path)?;
    let verdict = check::stream(records.by_ref()).context("failed to read the history")?;
    let verdicts: Vec<Verdict> = [verdict].into_iter().chain(cut_off(&records)).collect();
    Ok(tell(path, &verdicts, verbose))
}

fn tell(path: &Path, verdicts: &[Verdict], verbose: bool) -> Severity {
    println!("{}: {}", path.display(), prose::headline(verdicts));
    if verbose {
        for verdict in verdicts {
            let (word, why) = (verdict.severity().word(), verdict.explanation());
            println!("  {:<13} {word} {why}", verdict.check);
            for (name, value) in &verdict.figures {
                println!("    {name} {}", prose::figure(value));
            }
        }
    }
    worst(verdicts).0
}

/// Kubernetes is expected where the history has a pod.
fn expectations(history: &History) -> Expectations {
    let mut records = history.records.iter();
    Expectations {
        kubernetes: records.any(|record| matches!(record, Record::Pod(_))),
        ..Expectations::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_told_from_run_directories() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, none) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        std::fs::write(&file, "").expect("a file");
        for path in [Path::new("-"), Path::new("/dev/null"), file.as_path()] {
            assert!(is_file(path), "{}", path.display());
        }
        for path in [folder.path(), none.as_path()] {
            assert!(!is_file(path), "{}", path.display());
        }
    }
}
