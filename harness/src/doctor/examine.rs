//! Looks at everything that doctor knows.

use super::report::{Checkup, Standing, Symptom};
use super::{docker, host, scenarios};
use crate::cluster::{Choice, Cluster, connect_docker};

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
    Checkup { findings }
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
