//! IO in: the pod whose owner has it replaced because its node does not report.

use std::collections::BTreeMap;

use etcd_operator_api::names;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::desired::Desired;
use super::error::Error;
use super::observe::Sources;
use super::observed::{NodeSeen, PodSeen};
use super::unreachable::{self, Candidate, GivenUp};
use super::volume_hosts::hosts;
use crate::client::server_time;

impl Sources<'_> {
    /// The pod that is given up, when nodes have not been ready for `after` seconds; `now` is this process's time.
    pub(super) async fn given_up(
        &self,
        desired: &Desired,
        (claims, pods): (&[PersistentVolumeClaim], &BTreeMap<String, PodSeen>),
        (after, now): (i64, Timestamp),
    ) -> Result<Option<GivenUp>, Error> {
        let nodes = self.nodes.state();
        let late = unreachable::late(&nodes, after, now);
        if late.is_empty() {
            return Ok(None);
        }
        let mut candidates = Vec::new();
        for pod in &desired.members {
            let mut of_pod = Vec::new();
            for template in &desired.claims {
                let name = names::claim(&template.name, pod);
                if let Some(claim) = claims.iter().find(|claim| claim.name_any() == name) {
                    of_pod.push((name, self.hosts(claim).await?));
                }
            }
            let alive = |pod: &PodSeen| pod.heard || !pod.owned || pod.node == NodeSeen::Ready;
            candidates.push(Candidate {
                pod: pod.clone(),
                claims: of_pod,
                alive: pods.get(pod).is_some_and(alive),
            });
        }
        if unreachable::choose(&candidates, &late, after).is_none() {
            return Ok(None);
        }
        // A clock that is ahead gives up no data: the API server's has a say.
        let told = server_time(self.client).await;
        let told = told.map_err(|source| Error::read("the API server's time", source))?;
        let now = told.map_or(now, |told| told.min(now));
        let late = unreachable::late(&nodes, after, now);
        Ok(unreachable::choose(&candidates, &late, after))
    }

    /// The nodes that the volume of a claim can be mounted on; `None` for any.
    pub(super) async fn hosts(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> Result<Option<Vec<String>>, Error> {
        let spec = claim.spec.as_ref();
        let Some(name) = spec.and_then(|spec| spec.volume_name.as_deref()) else {
            return Ok(None);
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get_opt(name).await;
        let volume = volume.map_err(|source| Error::read("a volume", source))?;
        Ok(volume.as_ref().and_then(hosts))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};
    use crate::instanceset::plan::tests::corrected;
    use crate::instanceset::test_support::{FakeSources, volume_on};
    use crate::instanceset::unreachable::HOSTNAME;

    /// Whether a-0 is given up 30 minutes after its node, when this process has it 150 minutes ago that the node was
    /// ready, and the API server has this date.
    async fn is_given_up(date: Option<&'static str>) -> bool {
        let (desired, _) = corrected();
        let volume = volume_on(HOSTNAME, "n1");
        let (context, _asked) = server(move |line| match line {
            line if line.contains("/persistentvolumes/v") => (200, volume.clone()),
            line if line.starts_with("GET /version") => (200, json!({ "date": date })),
            _ => failure(404, "NotFound", "there is none"),
        });
        let node = json!({ "metadata": { "name": "n1", "labels": { HOSTNAME: "n1" } }, "status": { "conditions": [
            { "type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:10:00Z" }] } });
        let fake = FakeSources::new(context, &[node]);
        let claim = json!({ "metadata": { "name": "data-a-0" }, "spec": { "volumeName": "v" } });
        let claims: [PersistentVolumeClaim; 1] = [serde_json::from_value(claim).expect("a claim")];
        let (pods, now) = (BTreeMap::new(), Timestamp::from_second(160 * 60));
        let limit = (30 * 60, now.expect("in range"));
        let found = fake
            .sources()
            .given_up(&desired, (&claims, &pods), limit)
            .await;
        let found = found.expect("an answer");
        found.is_some_and(|found| found.pod == "a-0")
    }

    #[tokio::test]
    async fn no_member_is_given_up_by_the_operators_clock_alone() {
        assert!(!is_given_up(Some("Thu, 01 Jan 1970 00:39:00 GMT")).await);
        assert!(is_given_up(Some("Thu, 01 Jan 1970 00:41:00 GMT")).await);
        assert!(is_given_up(None).await, "no more is known");
    }
}
