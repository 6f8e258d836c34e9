//! IO in: nodes of members that are ready and still tainted out of service.

use std::collections::BTreeMap;

use etcd_operator_api::names;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use super::desired::Desired;
use super::error::Error;
use super::observe::Sources;
use super::unreachable::HOSTNAME;
use super::volume_hosts::is_left_tainted;

impl Sources<'_> {
    /// Those nodes, by the pod that is there, or whose volume can be mounted there alone. While the watch knows no such
    /// node nothing is asked.
    pub(super) async fn left_tainted(
        &self,
        desired: &Desired,
        (pods, claims): (&[Pod], &[PersistentVolumeClaim]),
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut left = self.nodes.state();
        left.retain(|node| is_left_tainted(node));
        let mut found = BTreeMap::new();
        if left.is_empty() {
            return Ok(found);
        }
        for name in &desired.members {
            let pod = pods.iter().find(|pod| pod.name_any() == *name);
            let on = pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_ref());
            let node = match on {
                Some(on) => left.iter().find(|node| node.name_any() == *on),
                None => {
                    let hosts = self.volumes_are_on(desired, name, claims).await?;
                    left.iter().find(|node| {
                        let host = node.labels().get(HOSTNAME);
                        host.is_some_and(|host| hosts.contains(host))
                    })
                }
            };
            found.extend(node.map(|node| (name.clone(), node.name_any())));
        }
        Ok(found)
    }

    /// The host names that the volumes of a member are bound to.
    async fn volumes_are_on(
        &self,
        desired: &Desired,
        pod: &str,
        claims: &[PersistentVolumeClaim],
    ) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        for template in &desired.claims {
            let name = names::claim(&template.name, pod);
            if let Some(claim) = claims.iter().find(|claim| claim.name_any() == name) {
                all.extend(self.hosts(claim).await?.unwrap_or_default());
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};
    use crate::instanceset::plan::tests::corrected;
    use crate::instanceset::test_support::{FakeSources, volume_on};

    /// What is found when n1 has this taint and is ready or not, a-0 runs there, a-1 has its volume there and no node,
    /// and a-2 runs elsewhere; and how much was asked.
    async fn found(taint: &str, ready: &str) -> (BTreeMap<String, String>, usize) {
        let (desired, _) = corrected();
        let node = |name: &str, taints| {
            json!({ "metadata": { "name": name, "labels": { HOSTNAME: name } }, "spec": { "taints": taints },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let left = json!([{ "key": taint, "effect": "NoExecute" }]);
        let known = [node("n1", left), node("n2", json!([]))];
        let (context, asked) = server(move |line| match line {
            line if line.contains("/persistentvolumes/v") => (200, volume_on(HOSTNAME, "n1")),
            _ => failure(404, "NotFound", "there is none"),
        });
        let fake = FakeSources::new(context, &known);
        let pod = |name: &str, node: Option<&str>| -> Pod {
            let spec = json!({ "containers": [], "nodeName": node });
            let pod = json!({ "metadata": { "name": name }, "spec": spec });
            serde_json::from_value(pod).expect("a pod")
        };
        let pods = [
            pod("a-0", Some("n1")),
            pod("a-1", None),
            pod("a-2", Some("n2")),
        ];
        let claims = ["a-0", "a-1", "a-2"].map(|pod| -> PersistentVolumeClaim {
            let name = format!("data-{pod}");
            let claim = json!({ "metadata": { "name": name }, "spec": { "volumeName": "v" } });
            serde_json::from_value(claim).expect("a claim")
        });
        let sources = fake.sources();
        let found = sources.left_tainted(&desired, (&pods, &claims)).await;
        let asked = asked.lock().expect("no panic").len();
        (found.expect("an answer"), asked)
    }

    #[tokio::test]
    async fn a_ready_node_with_the_taint_is_found_by_the_pods_and_by_the_volumes_that_are_there() {
        let out_of_service = "node.kubernetes.io/out-of-service";
        let (there, asked) = found(out_of_service, "True").await;
        let expected = ["a-0", "a-1"].map(|pod| (pod.to_owned(), "n1".to_owned()));
        assert_eq!(there, BTreeMap::from(expected));
        assert_eq!(asked, 1, "the volume of the pod without a node");
        let nothing = (BTreeMap::new(), 0);
        assert_eq!(found(out_of_service, "Unknown").await, nothing);
        assert_eq!(found("example.com/other", "True").await, nothing);
    }
}
