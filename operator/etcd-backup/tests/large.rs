//! A database of 2 GiB: backed up, verified and restored in memory that does not grow with it. Minutes, and 12 GiB of
//! disk. Needs `ETCD_BIN`, with `etcdutl` beside it; run with `--test large -- --ignored`,
//! a smaller one with `LARGE_MIB`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use bench::{Etcd, restoration, save};
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::save as make;

const VALUE: usize = 1 << 20;
/// Most that this process may grow by, in KiB: three parts of 8 MiB, and buffers.
const GROWS: u64 = 128 << 10;

/// Bytes of values in the database: 2 GiB, or `LARGE_MIB`.
fn database() -> usize {
    let wanted = std::env::var("LARGE_MIB").ok();
    let mib = wanted.map_or(2048, |wanted| wanted.parse().unwrap());
    mib << 20
}

/// The most memory that this process has had since `forget`, in KiB.
fn most() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

fn forget() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[tokio::test]
#[ignore = "needs ETCD_BIN, minutes, and 12 GiB of disk"]
async fn a_database_of_2_gib_is_backed_up_and_restored_in_bounded_memory() {
    let mut source =
        Etcd::start_with(&["--quota-backend-bytes=8589934592", "--unsafe-no-fsync"]).await;
    for number in 0..database() / VALUE {
        let value = vec![b'a' + (number % 26) as u8; VALUE];
        let key = format!("large-{number}");
        source.client.put(key, value, None).await.unwrap();
    }
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    forget();
    let before = most();
    let made = make(&repository, &source.member, &save(scratch.path(), "a")).await;
    let made = made.unwrap();
    assert!(made.verification.verified && made.bytes >= database() as u64);
    let backup = most().saturating_sub(before);
    let volume = tempfile::tempdir().unwrap();
    let wanted = Restore {
        sha256: made.sha256.clone(),
        ..restoration(volume.path())
    };
    restore(&repository, &wanted).await.unwrap();
    let all = most().saturating_sub(before);
    println!(
        "{} bytes; {backup} KiB for the backup, {all} KiB with the restore",
        made.bytes
    );
    assert!(all < GROWS, "{backup} and {all} KiB");
}
