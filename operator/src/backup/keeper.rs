//! Pure builders: the Deployment that keeps an archive.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kbagent_protocol::{ARCHIVE_PORT, PATH_HEALTHZ};
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};

use super::job::{BACKUP_UID, Frame, TLS, add_certificate, skeleton};
use super::part::MEBI;

/// Label of an archive's Deployment and its pod: the Cluster.
pub(super) const ARCHIVE_OF: &str = "dataprotection.kubeblocks.io/archive-of";
/// Annotation of that Deployment: of what it was made.
pub(super) const MADE_OF: &str = "dataprotection.kubeblocks.io/made-of";
/// Annotation of that Deployment: the client URLs that its pod was given.
pub(super) const MEMBERS: &str = "dataprotection.kubeblocks.io/archive-members";
/// Annotation of that Deployment: the revision that the archive began after.
pub(super) const AFTER: &str = "dataprotection.kubeblocks.io/after";

/// How an archive is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    /// Name of the Deployment.
    pub(super) name: String,
    /// The Cluster.
    pub(super) cluster: String,
    /// Its component.
    pub(super) component: String,
    /// Client URLs: one that leads to all members, or theirs, by the names that a user's certificate must have.
    pub(super) members: Vec<String>,
    /// Secret with the certificate that they want of clients.
    pub(super) tls: Option<String>,
    /// An archive without a segment begins after this revision.
    pub(super) after: i64,
    /// What is older is deleted.
    pub(super) seconds: Option<i64>,
}

impl Keep {
    /// What the Deployment is made of, in short: it is changed when this differs. Not of the credential, whose copy has
    /// another name each time that it is made; nor of members, of which one that is still there is enough: each change
    /// ends the writer, and what comes meanwhile has no times.
    pub(super) fn made_of(&self, frame: &Frame) -> String {
        let nameless = Keep {
            members: Vec::new(),
            ..self.clone()
        };
        let job = archiver(frame, None, &nameless);
        let text = serde_json::to_string(&job.spec).unwrap_or_default();
        let hash = Sha256::digest(text);
        hash.iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A Job that would write an archive: its pod is that of the Deployment.
fn archiver(frame: &Frame, credential: Option<&str>, keep: &Keep) -> Job {
    let mut arguments = vec!["archive".to_owned(), format!("--backup-uid={}", frame.uid)];
    let members = keep.members.iter();
    arguments.extend(members.map(|member| format!("--member={member}")));
    arguments.push(format!("--after={}", keep.after));
    arguments.push("--told".to_owned());
    arguments.extend(keep.seconds.map(|seconds| format!("--keep={seconds}")));
    arguments.extend(keep.tls.as_ref().map(|_| format!("--tls={TLS}")));
    let mut job = skeleton(frame, &keep.name, credential, arguments, 1024 * MEBI);
    add_certificate(&mut job, keep.tls.as_deref());
    job
}

/// The Deployment that keeps an archive: one pod, and never two of it by our doing.
pub(super) fn keep(frame: &Frame, credential: Option<&str>, keep: &Keep) -> Deployment {
    let job = archiver(frame, credential, keep);
    let mut template = job.spec.map(|spec| spec.template).unwrap_or_default();
    let own = BTreeMap::from([
        (BACKUP_UID.to_owned(), frame.uid.clone()),
        (ARCHIVE_OF.to_owned(), keep.cluster.clone()),
    ]);
    let labelled = template.metadata.get_or_insert_default();
    labelled.labels.get_or_insert_default().extend(own.clone());
    if let Some(pod) = &mut template.spec {
        pod.restart_policy = None;
        for container in &mut pod.containers {
            container.ports = Some(vec![ContainerPort {
                name: Some("archive".to_owned()),
                container_port: i32::from(ARCHIVE_PORT),
                ..ContainerPort::default()
            }]);
            container.liveness_probe = Some(Probe {
                http_get: Some(HTTPGetAction {
                    path: Some(PATH_HEALTHZ.to_owned()),
                    port: IntOrString::Int(i32::from(ARCHIVE_PORT)),
                    ..HTTPGetAction::default()
                }),
                period_seconds: Some(10),
                timeout_seconds: Some(5),
                failure_threshold: Some(6),
                ..Probe::default()
            });
        }
    }
    let noted = [
        (MADE_OF.to_owned(), keep.made_of(frame)),
        (AFTER.to_owned(), keep.after.to_string()),
        (MEMBERS.to_owned(), keep.members.join(" ")),
    ];
    Deployment {
        metadata: ObjectMeta {
            name: Some(keep.name.clone()),
            labels: Some(own.clone()),
            annotations: Some(noted.into()),
            ..job.metadata
        },
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(own),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
