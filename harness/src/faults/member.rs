//! A member: its pod, where that runs and what it is.

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::faults::FaultError;

/// A member: its pod, where it runs and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the pod, which is the member's name.
    pub pod: String,
    /// Number at the end of that name.
    pub ordinal: Option<u32>,
    /// UID of the pod.
    pub uid: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// `leader`, `follower` or `learner`, as far as anyone knows.
    pub role: Option<String>,
}

impl Member {
    /// The pod, as a member.
    pub fn of(pod: &Pod) -> Self {
        let name = pod.name_any();
        let status = pod.status.clone().unwrap_or_default();
        Self {
            ordinal: name
                .rsplit('-')
                .next()
                .and_then(|digits| digits.parse().ok()),
            uid: pod.uid().unwrap_or_default(),
            ip: status.pod_ip.filter(|ip| !ip.is_empty()),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            role: pod.labels().get(labels::ROLE).cloned(),
            pod: name,
        }
    }

    /// Its node.
    ///
    /// # Errors
    /// When it is not scheduled.
    pub fn node(&self) -> Result<&str, FaultError> {
        self.node.as_deref().ok_or_else(|| {
            FaultError::find(
                format!("the node of pod {}", self.pod),
                "it is not scheduled",
            )
        })
    }

    /// Its address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ip(&self) -> Result<&str, FaultError> {
        self.ip.as_deref().ok_or_else(|| {
            FaultError::find(
                format!("the address of pod {}", self.pod),
                "it has none yet",
            )
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `count` members `m-0`, `m-1`, ... of which one leads.
    pub(crate) fn members(count: u32, leader: u32) -> Vec<Member> {
        (0..count)
            .map(|ordinal| Member {
                pod: format!("m-{ordinal}"),
                ordinal: Some(ordinal),
                uid: format!("uid-{ordinal}"),
                ip: Some(format!("10.244.{ordinal}.5")),
                node: Some(format!("worker-{ordinal}")),
                role: Some(
                    if ordinal == leader {
                        "leader"
                    } else {
                        "follower"
                    }
                    .to_owned(),
                ),
            })
            .collect()
    }
}
