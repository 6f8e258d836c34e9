//! Known bugs of etcd that its ordinary binaries show, each as a plan: traffic, faults, the checks that find it, a
//! version that has it and one that does not. They measure the harness: what it no longer finds, it has lost.
//!
//! A bug's plan stands in the file of its family, and in [`all`].

mod bug;
mod crashes;
mod differing;
mod versions;
mod watches;

pub use bug::Bug;

/// All that there is a plan for, as `harness bug` lists them.
pub fn all() -> Vec<Bug> {
    vec![
        differing::compacted_txn(),
        watches::early_progress(),
        watches::watch_after_snapshot(),
        watches::future_watch(),
        watches::negative_watch(),
        watches::lost_delete(),
        crashes::forgotten_delete(),
        crashes::skipped_entry(),
        differing::stale_read(),
        crashes::read_without_client(),
        differing::forgotten_user(),
        crashes::early_answer(),
        crashes::killed_in_defrag(),
        versions::rolled_back(),
        versions::unpromoted(),
        crashes::no_fsync(),
        watches::starved_watch(),
        crashes::lower_revision(),
    ]
}

/// The bug with this name.
pub fn find(name: &str) -> Option<Bug> {
    all().into_iter().find(|bug| bug.name == name)
}

/// A bug's name as people write it.
pub fn title(name: &str) -> String {
    match name.parse::<u32>() {
        Ok(number) => format!("#{number}"),
        Err(_) => name.to_owned(),
    }
}

/// Where a bug is described, as the documents link it.
pub(super) fn link(name: &str) -> String {
    match name.parse::<u32>() {
        Ok(number) => format!("https://github.com/etcd-io/etcd/issues/{number}"),
        Err(_) => "#what-is-no-bug".to_owned(),
    }
}

#[cfg(test)]
mod tests;
