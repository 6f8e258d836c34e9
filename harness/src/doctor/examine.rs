//! Looks at everything that doctor knows.

use super::report::{Checkup, Standing, Symptom};
use super::{docker, host, scenarios};
use crate::cluster::{Choice, Cluster, connect_docker};
use crate::deploy::policies::{self, Enforcement};

/// A line for each thing.
pub(crate) async fn examine(choice: &Choice) -> Checkup {
    let mut findings = host::findings();
    match connect_docker().await {
        Err(error) => findings.push(Symptom::required(
            "docker",
            Standing::Unavailable,
            &error.to_string(),
        )),
        Ok(engine) => {
            findings.extend(docker::findings(&engine).await);
            let (kernel, capabilities) = docker::kernel_findings(&engine, choice).await;
            findings.extend(kernel);
            if let Some(capabilities) = capabilities {
                findings.extend(scenarios::findings(&capabilities));
            }
        }
    }
    findings.push(cluster_finding(choice).await);
    findings.extend(policies_finding(choice).await);
    Checkup { findings }
}

/// Whether the cluster enforces network policies; nothing where there is none.
async fn policies_finding(choice: &Choice) -> Option<Symptom> {
    let cluster = Cluster::attach(choice).await.ok()?;
    let subject = "network policies";
    Some(match policies::look(&cluster.kube, &policies::client_image()).await {
        Ok(Enforcement::None) => {
            Symptom::new(subject, Standing::Unavailable, &Enforcement::None.to_string()).remedy(
                "`harness up` brings what enforces them in its own cluster; scenarios of policies prove nothing in this one",
            )
        }
        Ok(enforcement) => Symptom::new(subject, Standing::Available, &enforcement.to_string()),
        Err(error) => Symptom::new(subject, Standing::Unavailable, &format!("not tried: {error}"))
            .remedy("a pod of the recording client's image must be able to run"),
    })
}

async fn cluster_finding(choice: &Choice) -> Symptom {
    match Cluster::attach(choice).await {
        Ok(cluster) => {
            let text = format!("context {}, {} nodes", cluster.context, cluster.nodes.len());
            let finding = Symptom::new("cluster", Standing::Available, &text);
            if cluster.has_node_shells() {
                return finding;
            }
            Symptom {
                standing: Standing::Fallback,
                remedy: "faults of nodes, network and processes need nodes that are containers here; `harness up` makes such a cluster".into(),
                ..finding
            }
        }
        Err(error) if choice.is_own() => {
            let reason = error.to_string();
            let reason = reason.split(';').next().unwrap_or_default();
            let finding = Symptom::new(
                "cluster",
                Standing::Fallback,
                &format!("{:?} is not up ({reason})", choice.name),
            );
            Symptom {
                remedy: "`harness up` makes it".into(),
                ..finding
            }
        }
        Err(error) => Symptom::required("cluster", Standing::Unavailable, &error.to_string()),
    }
}
