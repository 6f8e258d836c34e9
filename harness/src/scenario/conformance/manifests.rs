//! KubeBlocks' own manifests, applied unchanged: every Cluster in the folder's `cluster.yaml` comes up, and what the
//! other files ask of it is done, or refused where it would leave an even number of members, or where volumes cannot
//! grow. Where the folder has `cluster-with-lb.yaml`, its services get addresses.

use std::path::Path;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::Value;

use super::checklist::Checklist;
use super::outcome::{found, not_there};
use super::requests;
use crate::cluster::addresses::{Addresses, Scope};
use crate::scenario::Lab;
use crate::scenario::outcome::Found;
use crate::scenario::subject::{MANAGER, Subject, cluster_resource};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// How long is waited until a Cluster that asks for half a core a member is up.
const UP: Duration = timeouts::patient(Duration::from_secs(120));

/// The file of the folder that makes a cluster.
const FILE: &str = "cluster.yaml";
/// The file that makes one with load balancers; a folder may be without.
const BALANCED: &str = "cluster-with-lb.yaml";
/// Those that ask something of the first.
const REQUESTS: [&str; 5] = [
    "switchover.yaml",
    "restart.yaml",
    "scale-out.yaml",
    "scale-in.yaml",
    "volumeexpand.yaml",
];

pub(crate) async fn manifests(lab: &Lab, subject: &Subject) -> Found {
    let Some(folder) = &lab.manifests else {
        return not_there(
            "manifests",
            "no folder of manifests was given: ETCD_HARNESS_KUBEBLOCKS_EXAMPLES",
        );
    };
    let clusters = match read(&folder.join(FILE), "Cluster") {
        Ok(clusters) if !clusters.is_empty() => clusters,
        Ok(_) => return not_there("manifests", "no Cluster in the manifests"),
        Err(error) => return not_there("manifests", &error),
    };
    let mut list = Checklist::new("manifests", lab.live.clone());
    let grows = grows(subject).await;
    for cluster in clusters {
        let name = cluster["metadata"]["name"].to_string();
        let outcome = apply(subject, &cluster).await;
        let up = list.came_about(format!("Cluster {name} comes up"), outcome);
        if let Some(place) = up {
            for file in REQUESTS.map(|file| folder.join(file)) {
                ask(&place, (&cluster, grows), &file, &mut list).await;
            }
            let cleared = clean_up(subject, &place).await;
            list.came_about(format!("Cluster {name} goes"), cleared);
        }
    }
    Box::pin(balanced(lab, subject, &folder.join(BALANCED), &mut list)).await;
    found(list)
}

/// The Clusters of the file with load balancers come up, and each of their services gets an address.
async fn balanced(lab: &Lab, subject: &Subject, file: &Path, list: &mut Checklist) {
    if !file.exists() {
        return;
    }
    let clusters = read(file, "Cluster");
    let Some(clusters) = list.came_about("the file with load balancers is read", clusters) else {
        return;
    };
    let live = lab.live.clone();
    let namespaces = clusters.iter().map(|one| namespace_of(one, subject));
    let scope = Scope::Namespaces(namespaces.map(str::to_owned).collect());
    let serving = Addresses::serve(&lab.cluster, scope, move |text| live.say(text)).await;
    let serving = serving.map_err(|error| error.to_string());
    let Some(serving) = list.came_about("addresses are given", serving) else {
        return;
    };
    for cluster in clusters {
        let name = cluster["metadata"]["name"].to_string();
        let up = apply(subject, &cluster).await;
        let Some(place) = list.came_about(format!("Cluster {name} comes up"), up) else {
            continue;
        };
        let given = addressed(&place).await;
        list.came_about(format!("services of {name} get addresses"), given);
        let cleared = clean_up(subject, &place).await;
        list.came_about(format!("Cluster {name} goes"), cleared);
    }
    let ended = serving.end().await.map_err(|error| error.to_string());
    list.came_about("addresses are taken back", ended);
}

