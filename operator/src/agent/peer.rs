//! PURE: an agent, as the API server has its pod. What the pod itself says is not asked: who answers at its address
//! could ask for less than there is.

use std::net::{IpAddr, SocketAddr};

use etcd_operator_api::labels;
use etcd_operator_api::names::ComponentName;
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::{
    Authorization, CONTAINER, OPERATOR_NAME_VARIABLE, PORT, TLS_DIRECTORY_VARIABLE,
};
use kube::ResourceExt;

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where.
    pub address: SocketAddr,
    /// Namespace of the pod.
    pub namespace: String,
    /// The component that it is a member of.
    pub component: ComponentName,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// How it wants to be shown that the token is known.
    pub takes: Authorization,
    /// By whose certificates it is called; in plain text when there are none.
    pub tls: Option<Issuer>,
}

/// Who issues the certificates of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Issuer {
    /// The operator, for itself too.
    Own,
    /// The user: the members' certificate is the only one.
    User,
}

impl Peer {
    /// The agent of a pod that has an address.
    #[must_use]
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let ip = pod.status.as_ref()?.pod_ip.as_ref()?;
        Some(Self::at(pod, ip.parse().ok()?))
    }

    /// The agent of a pod, at this address.
    #[must_use]
    pub(crate) fn at(pod: &Pod, ip: IpAddr) -> Self {
        let component = pod.labels().get(labels::WORKLOAD_INSTANCE);
        let takes = told(pod, Authorization::VARIABLE).and_then(|value| value.parse().ok());
        let takes: Authorization = takes.unwrap_or_default();
        // Agents that take no signed requests speak no TLS.
        let has_tls = takes == Authorization::Signed && told(pod, TLS_DIRECTORY_VARIABLE).is_some();
        let issuer = match told(pod, OPERATOR_NAME_VARIABLE) {
            Some(_) => Issuer::Own,
            None => Issuer::User,
        };
        Self {
            address: SocketAddr::new(ip, PORT),
            namespace: pod.namespace().unwrap_or_default(),
            component: ComponentName::existing(component.map_or("", String::as_str)),
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            takes,
            tls: has_tls.then_some(issuer),
        }
    }
}

/// What the agent's container was told. Pods of before say nothing of what they do not know.
fn told<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut agents = containers.filter(|container| container.name == CONTAINER);
    let variables = agents.next().and_then(|agent| agent.env.as_ref());
    let mut variables = variables.into_iter().flatten();
    let found = variables.find(|variable| variable.name == name)?;
    let value = found.value.as_deref()?.trim();
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(containers: &Value) -> Pod {
        let object = json!({
            "metadata": { "name": "c-etcd-0", "namespace": "n", "uid": "u0",
                "labels": { labels::WORKLOAD_INSTANCE: "c-etcd" } },
            "spec": { "containers": containers },
            "status": { "podIP": "10.0.0.1" },
        });
        serde_json::from_value(object).expect("a pod")
    }

    fn container(name: &str, variables: &[(&str, &str)]) -> Value {
        let env = variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }));
        json!({ "name": name, "env": env.collect::<Vec<_>>() })
    }

    const SIGNED: (&str, &str) = (Authorization::VARIABLE, "signed");

    #[test]
    fn only_the_agents_own_container_tells_that_it_takes_signed_requests() {
        let taken = |containers: Value| Peer::of(&pod(&containers)).map(|peer| peer.takes);
        let signed = Some(Authorization::Signed);
        let bearer = Some(Authorization::Bearer);
        let etcd = json!({ "name": "etcd" });
        let agent = container("kbagent", &[SIGNED]);
        assert_eq!(taken(json!([etcd, agent])), signed);
        for before in [
            json!([]),
            json!([etcd, { "name": "kbagent" }]),
            json!([container("etcd", &[SIGNED]), { "name": "kbagent" }]),
            json!([container("kbagent", &[(Authorization::VARIABLE, "bearer")])]),
        ] {
            assert_eq!(taken(before.clone()), bearer, "{before}");
        }
    }

    #[test]
    fn an_agent_is_called_with_tls_where_it_signs_too_and_by_its_issuer() {
        let called = |variables: &[(&str, &str)]| {
            let peer = Peer::of(&pod(&json!([container("kbagent", variables)])));
            peer.and_then(|peer| peer.tls)
        };
        let files = (TLS_DIRECTORY_VARIABLE, "/etc/pki/tls");
        let operator = (OPERATOR_NAME_VARIABLE, kbagent_protocol::OPERATOR_NAME);
        assert_eq!(called(&[SIGNED, files, operator]), Some(Issuer::Own));
        assert_eq!(called(&[SIGNED, files]), Some(Issuer::User));
        assert_eq!(called(&[files, operator]), None, "a pod of before");
        assert_eq!(called(&[SIGNED]), None);
    }

    #[test]
    fn a_pod_without_an_address_has_no_agent() {
        let mut pod = pod(&json!([]));
        let peer = Peer::of(&pod).expect("it has an address");
        assert_eq!((peer.pod.as_str(), peer.uid.as_str()), ("c-etcd-0", "u0"));
        assert_eq!(peer.component.as_str(), "c-etcd");
        pod.status = None;
        assert_eq!(Peer::of(&pod), None);
    }
}
