//! How many clients the agent takes: no more than it has descriptors and memory for. An agent that is killed by its
//! memory limit refuses all clients of its member until the kubelet has restarted it.

use std::fs;
use std::path::Path;

use http_limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pass::BUFFER;
use super::sockets::SOCKET_BUFFER;

/// Connections at a time, of all clients. Each takes two sockets, two buffers and two descriptors. Two thirds may come
/// from one address: all clients of a node do where its proxy hides theirs.
const CONNECTIONS: usize = 1536;
/// Descriptors that no client takes: the agent's own questions and its callers need them.
const KEPT: u64 = 256;
/// Bytes that no client takes: the agent itself, its own questions and its callers.
const BASE: u64 = 24 << 20;
/// Bytes of the rest of a connection: its task, and what the kernel keeps of two sockets beside their buffers.
const REST: u64 = 16 << 10;
/// Bytes that a connection takes at most: of two sockets the buffers of both directions, each of which the kernel lets
/// grow to twice what was asked for, and what is copied between them.
const PER_CONNECTION: u64 = 2 * 2 * 2 * SOCKET_BUFFER as u64 + 2 * BUFFER as u64 + REST;
/// Where the kernel says what the container may have.
const CONTROL_GROUP: &str = "/sys/fs/cgroup";

/// What clients may cost this agent.
pub(super) fn own() -> Limits {
    let (descriptors, memory) = (descriptors(), memory(Path::new(CONTROL_GROUP)));
    let limits = limits(descriptors, memory);
    let connections = limits.connections;
    if connections < CONNECTIONS {
        tracing::info!(
            connections,
            descriptors,
            memory,
            "open files or memory of the container bound the clients"
        );
    }
    limits
}

/// As many descriptors as the agent may have; `None` is any number. A container may begin with far fewer than that.
fn descriptors() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: before.maximum,
        ..before
    };
    match setrlimit(Resource::Nofile, all) {
        Ok(()) => all.current,
        Err(error) => {
            tracing::warn!(%error, "the agent has no more descriptors than it began with");
            before.current
        }
    }
}

/// The container's limit of memory, of either version of control groups; `None` without one.
fn memory(root: &Path) -> Option<u64> {
    let limits = ["memory.max", "memory/memory.limit_in_bytes"];
    let told = limits.map(|limit| fs::read_to_string(root.join(limit)).ok());
    // "max" is none. The first version says so by a number that no machine has.
    told.into_iter().flatten().next()?.trim().parse().ok()
}

/// Pure: what clients may cost an agent with so many descriptors and so much memory.
fn limits(descriptors: Option<u64>, memory: Option<u64>) -> Limits {
    let pairs = descriptors.map_or(u64::MAX, |all| all.saturating_sub(KEPT) / 2);
    let room = memory.map_or(u64::MAX, |all| all.saturating_sub(BASE) / PER_CONNECTION);
    let most = usize::try_from(pairs.min(room)).unwrap_or(usize::MAX);
    let connections = most.clamp(1, CONNECTIONS);
    Limits {
        connections,
        per_address: (connections * 2 / 3).max(1),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn clients_have_no_more_connections_than_there_are_descriptors_and_memory_for() {
        for (descriptors, memory, expected) in [
            (None, None, (1536, 1024)),
            (Some(1 << 20), None, (1536, 1024)),
            (Some(1024), None, (384, 256)),
            (Some(64), None, (1, 1)),
            // As shipped, and as it was before.
            (None, Some(264 * MIB), (1536, 1024)),
            (None, Some(64 * MIB), (256, 170)),
            (None, Some(16 * MIB), (1, 1)),
            (None, Some(0x7fff_ffff_ffff_f000), (1536, 1024)),
            (Some(1024), Some(64 * MIB), (256, 170)),
            (Some(512), Some(64 * MIB), (128, 85)),
        ] {
            let limits = limits(descriptors, memory);
            let found = (limits.connections, limits.per_address);
            assert_eq!(found, expected, "{descriptors:?} {memory:?}");
        }
    }

    #[test]
    fn a_limit_of_memory_is_read_from_either_version_of_control_groups() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(memory(root.path()), None, "none is told");
        let first = root.path().join("memory");
        fs::create_dir(&first).expect("a directory");
        fs::write(first.join("memory.limit_in_bytes"), "67108864\n").expect("write");
        assert_eq!(memory(root.path()), Some(64 * MIB));
        let second = root.path().join("memory.max");
        for (text, wanted) in [("276824064\n", Some(264 * MIB)), ("max\n", None)] {
            fs::write(&second, text).expect("write");
            assert_eq!(memory(root.path()), wanted, "{text}");
        }
    }

    #[test]
    fn the_agent_takes_all_descriptors_that_it_may_have() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(descriptors(), most);
        assert_eq!(getrlimit(Resource::Nofile).current, most);
    }
}
