//! What every pod answers: its role, its metrics; and whether its name resolves where users are.

use kube::ResourceExt;

use super::checklist::Checklist;
use crate::scenario::Lab;
use crate::scenario::client::{ClientPlan, RecordingClient};
use crate::scenario::description::Load;
use crate::scenario::subject::Subject;
use crate::timeouts;
use etcd_operator_api::labels;

/// Metrics that must be served: port and a name that must be among them.
const METRICS: [(u16, &str); 3] = [
    (9187, "etcd_server_has_leader"),
    (2381, "etcd_server_has_leader"),
    (2379, "etcd_server_has_leader"),
];

pub(super) async fn check(lab: &Lab, subject: &Subject, list: &mut Checklist) {
    let pods = subject.pods().await;
    let Some(pods) = list.came_about("the pods are listed", pods) else {
        return;
    };
    for pod in &pods {
        let name = pod.name_any();
        let answer = subject.http(&name, 5001, "v1.0/getrole").await;
        if let Some(text) = list.came_about(format!("getrole of {name} answers"), answer) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            list.equals(
                format!("operation in getrole of {name}"),
                &value["operation"].as_str(),
                &Some("getRole"),
            );
            let label = pod.labels().get(labels::ROLE).map(String::as_str);
            list.equals(
                format!("role in getrole of {name}"),
                &value["role"].as_str(),
                &label,
            );
        }
        for (port, metric) in METRICS {
            let answer = subject.http(&name, port, "metrics").await;
            if let Some(text) =
                list.came_about(format!("metrics of {name} on {port} answer"), answer)
            {
                list.holds(
                    format!("{metric} is among the metrics of {name} on {port}"),
                    text.contains(metric),
                );
            }
        }
    }
    names(lab, subject, list).await;
}

/// Every name resolves inside the cluster, and the leader's service answers a write there.
async fn names(lab: &Lab, subject: &Subject, list: &mut Checklist) {
    let plan = ClientPlan {
        image: &lab.client_image,
        seed: 1,
        load: Load::default(),
        others: &[],
        on_control_plane: !lab.cluster.control_planes().is_empty(),
    };
    let client = match RecordingClient::create(subject, &plan).await {
        Ok(client) => client
            .wait_running(timeouts::CLUSTER_RUNNING)
            .await
            .map(|()| client),
        Err(error) => Err(error),
    };
    let client = client.map_err(|error| error.to_string());
    let Some(client) = list.came_about("a client's pod runs", client) else {
        return;
    };
    let mut addresses = vec![subject.service_address()];
    addresses.extend(
        subject
            .pod_names()
            .iter()
            .map(|pod| subject.member_address(pod)),
    );
    for address in addresses {
        let found = client
            .lookup(&address)
            .await
            .map_err(|error| error.to_string());
        list.came_about(format!("{address} resolves"), found);
    }
}
