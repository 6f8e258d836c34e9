//! A member's disk full. Only ever on a volume that is a small file system of its own (see
//! [`volumes::SMALL`](crate::cluster::volumes::SMALL)): other volumes share their node's, and the nodes share the
//! host's.

use futures::future::join_all;

use crate::cluster::NodeShell;
use crate::faults::data::loss::data_volume;
use crate::faults::members::roster;
use crate::faults::running::{Injected, Running};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::together::all_or_none;
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Selector, Target};

/// Name of the file that fills.
pub(crate) const FILLER: &str = ".etcd-harness-fill";
/// Largest file system that is filled.
const MAX_BYTES: u64 = 2 << 30;

/// Fills the volumes of the members that are meant.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let victims = of.select(&roster.members, context.seed)?;
    let mut disks = Vec::new();
    for victim in victims {
        let volume = data_volume(&context.cluster, &context.namespace, &victim).await?;
        let shell = context.cluster.shell(victim.node()?)?;
        let about = shell
            .check("look at a volume", &about(&volume.path))
            .await?;
        let small = small_file_system(&about).map_err(|reason| FaultError::Unavailable {
            fault: fault.to_string(),
            reason: format!(
                "the volume of pod {} {reason}; deploy on small volumes",
                victim.pod
            ),
        })?;
        disks.push(Disk {
            pod: victim.pod,
            path: volume.path,
            shell,
            trace: context.trace(),
            bytes: small,
        });
    }
    let attempts = join_all(disks.iter().map(async |disk| {
        let heal = empty(&disk.path);
        let inject = fill(&disk.path);
        let deed = Deed {
            trace: &disk.trace,
            limit: context.dead_man,
            heal: &heal,
            inject: &inject,
        };
        deadman::run(&disk.shell, &deed).await.map(|_| disk)
    }));
    all_or_none(attempts.await, async |disk: &Disk| {
        deadman::take_back(&disk.shell, &disk.trace).await;
    })
    .await?;
    let targets = disks
        .iter()
        .map(|disk| Target::Member {
            pod: disk.pod.clone(),
            node: None,
            part: format!("volume of {} MiB", disk.bytes >> 20),
        })
        .collect();
    let evidence = Evidence::new().with("roles from", roster.roles_from);
    Ok(Injected {
        targets,
        evidence,
        running: Box::new(Full {
            fault: fault.to_string(),
            disks,
        }),
    })
}

fn about(path: &str) -> String {
    format!(
        "findmnt -nb -o TARGET,SOURCE,SIZE -T '{path}'; findmnt -nb -o TARGET,SOURCE,SIZE -T /var"
    )
}

/// Bytes of the file system, when it is one of its own and small; else why it is not.
fn small_file_system(about: &str) -> Result<u64, String> {
    let mut lines = about
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (own, var) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let [_, source, size] = own[..] else {
        return Err("cannot be found among the mounts".into());
    };
    let size: u64 = size.parse().map_err(|_| format!("has no size ({size})"))?;
    if var.get(1) == Some(&source) || !source.starts_with("/dev/") {
        return Err(format!(
            "is not a file system of its own but part of {source}"
        ));
    }
    if size > MAX_BYTES {
        return Err(format!(
            "is a file system of {} MiB, too large to fill",
            size >> 20
        ));
    }
    Ok(size)
}

/// Takes all blocks at once, then byte by byte what rounding left.
fn fill(path: &str) -> String {
    format!(
        "cd '{path}' || exit 1\nn=$(df -B1 --output=avail . | tail -n1)\nfallocate -l $n {FILLER} 2>/dev/null\n\
         dd if=/dev/zero bs=4096 of={FILLER} oflag=append conv=notrunc 2>/dev/null\ntrue"
    )
}

/// Also right when the volume is not there: its node was restarted, and the next deployment mounts it again.
fn empty(path: &str) -> String {
    format!("rm -f '{path}/{FILLER}' || exit 1\nsync -f '{path}' 2>/dev/null\ntrue")
}

struct Disk {
    pod: String,
    path: String,
    shell: NodeShell,
    trace: String,
    bytes: u64,
}

/// Volumes that are full.
struct Full {
    fault: String,
    disks: Vec<Disk>,
}

impl Running for Full {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for disk in &self.disks {
            let path = &disk.path;
            let probe = format!(
                "df -B1 --output=avail '{path}' | tail -n1; dd if=/dev/zero of='{path}/.etcd-harness-probe' bs=8192 count=1 2>&1 | grep -o 'No space left on device'; rm -f '{path}/.etcd-harness-probe'"
            );
            let output = disk.shell.check("look for a full disk", &probe).await?;
            let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
            if !output.contains("No space left") {
                let seen = format!(
                    "a write to the volume of pod {} still succeeds ({words} bytes left)",
                    disk.pod
                );
                return Err(FaultError::NoEffect {
                    fault: self.fault.clone(),
                    waited_s: 0.0,
                    seen,
                });
            }
            evidence.add(
                format!("pod/{}", disk.pod),
                format!("bytes left and a write's answer: {words}"),
            );
        }
        Ok(evidence)
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        for disk in &self.disks {
            let name = format!("pod/{}", disk.pod);
            if deadman::heal(&disk.shell, &disk.trace).await? == Healed::ByTimer {
                healing.early(&name, BY_SWITCH);
            }
            let free = format!("df -B1 --output=avail '{}' | tail -n1", disk.path);
            healing.evidence.add(
                format!("{name} bytes free"),
                disk.shell.check("read free space", &free).await?.trim(),
            );
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for disk in &self.disks {
            let look = format!("ls -d '{}/{FILLER}' 2>/dev/null || :", disk.path);
            let found = disk.shell.check("look for residue", &look).await?;
            if !found.trim().is_empty() {
                return Ok(Some(format!(
                    "{} in node {}",
                    found.trim(),
                    disk.shell.container()
                )));
            }
            if let Some(left) = deadman::residue(&disk.shell, &disk.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_file_system_of_its_own_is_filled() {
        let var = "/var /dev/vda[/docker/volumes/x] 270582939648\n";
        assert_eq!(
            small_file_system(&format!("/var/x /dev/loop0 62914560\n{var}")),
            Ok(62_914_560)
        );
        assert!(small_file_system(&format!("{var}{var}")).is_err());
        assert!(small_file_system(&format!("/x /dev/sdb 999999999999\n{var}")).is_err());
        assert!(small_file_system("").is_err());
    }
}
