//! An S3 server in the namespace of a run, by TLS with an authority of its own, and what opens it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::deploy::apply;
use crate::scenario::RunError;
use crate::scenario::subject::Subject;
use crate::wait::{Poll, wait_until};

/// Name of its pod and service.
pub(super) const SERVER: &str = "bucket";
/// Secrets: what its clients need, and what it shows them.
pub(super) const CREDENTIAL: &str = "bucket-credential";
const CERTIFICATE: &str = "bucket-certificate";
/// Name of the bucket.
const NAME: &str = "backups";
/// Port that it is served on.
const PORT: u16 = 9000;
/// The image is there: a pod runs at once, on a busy machine after some seconds.
const RUNS: Duration = Duration::from_secs(60);

/// Makes the server and waits until it runs.
pub(super) async fn serve(subject: &Subject, image: &str) -> Result<(), RunError> {
    let namespace = &subject.namespace;
    let certificates = certificates(&host(namespace));
    let [ca, chain, key] =
        certificates.map_err(|error| RunError::Wait(format!("a certificate is made: {error}")))?;
    let password = format!("{:032x}", rand::random::<u128>());
    let all = [
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": CREDENTIAL },
            "stringData": { "accessKeyId": "harness", "secretAccessKey": password, "ca.crt": ca } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": CERTIFICATE },
            "stringData": { "tls.crt": chain, "tls.key": key } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": SERVER },
            "spec": { "selector": { "etcd-harness/part": SERVER }, "ports": [{ "port": PORT }] } }),
        pod(image),
    ];
    let objects: Result<Vec<DynamicObject>, _> =
        all.into_iter().map(serde_json::from_value).collect();
    let objects = objects.map_err(|error| RunError::api("build the bucket's objects", &error))?;
    apply(&subject.kube, namespace, &objects).await?;
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), namespace);
    let runs = wait_until("the bucket's pod to run", RUNS, async || {
        match pods.get(SERVER).await {
            Ok(pod) => match pod.status.unwrap_or_default().phase.as_deref() {
                Some("Running") => Poll::Ready(()),
                phase => Poll::NotYet::<(), String>(format!("{phase:?}")),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    runs.await
        .map_err(|error| RunError::Wait(error.to_string()))
}

/// What the spec of a BackupRepo says to use it, with the credential in this Secret.
pub(super) fn repository(namespace: &str, credential: &str) -> Value {
    json!({
        "storageProviderRef": "minio", "accessMethod": "Tool", "pvReclaimPolicy": "Retain",
        "config": { "bucket": NAME, "endpoint": format!("https://{}:{PORT}", host(namespace)) },
        "credential": { "name": credential, "namespace": namespace },
    })
}

fn host(namespace: &str) -> String {
    format!("{SERVER}.{namespace}.svc")
}

/// An authority, a certificate for this host, and its key.
fn certificates(host: &str) -> Result<[String; 3], rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = KeyPair::generate()?;
    let ca = authority.self_signed(&own)?.pem();
    let issuer = Issuer::new(authority, own);
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec![host.to_owned()])?;
    let chain = params.signed_by(&key, &issuer)?.pem();
    Ok([ca, chain, key.serialize_pem()])
}

fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": SERVER, "labels": { "etcd-harness/part": SERVER } },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": { "fsGroup": 65532, "runAsNonRoot": true, "runAsUser": 65532,
                "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": SERVER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/workload", "bucket", "--root=/data", format!("--name={NAME}"),
                    format!("--port={PORT}"), "--credentials=/credentials", "--tls=/certificate"],
                "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [
                    { "name": "data", "mountPath": "/data" },
                    { "name": "credentials", "mountPath": "/credentials", "readOnly": true },
                    { "name": "certificate", "mountPath": "/certificate", "readOnly": true },
                ],
                "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
            }],
            "volumes": [
                { "name": "data", "emptyDir": { "sizeLimit": "2Gi" } },
                { "name": "credentials", "secret": { "secretName": CREDENTIAL, "defaultMode": 0o440 } },
                { "name": "certificate", "secret": { "secretName": CERTIFICATE, "defaultMode": 0o440 } },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_of_the_host_that_the_repository_names() {
        let spec = repository("n", CREDENTIAL);
        assert_eq!(spec["config"]["endpoint"], "https://bucket.n.svc:9000");
        let [ca, chain, key] = certificates(&host("n")).expect("certificates");
        assert_ne!(ca, chain);
        assert!(key.contains("PRIVATE KEY"));
    }
}
