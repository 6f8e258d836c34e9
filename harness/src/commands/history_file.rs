//! The file of a history by itself, without the run directory: what `check` and `convert` share.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use etcd_history::check::{self, Expectations};
use etcd_history::history::Records;
use etcd_history::{History, Record};

use crate::report::{Severity, Verdict, prose, worst};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// The records of a file of either form.
pub(super) fn records(path: &Path) -> anyhow::Result<Records<BufReader<File>>> {
    let file = File::open(path).context("failed to open the history")?;
    let file = BufReader::with_capacity(BUFFER, file);
    Records::new(file).context("failed to read the history")
}

/// Judges a file by every check; nothing is known of what its scenario promised.
pub(super) fn check(path: &Path, verbose: bool) -> anyhow::Result<Severity> {
    let records: Result<Vec<Record>, _> = records(path)?.collect();
    let history = History {
        records: records.context("failed to read the history")?,
    };
    let verdicts = check::all(&history, &expectations(&history));
    Ok(tell(path, &verdicts, verbose))
}

/// Judges linearizability record by record.
pub(super) fn stream(path: &Path, verbose: bool) -> anyhow::Result<Severity> {
    let verdict = check::stream(records(path)?).context("failed to read the history")?;
    Ok(tell(path, &[verdict], verbose))
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
