//! The machine and its tools, as far as they matter.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Repository;
use crate::doctor::{Standing, Symptom};

/// Bytes of memory below which six nodes do not fit: 1.5 GiB when idle, and what is tested on top.
const MEMORY_NEEDED_GIB: u64 = 4;

/// Gibibytes that a first run of the suite fills: what is compiled, images, six nodes, runs.
const DISK_WANTED_GIB: u64 = 25;

/// Looks at cores, memory, disk, the repository and the tools.
pub(crate) fn findings() -> Vec<Symptom> {
    vec![
        cores(),
        memory(),
        disk(),
        repository(),
        kind(),
        kubectl(),
        go(),
    ]
}

fn cores() -> Symptom {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = format!("{count} (on {})", std::env::consts::OS);
    if count >= 2 {
        return Symptom::new("cores", Standing::Available, &text);
    }
    Symptom::new("cores", Standing::Fallback, &text)
        .remedy("two or more keep the time limits honest")
}

fn memory() -> Symptom {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return Symptom::new(
            "memory",
            Standing::Available,
            "not looked at on this system",
        );
    };
    let gib = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or(0) >> 20
    };
    let (free, all) = (gib("MemAvailable:"), gib("MemTotal:"));
    let words = format!("{free} of {all} GiB free");
    if free >= MEMORY_NEEDED_GIB || all >= 2 * MEMORY_NEEDED_GIB {
        return Symptom::new("memory", Standing::Available, &words);
    }
    Symptom::new("memory", Standing::Fallback, &words).remedy(&format!(
        "one control plane and five workers want {MEMORY_NEEDED_GIB} GiB: free some"
    ))
}

/// The disk of the repository, which has what is compiled and the runs, and most often Docker's images too.
fn disk() -> Symptom {
    let folder = Repository::find().map_or_else(|_| PathBuf::from("."), |found| found.path(""));
    let said = Command::new("df").arg("-Pk").arg(&folder).output();
    let free = said
        .ok()
        .and_then(|said| free_kib(&String::from_utf8_lossy(&said.stdout)));
    match free {
        Some(kib) => free_disk(&folder, kib >> 20),
        None => Symptom::new("disk", Standing::Available, "not looked at on this system"),
    }
}

/// Free kibibytes by what `df -Pk` says of one folder.
fn free_kib(said: &str) -> Option<u64> {
    let line = said.lines().nth(1)?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn free_disk(folder: &Path, gib: u64) -> Symptom {
    let words = format!("{gib} GiB free in {}", folder.display());
    if gib >= DISK_WANTED_GIB {
        return Symptom::new("disk", Standing::Available, &words);
    }
    Symptom::new("disk", Standing::Fallback, &words).remedy(&format!(
        "a first run of the suite fills about {DISK_WANTED_GIB} GiB, Docker's images among them: free some"
    ))
}

fn repository() -> Symptom {
    match Repository::find() {
        Ok(repository) => Symptom::new(
            "repository",
            Standing::Available,
            &repository.path("").display().to_string(),
        ),
        Err(error) => Symptom::required("repository", Standing::Unavailable, &error.to_string()),
    }
}

/// The first of the places where a tool answers, with what it says of its version.
fn tool(name: &str, version: &[&str]) -> Option<(PathBuf, String)> {
    let own = crate::cluster::state_dir().join("bin").join(name);
    [PathBuf::from(name), own].into_iter().find_map(|path| {
        let output = Command::new(&path).args(version).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()?
            .trim()
            .to_owned();
        output.status.success().then_some((path, text))
    })
}

fn kind() -> Symptom {
    match tool("kind", &["version"]) {
        Some((path, version)) => Symptom::new(
            "kind",
            Standing::Available,
            &format!("{version} ({})", path.display()),
        ),
        None => Symptom::new("kind", Standing::Fallback, "not found")
            .remedy("`harness up` builds it with Go; or install it: https://kind.sigs.k8s.io"),
    }
}

fn kubectl() -> Symptom {
    match tool("kubectl", &["version", "--client"]) {
        Some((path, version)) => Symptom::new(
            "kubectl",
            Standing::Available,
            &format!("{version} ({})", path.display()),
        ),
        None => Symptom::new("kubectl", Standing::Fallback, "not found")
            .remedy("not needed by the harness; `docker exec NODE kubectl` works in every node"),
    }
}

fn go() -> Symptom {
    match tool("go", &["version"]) {
        Some((_, version)) => Symptom::new("go", Standing::Available, &version),
        None => Symptom::new("go", Standing::Fallback, "not found")
            .remedy("needed only where images cannot be pulled from a registry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_disk_is_read_and_a_small_one_says_how_much_is_wanted() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
            /dev/root 75085112 60000000 15085112 80% /\n";
        assert_eq!(free_kib(said), Some(15_085_112));
        assert_eq!(free_kib("df: no such folder\n"), None);
        let stock = free_disk(Path::new("/clone"), 14);
        assert_eq!(stock.standing, Standing::Fallback);
        assert!(stock.remedy.contains("about 25 GiB"), "{}", stock.remedy);
        assert!(
            !stock.required,
            "what is compiled and pulled already needs less"
        );
        let large = free_disk(Path::new("/clone"), DISK_WANTED_GIB);
        assert_eq!(large.standing, Standing::Available);
    }
}
