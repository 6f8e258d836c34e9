//! IO in: whether the OpsRequest by which a quorum is to be given up is still there (D11).

use etcd_operator_api::recovery::RecoveryWish;
use etcd_operator_api::{OpsRequest, OpsType};
use kube::{Api, Client, ResourceExt};

use super::desired::Desired;
use super::error::Error;

/// Drops what an annotation asks for when its OpsRequest was deleted or has ended: what is left behind is no approval.
/// Nor is one that cannot be understood: the members are looked after meanwhile.
///
/// # Errors
/// When the API server does not answer: it is not known then, and nothing is decided (M5).
pub(super) async fn confirm(client: &Client, desired: &mut Desired) -> Result<(), Error> {
    let Some(wish) = &desired.recovery else {
        return Ok(());
    };
    let requests: Api<OpsRequest> = Api::namespaced(client.clone(), &desired.namespace);
    let found = match requests.get_opt(&wish.request).await {
        Err(kube::Error::SerdeError(error)) => {
            tracing::warn!(request = wish.request, %error, "the OpsRequest of a recovery approves of nothing");
            None
        }
        found => found.map_err(|source| Error::read("the OpsRequest of a recovery", source))?,
    };
    if !found.is_some_and(|request| approves(&request, wish, desired.name.as_str())) {
        desired.recovery = None;
    }
    Ok(())
}

/// True for the very request that asked for it, while it is under way.
fn approves(request: &OpsRequest, wish: &RecoveryWish, set: &str) -> bool {
    let spec = &request.spec;
    let phase = request.status.as_ref().and_then(|status| status.phase);
    let lives = request.metadata.deletion_timestamp.is_none()
        && !phase.is_some_and(|phase| phase.is_ended());
    let mut asked = spec.recover_quorum.iter();
    lives
        && spec.kind == OpsType::RecoverQuorum
        && request.uid().as_ref() == Some(&wish.token)
        && asked.any(|asked| {
            format!("{}-{}", spec.cluster_name, asked.component_name) == set
                && asked.dry_run == wish.dry_run
                && asked.accept_data_loss != wish.dry_run
                && asked.named_survivor() == wish.survivor.as_deref()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instanceset::plan::tests::corrected;

    fn request(spec: &str, rest: &str) -> OpsRequest {
        let yaml = format!(
            "metadata: {{name: r, uid: u{rest}}}\nspec: {{clusterName: db, type: RecoverQuorum, recoverQuorum: [{{{spec}}}]}}"
        );
        serde_saphyr::from_str(&yaml).expect("a request")
    }

    fn wish(token: &str, survivor: Option<&str>, dry_run: bool) -> RecoveryWish {
        RecoveryWish {
            token: token.to_owned(),
            request: "r".to_owned(),
            survivor: survivor.map(str::to_owned),
            dry_run,
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_understood_approves_of_nothing_and_stops_nothing() {
        let confirmed = async |answer: (u16, serde_json::Value)| {
            let (context, _) = crate::fake_api::server(move |_| answer.clone());
            let mut desired = corrected().0;
            desired.recovery = Some(wish("u", None, false));
            let confirmed = confirm(&context.client, &mut desired).await;
            confirmed.map(|()| desired.recovery.is_some())
        };
        let odd = serde_json::json!({ "metadata": { "name": "r", "uid": "u" }, "spec": { "clusterName": 5 } });
        assert!(!confirmed((200, odd)).await.expect("it is no failure"));
        let busy = crate::fake_api::failure(500, "InternalError", "oh");
        confirmed(busy).await.expect_err("nothing is known");
    }

    #[test]
    fn only_the_request_that_asked_and_is_under_way_approves() {
        let asked = "componentName: etcd, acceptDataLoss: true";
        let good = wish("u", None, false);
        assert!(approves(&request(asked, ""), &good, "db-etcd"));
        let deleted = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
        assert!(!approves(&request(asked, deleted), &good, "db-etcd"));
        assert!(!approves(&request(asked, ""), &good, "other-etcd"));
        assert!(!approves(
            &request(asked, ""),
            &wish("v", None, false),
            "db-etcd"
        ));
        let other = wish("u", Some("db-etcd-1"), false);
        assert!(!approves(&request(asked, ""), &other, "db-etcd"));
        // A dry run approves of nothing but a look.
        let look = request("componentName: etcd, dryRun: true", "");
        assert!(!approves(&look, &good, "db-etcd"));
        assert!(approves(&look, &wish("u", None, true), "db-etcd"));
        let mut ended = request(asked, "");
        ended.status.get_or_insert_default().phase = Some(etcd_operator_api::OpsPhase::Aborted);
        assert!(!approves(&ended, &good, "db-etcd"));
    }
}
