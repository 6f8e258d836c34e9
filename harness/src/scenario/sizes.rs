//! How many members a run has, step by step. Pure.

use std::collections::BTreeSet;

use crate::scenario::operation::Operation;
use crate::scenario::subject::Subject;

/// Every size that the cluster has in the course of the operations.
pub(super) fn sizes(members: u32, operations: &[Operation]) -> Vec<u32> {
    let mut sizes = vec![members];
    for operation in operations {
        let last = sizes.last().copied().unwrap_or(members);
        sizes.push(operation.members_after(last));
    }
    sizes
}

/// Pods of the members that a scaling takes away.
pub(super) fn leaving(subject: &Subject, operations: &[Operation]) -> BTreeSet<String> {
    let sizes = sizes(subject.members, operations);
    let steps = sizes.windows(2).filter(|step| step[1] < step[0]);
    let pods = steps.flat_map(|step| {
        let all = subject.with_members(step[0]).pod_names();
        all.into_iter().skip(step[1] as usize)
    });
    pods.collect()
}