/// Every service of type LoadBalancer that belongs to the Cluster has an address, and there is one.
async fn addressed(place: &Place) -> Result<(), String> {
    let services: Api<Service> = Api::namespaced(place.api.clone().into_client(), &place.namespace);
    let of = ListParams::default().labels(&format!("{}={}", labels::INSTANCE, place.name));
    wait_until(
        "addresses of services",
        timeouts::patient(timeouts::EFFECT_SLOW),
        async || match services.list(&of).await {
            Ok(listed) => match unaddressed(&listed.items) {
                Some(lacks) => Poll::NotYet::<(), String>(lacks),
                None => Poll::Ready(()),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        },
    )
    .await
    .map_err(|error| error.to_string())
}

/// The first service of type LoadBalancer without an address.
fn unaddressed(services: &[Service]) -> Option<String> {
    let balanced = |service: &&Service| {
        let spec = service.spec.as_ref();
        spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
    };
    let has = |service: &Service| {
        let status = service.status.as_ref();
        let balancer = status.and_then(|status| status.load_balancer.as_ref());
        balancer
            .is_some_and(|balancer| balancer.ingress.as_ref().is_some_and(|all| !all.is_empty()))
    };
    let all: Vec<&Service> = services.iter().filter(balanced).collect();
    if all.is_empty() {
        return Some("there is no service of type LoadBalancer".to_owned());
    }
    let lacks = all.into_iter().find(|service| !has(service))?;
    let name = lacks.metadata.name.clone().unwrap_or_default();
    Some(format!("service {name} has none"))
}

/// Whether volumes of the Kubernetes cluster's default class grow.
async fn grows(subject: &Subject) -> bool {
    let classes: Api<StorageClass> = Api::all(subject.kube.clone());
    let listed = classes.list(&ListParams::default()).await;
    let listed = listed.map(|listed| listed.items).unwrap_or_default();
    let default = |class: &&StorageClass| {
        let mark = class
            .annotations()
            .get("storageclass.kubernetes.io/is-default-class");
        mark.is_some_and(|mark| mark == "true")
    };
    let class = listed.iter().find(default);
    class.is_some_and(|class| class.allow_volume_expansion == Some(true))
}

/// What a request must be refused with, if it must.
fn refusal(cluster: &Value, request: &Value, grows: bool) -> Option<String> {
    if request["spec"]["type"] == "VolumeExpansion" && !grows {
        return Some("allowVolumeExpansion: true".to_owned());
    }
    let target = even_target(cluster, request)?;
    Some(format!("make it {} or {}", target - 1, target + 1))
}

/// Where a Cluster was put.
struct Place {
    api: Api<DynamicObject>,
    name: String,
    namespace: String,
    made: bool,
}

/// Applies the requests of a file, if it is there, and waits for their ends.
async fn ask(place: &Place, (cluster, grows): (&Value, bool), file: &Path, list: &mut Checklist) {
    let requests = match read(file, "OpsRequest") {
        Ok(requests) => requests,
        Err(_) if !file.exists() => return,
        Err(error) => return list.wrong(error),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(
        place.api.clone().into_client(),
        &place.namespace,
        &requests::resource(),
    );
    let mine = |request: &&Value| request["spec"]["clusterName"] == cluster["metadata"]["name"];
    for request in requests.iter().filter(mine) {
        let name = request["metadata"]["name"].as_str().unwrap_or_default();
        let applied = api
            .patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(request))
            .await;
        let ended = match applied {
            Ok(_) => requests::end(&api, name).await,
            Err(error) => Err(error.to_string()),
        };
        let Some((phase, said)) = list.came_about(format!("request {name} ends"), ended) else {
            continue;
        };
        match refusal(cluster, request, grows) {
            None => list.equals(
                format!("end of {name} ({said})"),
                &phase.as_str(),
                &"Succeed",
            ),
            Some(words) => {
                let refused = phase == "Failed" && said.contains(&words);
                list.holds(
                    format!("{name} is refused with {words:?}: {phase}: {said}"),
                    refused,
                );
            }
        }
    }
}

/// The number of members that a request asks for, if it is even.
fn even_target(cluster: &Value, request: &Value) -> Option<i64> {
    let wish = &request["spec"]["horizontalScaling"][0];
    let members = cluster["spec"]["componentSpecs"][0]["replicas"].as_i64()?;
    let out = wish["scaleOut"]["replicaChanges"].as_i64();
    let less = wish["scaleIn"]["replicaChanges"]
        .as_i64()
        .map(|changes| -changes);
    let target = members + out.or(less)?;
    (target % 2 == 0).then_some(target)
}

/// The objects of a kind in a file with several documents.
fn read(path: &Path, kind: &str) -> Result<Vec<Value>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text, kind).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str, kind: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    Ok(documents
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .collect())
}

/// The namespace that a manifest names, else the run's.
fn namespace_of<'a>(cluster: &'a Value, subject: &'a Subject) -> &'a str {
    let named = cluster["metadata"]["namespace"].as_str();
    named.unwrap_or(&subject.namespace)
}

