//! Clients that are not ours, for `harness bench failover --client`: their images, and what their pods printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::bench::{Probe, Writes};
use crate::cluster::{Choice, ClusterLock, Progress, Repository};

/// Builds their images where they are missing, and puts them into the nodes.
pub(super) async fn prepare(probes: &[Probe], choice: &Choice) -> anyhow::Result<()> {
    anyhow::ensure!(
        choice.is_own(),
        "--client loads images into a kind cluster of the harness's own: leave out --kubeconfig and --context"
    );
    let _in_use = ClusterLock::using(&choice.name)?;
    let repository = Repository::find()?;
    let mut progress = Progress::new();
    let words: Vec<&str> = probes.iter().map(|probe| probe.word()).collect();
    let build = repository.script("probes.sh", &words);
    progress.script("client images", build).await?;
    let images: Vec<String> = probes.iter().map(|probe| probe.image()).collect();
    let args: Vec<&str> = std::iter::once(choice.name.as_str())
        .chain(images.iter().map(String::as_str))
        .collect();
    let load = repository.script("load.sh", &args);
    progress.script("load images", load).await?;
    Ok(())
}

/// What the probes of a saved run wrote; a run without probes has none.
pub(super) fn written(run: &Path) -> anyhow::Result<BTreeMap<Probe, Writes>> {
    let mut written = BTreeMap::new();
    for probe in Probe::ALL {
        let mut logs = Vec::new();
        // The container before a restart comes first.
        for name in ["probe.previous", "probe"] {
            logs.extend(read(run, &format!("{}.{name}.log", probe.pod()))?);
        }
        if !logs.is_empty() {
            let writes = Writes::read(&logs).map_err(|error| {
                anyhow::anyhow!("failed to read what {} printed: {error}", probe.pod())
            });
            written.insert(probe, writes.with_context(|| run.display().to_string())?);
        }
    }
    Ok(written)
}

/// The files of this name that the run collected, of whatever namespace.
fn read(run: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let folder = run.join("logs");
    let listed = fs::read_dir(&folder)
        .with_context(|| format!("failed to list the logs below {}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in listed {
        let file = entry?.path().join(name);
        if file.is_file() {
            let text = fs::read_to_string(&file);
            texts.push(text.with_context(|| format!("failed to read {}", file.display()))?);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_log_is_found_among_those_that_the_run_collected() {
        let run = tempfile::tempdir().expect("a folder");
        let namespace = run.path().join("logs/e2e-1");
        fs::create_dir_all(&namespace).expect("a folder");
        fs::write(run.path().join("logs/harness.log"), "").expect("a file");
        assert_eq!(written(run.path()).expect("no probes"), BTreeMap::new());
        let log = "2026-11-29T04:00:00Z begin 5\n2026-11-29T04:00:00Z write 3 ok\n";
        let file = namespace.join("probe-etcdctl.probe.log");
        fs::write(&file, log).expect("a file");
        let found = written(run.path()).expect("one probe");
        assert_eq!(found.keys().collect::<Vec<_>>(), [&Probe::Etcdctl]);
        assert!(found[&Probe::Etcdctl].toll(0, i64::MAX).is_some());
        fs::write(&file, "- write soon ok\n").expect("a file");
        let error = written(run.path()).expect_err("a broken line");
        assert!(format!("{error:#}").contains("probe-etcdctl"), "{error:#}");
    }
}
