//! Volumes that grow, as etcd itself sees them: the size of its file system, asked in the node.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::scenario::RunError;
use crate::scenario::subject::{Seat, Subject};

/// The part of a volume that its file system leaves to files, at least: the rest is its own.
const LEAST: f64 = 0.85;

/// Bytes of the file system of each pod's member.
pub(super) async fn look(
    cluster: &Cluster,
    subject: &Subject,
) -> Result<BTreeMap<String, u64>, RunError> {
    let mut all = BTreeMap::new();
    for seat in subject.seats().await? {
        let shell = cluster.shell(&seat.node)?;
        let told = shell.check("measure a file system", &script(&seat)).await;
        // That a node does not answer says nothing of the volume.
        let told = told.map_err(|error| RunError::Unready(error.to_string()))?;
        let bytes = parse(&told).ok_or_else(|| {
            RunError::Wait(format!("the file system of pod {}: {told:?}", seat.pod))
        })?;
        all.insert(seat.pod, bytes);
    }
    Ok(all)
}

/// Which of so many members has no file system of this size, if any.
pub(super) fn lacking(
    found: &BTreeMap<String, u64>,
    members: u32,
    mebibytes: u32,
) -> Option<String> {
    if found.len() != members as usize {
        return Some(format!(
            "{} of {members} file systems were seen",
            found.len()
        ));
    }
    let volume = f64::from(mebibytes) * 1024.0 * 1024.0;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let grown = |bytes: u64| (volume * LEAST..=volume).contains(&(bytes as f64));
    let mut found = found.iter();
    let (pod, bytes) = found.find(|(_, bytes)| !grown(**bytes))?;
    Some(format!(
        "the file system of pod {pod} has {bytes} bytes, and its volume {mebibytes}Mi"
    ))
}

/// Block size and blocks of the file system at etcd's data, in the mount namespace of the pod's etcd. Control groups
/// have the pod's UID in their names, with dashes or underscores.
fn script(seat: &Seat) -> String {
    let uid = seat.uid.replace('-', "[-_]");
    format!(
        "for p in $(grep -ls 'pod{uid}' /proc/[0-9]*/cgroup | cut -d/ -f3); do\n\
         [ \"$(cat /proc/$p/comm 2>/dev/null)\" = etcd ] || continue\n\
         stat -f -c '%S %b' /proc/$p/root/var/lib/etcd/data && exit 0\ndone\n\
         echo 'no etcd of this pod' >&2; exit 1\n"
    )
}

fn parse(told: &str) -> Option<u64> {
    let (size, blocks) = told.trim().split_once(' ')?;
    size.parse::<u64>().ok()?.checked_mul(blocks.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn every_member_must_have_grown() {
        let grown = BTreeMap::from([("a".to_owned(), 500 << 20), ("b".to_owned(), 490 << 20)]);
        assert_eq!(lacking(&grown, 2, 512), None);
        let told = lacking(&grown, 3, 512).expect("one was not seen");
        assert!(told.contains("2 of 3"), "{told}");
        let half = BTreeMap::from([("a".to_owned(), 500 << 20), ("b".to_owned(), 240 << 20)]);
        let told = lacking(&half, 2, 512).expect("b has not grown");
        assert!(told.contains("pod b has 251658240 bytes"), "{told}");
        let more = BTreeMap::from([("a".to_owned(), 512 << 20), ("b".to_owned(), 8 << 30)]);
        let told = lacking(&more, 2, 512).expect("b has grown too far");
        assert!(told.contains("pod b has 8589934592 bytes"), "{told}");
    }

    #[test]
    fn the_size_is_that_of_all_blocks() {
        assert_eq!(parse("1024 500\n"), Some(512_000));
        for bad in ["", "1024", "x 5", "5 -1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_script_is_valid_shell_and_finds_both_forms_of_a_name() {
        let seat = Seat {
            pod: "a".to_owned(),
            uid: "1b-2c".to_owned(),
            node: "n".to_owned(),
        };
        let script = script(&seat);
        assert_is_shell(&script);
        assert!(script.contains("pod1b[-_]2c"));
    }
}