/// Applies one in the namespace that it names (made if need be) and waits for it. What does not come up is taken away.
async fn apply(subject: &Subject, cluster: &Value) -> Result<Place, String> {
    let name = cluster["metadata"]["name"]
        .as_str()
        .ok_or("a Cluster without a name")?;
    let namespace = namespace_of(cluster, subject);
    let made = namespace != subject.namespace && make_namespace(subject, namespace).await?;
    let place = Place {
        api: Api::namespaced_with(subject.kube.clone(), namespace, &cluster_resource()),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        made,
    };
    match come_up(&place, cluster).await {
        Ok(()) => Ok(place),
        // Its own finding is worth more than that of the cleaning up.
        Err(error) => {
            let _ = clean_up(subject, &place).await;
            Err(error)
        }
    }
}

async fn come_up(place: &Place, cluster: &Value) -> Result<(), String> {
    let (api, name) = (&place.api, &place.name);
    api.patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(cluster))
        .await
        .map_err(|error| error.to_string())?;
    wait_until(format!("Cluster {name} to run"), UP, async || {
        match api.get(name).await {
            Ok(object) => match object.data["status"]["phase"].as_str() {
                Some("Running") => Poll::Ready(()),
                phase => Poll::NotYet::<(), String>(format!(
                    "phase {phase:?}: {}",
                    object.data["status"]["conditions"]
                )),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        }
    })
    .await
    .map_err(|error| error.to_string())
}

async fn clean_up(subject: &Subject, place: &Place) -> Result<(), String> {
    let deleted = place
        .api
        .delete(&place.name, &DeleteParams::default())
        .await
        .map(drop)
        .map_err(|error| error.to_string());
    let cleared = if place.made {
        clear(subject, &place.namespace).await
    } else {
        Ok(())
    };
    deleted.and(cleared)
}

/// True when it was not there before.
async fn make_namespace(subject: &Subject, name: &str) -> Result<bool, String> {
    let api: Api<Namespace> = Api::all(subject.kube.clone());
    let mut object = Namespace::default();
    object.metadata.name = Some(name.to_owned());
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Deletes a namespace that was made here, and waits until it is gone: its volumes go with it.
async fn clear(subject: &Subject, name: &str) -> Result<(), String> {
    let api: Api<Namespace> = Api::all(subject.kube.clone());
    let deleted = api.delete(name, &DeleteParams::default()).await;
    deleted.map_err(|error| error.to_string())?;
    let what = format!("namespace {name} gone");
    let limit = timeouts::patient(timeouts::NAMESPACE_GONE);
    wait_until(what, limit, async || match api.get_opt(name).await {
        Ok(None) => Poll::Ready(()),
        Ok(Some(_)) => Poll::NotYet("it is still there".to_owned()),
        Err(error) => Poll::NotYet::<_, String>(error.to_string()),
    })
    .await
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_cannot_be_done_is_refused_with_the_reason() {
        let cluster = json!({ "spec": { "componentSpecs": [{ "replicas": 3 }] } });
        let of = |spec: Value, grows| refusal(&cluster, &json!({ "spec": spec }), grows);
        let grow = json!({ "type": "VolumeExpansion" });
        assert_eq!(of(grow.clone(), true), None);
        let words = of(grow, false).expect("it is refused");
        assert!(words.contains("allowVolumeExpansion"), "{words}");
        let out = |n| json!({ "horizontalScaling": [{ "scaleOut": { "replicaChanges": n } }] });
        assert_eq!(of(out(2), false), None);
        assert_eq!(of(out(1), false).as_deref(), Some("make it 3 or 5"));
    }

    #[test]
    fn every_load_balancer_needs_an_address_and_there_must_be_one() {
        let service = |kind: &str, ingress: Value| -> Service {
            let status = json!({ "loadBalancer": { "ingress": ingress } });
            let object =
                json!({ "metadata": { "name": kind }, "spec": { "type": kind }, "status": status });
            serde_json::from_value(object).expect("a service")
        };
        let plain = service("ClusterIP", json!([]));
        assert!(unaddressed(std::slice::from_ref(&plain)).is_some());
        let has = service("LoadBalancer", json!([{ "ip": "10.0.0.1" }]));
        assert_eq!(unaddressed(&[plain, has.clone()]), None);
        let lacks = service("LoadBalancer", json!([]));
        assert!(unaddressed(&[has, lacks]).is_some());
    }

    #[test]
    fn only_what_is_meant_is_taken_from_a_file() {
        let text = "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: apps.kubeblocks.io/v1\nkind: Cluster\n\
                    metadata:\n  name: c\n  namespace: demo\n";
        let clusters = parse(text, "Cluster").expect("documents");
        assert_eq!(clusters.len(), 1);
        assert_eq!(clusters[0]["metadata"]["namespace"], "demo");
    }
}
