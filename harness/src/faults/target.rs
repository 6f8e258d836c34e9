//! The targets of a fault, as data: what a run excuses is looked up here, never parsed out of a text.

use std::fmt;

/// One thing that a fault has hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A member of the etcd cluster.
    Member {
        /// Its pod.
        pod: String,
        /// Where it ran, when the fault depends on that.
        node: Option<String>,
        /// What of it, e.g. `container etcd`; empty for the pod as a whole.
        part: String,
    },
    /// Another pod: the operator's, a DNS server's.
    Pod {
        /// Its name.
        pod: String,
        /// Where it ran.
        node: String,
        /// What of it.
        part: String,
    },
    /// Members that lost the others.
    Side {
        /// Those whose nodes hold the rules.
        near: Vec<String>,
        /// The others.
        far: Vec<String>,
    },
    /// A node as a whole, and with it all that runs there.
    Node(String),
    /// A process of a node itself.
    Process {
        /// Its name.
        name: String,
        /// The node.
        node: String,
    },
    /// An object that a user writes. No member is hit by that alone.
    Object {
        /// Kind and name.
        what: String,
    },
}

impl Target {
    /// A member as a whole, wherever it runs.
    pub(crate) fn member(pod: &str) -> Self {
        Self::Member {
            pod: pod.to_owned(),
            node: None,
            part: String::new(),
        }
    }

    /// True when a member of this pod on this node is hit.
    pub fn hits(&self, member: &str, on: &str) -> bool {
        match self {
            Self::Member { pod, .. } => pod == member,
            Self::Side { near, far } => near.iter().chain(far).any(|pod| pod == member),
            Self::Node(node) => node == on,
            Self::Pod { .. } | Self::Process { .. } | Self::Object { .. } => false,
        }
    }
}

/// Targets in one line.
pub fn in_words(targets: &[Target]) -> String {
    let words: Vec<String> = targets.iter().map(ToString::to_string).collect();
    words.join(", ")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &str| match part {
            "" => String::new(),
            part => format!(" {part}"),
        };
        match self {
            Self::Member {
                pod,
                node,
                part: of,
            } => {
                write!(f, "pod/{pod}{}", part(of))?;
                node.iter()
                    .try_for_each(|node| write!(f, " on node {node}"))
            }
            Self::Pod {
                pod,
                node,
                part: of,
            } => write!(f, "pod/{pod}{} on node {node}", part(of)),
            Self::Side { near, far } => write!(f, "{} from {}", near.join("+"), far.join("+")),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Process { name, node } => write!(f, "{name} on node {node}"),
            Self::Object { what } => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_words_and_is_never_read_from_them() {
        let killed = Target::Member {
            pod: "q-etcd-1".into(),
            node: Some("worker2".into()),
            part: "container etcd".into(),
        };
        assert_eq!(
            killed.to_string(),
            "pod/q-etcd-1 container etcd on node worker2"
        );
        assert!(killed.hits("q-etcd-1", "worker9"));
        assert!(!killed.hits("q-etcd-10", "worker2"), "only its pod is hit");
    }

    #[test]
    fn a_node_hits_what_runs_on_it_and_a_process_of_it_hits_no_member() {
        let node = Target::Node("worker2".into());
        assert!(node.hits("q-etcd-1", "worker2") && !node.hits("q-etcd-1", "worker"));
        let process = Target::Process {
            name: "kube-apiserver".into(),
            node: "worker2".into(),
        };
        assert!(!process.hits("q-etcd-1", "worker2"));
        let operator = Target::Pod {
            pod: "q-etcd-1".into(),
            node: "worker2".into(),
            part: String::new(),
        };
        assert!(!operator.hits("q-etcd-1", "worker2"), "another namespace's");
    }
}
