//! Writes a second to the disk, for one container beside this one: through the control groups of the host, which the
//! harness mounts here when a run has a slow disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    /// Docker's ID of the container.
    #[arg(long)]
    container: String,
    /// Writes a second at most; 0: no limit. Left out: nothing is set.
    #[arg(long)]
    writes_s: Option<u32>,
    /// Where the host's control groups are mounted.
    #[arg(long, default_value = "/cgroup")]
    groups: PathBuf,
    /// Where the kernel shows its devices.
    #[arg(long, default_value = "/sys")]
    sys: PathBuf,
    /// A file on the disk that is meant: Docker keeps this one beside the files of all containers.
    #[arg(long, default_value = "/etc/hostname")]
    file: PathBuf,
}

/// Sets the limit, if there is one to set; returns the limits that this container then has.
pub(crate) fn limit(order: &Order) -> anyhow::Result<String> {
    let device = device(order)?;
    let (file, line) = group(order, &device)?;
    if let Some(line) = line {
        fs::write(&file, &line)
            .with_context(|| format!("failed to write {line:?} to {}", file.display()))?;
    }
    fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
}

/// The disk, as the kernel numbers it: limits are of whole disks.
fn device(order: &Order) -> anyhow::Result<String> {
    let file = fs::metadata(&order.file)
        .with_context(|| format!("failed to look at {}", order.file.display()))?;
    let device = numbers(file.dev());
    let known = order.sys.join("dev/block").join(&device);
    if !known.exists() {
        bail!(
            "{} is on device {device}, which is no disk: its file system is in memory or has several",
            order.file.display()
        );
    }
    if !known.join("partition").exists() {
        return Ok(device);
    }
    let whole = known.join("../dev");
    let whole = fs::read_to_string(&whole)
        .with_context(|| format!("failed to read {}", whole.display()))?;
    Ok(whole.trim().to_owned())
}

/// Major and minor number, as Linux packs them.
fn numbers(device: u64) -> String {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
    format!("{major}:{minor}")
}

/// The file that takes the limit, and what is written to it: of both versions of control groups.
fn group(order: &Order, device: &str) -> anyhow::Result<(PathBuf, Option<String>)> {
    let id = &order.container;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        bail!("{id:?} is no ID of a container");
    }
    let places = [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
    ];
    let most = |writes| match writes {
        0 => "max".to_owned(),
        writes => writes.to_string(),
    };
    let kinds = [
        (
            Path::new("blkio"),
            "blkio.throttle.write_iops_device",
            order.writes_s.map(|writes| format!("{device} {writes}")),
        ),
        (
            Path::new(""),
            "io.max",
            order
                .writes_s
                .map(|writes| format!("{device} wiops={}", most(writes))),
        ),
    ];
    for (kind, file, line) in kinds {
        for place in &places {
            let file = order.groups.join(kind).join(place).join(file);
            if file.exists() {
                return Ok((file, line));
            }
        }
    }
    bail!(
        "container {id} has no control group below {} that limits writes to a disk",
        order.groups.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(root: &Path) -> Order {
        Order {
            container: "c0ffee".to_owned(),
            writes_s: Some(2),
            groups: root.join("groups"),
            sys: root.join("sys"),
            file: root.to_owned(),
        }
    }

    fn make(path: &Path) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    }

    #[test]
    fn both_versions_of_control_groups_take_a_limit_and_lose_it() {
        let groups = [
            (
                "blkio/docker/c0ffee/blkio.throttle.write_iops_device",
                "2",
                "0",
            ),
            (
                "system.slice/docker-c0ffee.scope/io.max",
                "wiops=2",
                "wiops=max",
            ),
        ];
        for (file, limited, free) in groups {
            let root = tempfile::tempdir().expect("a folder");
            let mut order = order(root.path());
            let device = numbers(fs::metadata(root.path()).expect("it is there").dev());
            fs::create_dir_all(order.sys.join("dev/block").join(&device)).expect("made");
            make(&order.groups.join(file));
            assert_eq!(limit(&order).expect("set"), format!("{device} {limited}"));
            order.writes_s = Some(0);
            assert_eq!(limit(&order).expect("set"), format!("{device} {free}"));
        }
    }

    #[test]
    fn a_partition_is_limited_with_its_whole_disk() {
        let root = tempfile::tempdir().expect("a folder");
        let order = order(root.path());
        let device = numbers(fs::metadata(root.path()).expect("it is there").dev());
        let disk = root.path().join("sys/devices/disk");
        make(&disk.join("part/partition"));
        fs::write(disk.join("dev"), "8:16\n").expect("written");
        fs::create_dir_all(order.sys.join("dev/block")).expect("made");
        let link = order.sys.join("dev/block").join(&device);
        std::os::unix::fs::symlink(disk.join("part"), link).expect("linked");
        assert_eq!(super::device(&order).expect("a disk"), "8:16");
    }

    #[test]
    fn what_cannot_be_limited_says_why() {
        let root = tempfile::tempdir().expect("a folder");
        let mut order = order(root.path());
        let error = limit(&order).expect_err("no disk").to_string();
        assert!(error.contains("no disk"), "{error}");
        let error = group(&order, "8:0").expect_err("no group").to_string();
        assert!(error.contains("no control group"), "{error}");
        order.container = "../other".to_owned();
        assert!(group(&order, "8:0").is_err());
        assert_eq!(numbers(0xfe00), "254:0");
        assert_eq!(numbers(0x0010_0811), "8:273");
    }
}
