//! IO in: claims of members that are listed no more, because a client took the labels off by which they are.
//!
//! Without its claim a member would count as one that has lost its data, and be removed. The planner gives the labels
//! back.

use etcd_operator_api::names;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::Api;

use super::desired::Desired;
use super::error::Error;
use super::observe::{Sources, is_of};

impl Sources<'_> {
    /// Those that are ours. They are asked for by name, and only where a member has no claim.
    pub(super) async fn unlabelled(
        &self,
        desired: &Desired,
        listed: &[PersistentVolumeClaim],
    ) -> Result<Vec<PersistentVolumeClaim>, Error> {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &desired.namespace);
        let mut found = Vec::new();
        for name in missing(desired, listed) {
            let claim = claims.get_opt(&name).await;
            let claim = claim.map_err(|source| Error::read("a claim", source))?;
            let ours = |claim: &PersistentVolumeClaim| {
                is_of(&desired.owner.uid, &desired.cluster_uid, claim)
            };
            found.extend(claim.filter(ours));
        }
        Ok(found)
    }
}

/// Names of the claims that the members on record have, without those that were listed.
fn missing(desired: &Desired, listed: &[PersistentVolumeClaim]) -> Vec<String> {
    let mut all = Vec::new();
    for member in &desired.recorded.members {
        let pod = member.pod_name.as_str();
        if desired.name.ordinal(pod).is_none() {
            continue;
        }
        let templates = desired.claims.iter();
        all.extend(templates.map(|template| names::claim(&template.name, pod)));
    }
    all.retain(|name| listed.iter().all(|claim| claim.name_any() != *name));
    all
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::labels;
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{failure, server};
    use crate::instanceset::plan::tests::corrected;
    use crate::instanceset::test_support::FakeSources;

    fn claim(pod: &str, home: &str) -> Value {
        json!({ "metadata": { "name": format!("data-{pod}"), "annotations": { labels::CLUSTER_UID: home } } })
    }

    /// What is found and asked for when these are listed and those are there.
    async fn found(listed: &[Value], there: Vec<Value>) -> (Vec<String>, Vec<String>) {
        let (desired, _) = corrected();
        let (context, asked) = server(move |line| {
            let named = |claim: &&Value| {
                let name = claim["metadata"]["name"].as_str().unwrap_or_default();
                line.contains(&format!("/persistentvolumeclaims/{name}"))
            };
            match there.iter().find(named) {
                Some(claim) => (200, claim.clone()),
                None => failure(404, "NotFound", "there is none"),
            }
        });
        let fake = FakeSources::new(context, &[]);
        let listed = listed.iter().cloned();
        let listed: Vec<_> = listed
            .map(|claim| serde_json::from_value(claim).expect("a claim"))
            .collect();
        let found = fake.sources().unlabelled(&desired, &listed).await;
        let found = found.expect("an answer");
        let asked = asked.lock().expect("no panic");
        (
            found.iter().map(ResourceExt::name_any).collect(),
            asked.iter().map(|(line, _)| line.clone()).collect(),
        )
    }

    #[tokio::test]
    async fn a_member_s_claim_without_labels_is_found_by_its_name_and_another_s_is_not() {
        let home = corrected().0.cluster_uid;
        let of = |pod: &str| claim(pod, &home);
        let (seen, asked) = found(&[of("a-0"), of("a-1"), of("a-2")], vec![]).await;
        assert!(seen.is_empty() && asked.is_empty(), "{asked:?}");
        let there = vec![of("a-1"), claim("a-2", "an earlier one")];
        let (seen, asked) = found(&[of("a-0")], there).await;
        assert_eq!(seen, ["data-a-1"]);
        assert_eq!(asked.len(), 2, "{asked:?}");
        let (seen, _) = found(&[of("a-0"), of("a-1")], vec![]).await;
        assert!(seen.is_empty(), "{seen:?}");
    }
}
