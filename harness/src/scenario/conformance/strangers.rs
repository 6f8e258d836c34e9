//! What users other than the operator may not do to members and to the objects between Cluster and pods.

use etcd_operator_api::{Component, InstanceSet, labels};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Error, Resource};
use serde_json::{Value, json};

use super::checklist::Checklist;
use crate::scenario::subject::Subject;

/// Each attempt is refused by the operator's admission policies, in their words; only tried, as a dry run.
pub(super) async fn check(subject: &Subject, list: &mut Checklist) {
    let set = Subject::leader_service();
    for (kind, api) in [
        ("Component", api::<Component>(subject)),
        ("InstanceSet", api::<InstanceSet>(subject)),
    ] {
        let unowned = json!([{ "op": "remove", "path": "/metadata/ownerReferences" }]);
        let unfinalized = json!([{ "op": "remove", "path": "/metadata/finalizers" }]);
        for (what, edit) in [("owner", unowned), ("finalizers", unfinalized)] {
            let edited = edit_of(&api, &set, edit).await;
            refused(
                list,
                &format!("taking away the {what} of a {kind}"),
                "operator's",
                edited,
            );
        }
        let status =
            Patch::Merge(json!({ "status": { "clusterID": "deadbeef", "phase": "Failed" } }));
        let written = api.patch_status(&set, &dry(), &status).await.map(drop);
        let what = format!("writing the status of a {kind}");
        refused(list, &what, "only the operator writes this status", written);
    }
    let made = made_by_hand(subject).await;
    refused(
        list,
        "making an InstanceSet by hand",
        "only the operator makes",
        made,
    );
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let posted = match pod() {
        Ok(pod) => pods.create(&dry_post(), &pod).await.map(drop),
        Err(error) => return list.wrong(format!("a pod of this check is no pod: {error}")),
    };
    refused(
        list,
        "making a pod with a member's labels",
        "only the operator",
        posted,
    );
    let role = Patch::Merge(json!({ "metadata": { "labels": { labels::ROLE: "nobody" } } }));
    let labelled = pods
        .patch_status(&format!("{set}-0"), &dry(), &role)
        .await
        .map(drop);
    refused(
        list,
        "a role by way of the status",
        "the operator labels this pod",
        labelled,
    );
}

fn refused(list: &mut Checklist, what: &str, words: &str, done: Result<(), Error>) {
    match done {
        Err(Error::Api(status)) => list.holds(
            format!("{what} is refused by the policy: {}", status.message),
            status.message.contains(words),
        ),
        Err(error) => list.wrong(format!("{what} could not be tried: {error}")),
        Ok(()) => list.wrong(format!("{what} is let through")),
    }
}

async fn edit_of(api: &Api<DynamicObject>, name: &str, edit: Value) -> Result<(), Error> {
    let edit = serde_json::from_value(edit).map_err(Error::SerdeError)?;
    api.patch(name, &dry(), &Patch::<()>::Json(edit))
        .await
        .map(drop)
}

async fn made_by_hand(subject: &Subject) -> Result<(), Error> {
    let spec = json!({ "replicas": 1, "selector": { "matchLabels": { "a": "b" } },
        "template": { "spec": { "containers": [{ "name": "c", "image": "x" }] } } });
    let set = json!({ "metadata": { "name": "by-hand" }, "spec": spec });
    let mut set: DynamicObject = serde_json::from_value(set).map_err(Error::SerdeError)?;
    set.types = Some(kube::api::TypeMeta::resource::<InstanceSet>());
    api::<InstanceSet>(subject)
        .create(&dry_post(), &set)
        .await
        .map(drop)
}

fn pod() -> Result<Pod, serde_json::Error> {
    let labels = json!({ labels::WORKLOAD_MANAGED_BY: labels::WORKLOAD_MANAGED_BY_VALUE, labels::ROLE: "leader" });
    let spec = json!({ "containers": [{ "name": "c", "image": "x" }] });
    serde_json::from_value(
        json!({ "metadata": { "name": "forged", "labels": labels }, "spec": spec }),
    )
}

fn api<K: Resource<DynamicType = ()>>(subject: &Subject) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource)
}

fn dry() -> PatchParams {
    PatchParams {
        dry_run: true,
        ..PatchParams::default()
    }
}

fn dry_post() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}
