//! What every pod answers: its role, its metrics; and whether its name resolves where users are.

use kube::ResourceExt;

use super::checklist::Checklist;
use crate::scenario::Lab;
use crate::scenario::client::{ClientPlan, RecordingClient};
use crate::scenario::load::Load;
use crate::scenario::subject::Subject;
use crate::timeouts;
use crate::wait::{Poll, wait_until};
use etcd_operator_api::labels;

/// Metrics that must be served: port and a name that must be among them.
const METRICS: [(u16, &str); 3] = [
    (9187, "etcd_server_has_leader"),
    (2381, "etcd_server_has_leader"),
    (2379, "etcd_server_has_leader"),
];

pub(super) async fn check(lab: &Lab, subject: &Subject, list: &mut Checklist) {
    for name in subject.pod_names() {
        role(subject, &name, list).await;
        for (port, metric) in METRICS {
            let text = answer(subject, &name, port, "metrics").await;
            if let Some(text) = list.came_about(format!("metrics of {name} on {port} answer"), text)
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

/// What a pod answers; asked again where there is no answer.
async fn answer(subject: &Subject, pod: &str, port: u16, path: &str) -> Result<String, String> {
    let what = format!("{path} of {pod} on {port}");
    let answer = wait_until(what, timeouts::EFFECT, async || {
        match subject.http(pod, port, path).await {
            Ok(text) => Poll::Ready(text),
            Err(error) => Poll::NotYet::<_, String>(error),
        }
    });
    answer.await.map_err(|error| error.to_string())
}

/// The role that a pod tells is that of its label. Both are read again until they agree: leadership may move between
/// the two looks.
async fn role(subject: &Subject, name: &str, list: &mut Checklist) {
    let what = format!("getrole of {name} tells the role of its label");
    let agreed = wait_until(what.clone(), timeouts::EFFECT, async || {
        let told = match subject.http(name, 5001, "v1.0/getrole").await {
            Ok(told) => told,
            Err(error) => return Poll::NotYet(error),
        };
        let pods = match subject.pods().await {
            Ok(pods) => pods,
            Err(error) => return Poll::NotYet(error),
        };
        let pod = pods.iter().find(|pod| pod.name_any() == name);
        let label = pod.and_then(|pod| pod.labels().get(labels::ROLE));
        match differ(&told, label.map(String::as_str)) {
            None => Poll::Ready(()),
            Some(wrong) => Poll::NotYet::<_, String>(wrong),
        }
    });
    list.came_about(what, agreed.await.map_err(|error| error.to_string()));
}

/// What is wrong with an answer of `getrole`, if anything is. Pure.
fn differ(told: &str, label: Option<&str>) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(told).unwrap_or_default();
    let role = value["role"].as_str();
    let agree = role.is_some() && role == label && value["operation"] == "getRole";
    (!agree).then(|| format!("it answers {told}, and its label says {label:?}"))
}

/// Every name resolves inside the cluster, and the leader's service answers a write there.
async fn names(lab: &Lab, subject: &Subject, list: &mut Checklist) {
    let plan = ClientPlan {
        image: &lab.client_image,
        seed: 1,
        load: Load::default(),
        others: &[],
        judged: false,
        on_control_plane: !lab.cluster.control_planes().is_empty(),
    };
    let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
    let client = match RecordingClient::create(subject, &plan).await {
        Ok(client) => client.wait_running(limit).await.map(|()| client),
        Err(error) => Err(error),
    };
    let Some(client) = list.step("a client's pod runs", client) else {
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
        let what = format!("{address} resolves");
        let found = wait_until(what.clone(), timeouts::EFFECT, async || {
            match client.lookup(&address).await {
                Ok(_) => Poll::Ready(()),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            }
        });
        list.came_about(what, found.await.map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_tells_the_role_of_its_label() {
        let answer = r#"{"operation":"getRole","role":"leader","term":3}"#;
        assert_eq!(differ(answer, Some("leader")), None);
        let wrong = differ(answer, Some("follower")).expect("they differ");
        assert!(
            wrong.contains("leader") && wrong.contains("follower"),
            "{wrong}"
        );
        for (told, label) in [
            (answer, None),
            (r#"{"operation":"getRole"}"#, None),
            (r#"{"operation":"other","role":"leader"}"#, Some("leader")),
            ("not JSON", None),
        ] {
            assert!(differ(told, label).is_some(), "{told}");
        }
    }
}
