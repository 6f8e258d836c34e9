//! The life of backups: a repository says whether it can be reached; what becomes of data when its object is deleted;
//! a Cluster that is deleted below its archive; a restore into a cluster with TLS and more members.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::bring_up::bring_up;
use super::checklist::Checklist;
use super::outcome::found;
use crate::deploy::{EtcdCluster, Guard, apply};
use crate::scenario::archive;
use crate::scenario::backup::{self, Told};
use crate::scenario::bucket;
use crate::scenario::outcome::Found;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::scenario::{Lab, RunError};
use crate::timeouts;

/// Keys that are written before the full backups, and again before the archive is restored.
const KEYS: usize = 30;
/// Names of Clusters that are restored.
const WITH_TLS: &str = "restored-tls";
const LATE: &str = "restored-late";

/// What a repository is, and what its status must come to.
struct Expected {
    suffix: &'static str,
    phase: &'static str,
    says: &'static str,
    spec: Value,
}

/// All of it, on a new cluster.
pub(crate) async fn backups(lab: &Lab, subject: &Subject) -> Found {
    let mut list = Checklist::new("backups", lab.live.clone());
    if !bring_up(lab, subject, &mut list).await {
        return found(list);
    }
    let served = bucket::serve(subject, &lab.client_image).await;
    if list.step("an S3 server runs", served).is_some() {
        Box::pin(repositories(subject, &mut list)).await;
        let lived = Box::pin(lives(subject, &mut list)).await;
        list.step("backups live and end", lived);
    }
    found(list)
}

/// Repositories that can be reached and that cannot.
async fn repositories(subject: &Subject, list: &mut Checklist) {
    let namespace = &subject.namespace;
    let good = bucket::repository(namespace, bucket::CREDENTIAL);
    let mut away = good.clone();
    away["config"]["endpoint"] = json!(format!("https://nothing.{namespace}.svc:9000"));
    let expected = [
        Expected {
            suffix: "",
            phase: "Ready",
            says: "read back",
            spec: good,
        },
        Expected {
            suffix: "-denied",
            phase: "Failed",
            says: "check the credential",
            spec: bucket::repository(namespace, "wrong-credential"),
        },
        Expected {
            suffix: "-away",
            phase: "Failed",
            says: "reachable",
            spec: away,
        },
        Expected {
            suffix: "-unnamed",
            phase: "Failed",
            says: "is not there: create it",
            spec: bucket::repository(namespace, "no-such-secret"),
        },
    ];
    let wrong = wrong_credential(subject).await;
    list.came_about("a wrong credential is made", wrong);
    let begun = Instant::now();
    for one in &expected {
        let name = format!("{namespace}{}", one.suffix);
        let made = backup::repository(subject, &name, &one.spec).await;
        list.came_about(
            format!("BackupRepo {name}"),
            made.map_err(|error| error.to_string()),
        );
    }
    for one in &expected {
        let name = format!("{namespace}{}", one.suffix);
        let told = backup::reachable(subject, &name, one.phase).await;
        let told = told.map_err(|error| error.to_string());
        if let Some(told) = list.came_about(format!("{name} says {}", one.phase), told) {
            list.holds(
                format!("{name} says {:?}: {told}", one.says),
                told.contains(one.says),
            );
        }
        if one.suffix.is_empty() {
            list.figure("reached_s", begun.elapsed().as_secs_f64());
        }
    }
    list.figure("repositories_s", begun.elapsed().as_secs_f64());
}

/// The server's CA, and a key that it does not know.
async fn wrong_credential(subject: &Subject) -> Result<(), String> {
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(subject.kube.clone(), &subject.namespace);
    let right = secrets.get(bucket::CREDENTIAL).await;
    let right = right.map_err(|error| error.to_string())?;
    let ca = right.data.unwrap_or_default().remove("ca.crt");
    let ca = ca.map(|ca| String::from_utf8_lossy(&ca.0).into_owned());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "wrong-credential" },
        "stringData": { "accessKeyId": "harness", "secretAccessKey": "another", "ca.crt": ca } });
    let secret: DynamicObject = serde_json::from_value(secret).map_err(|e| e.to_string())?;
    let made = apply(&subject.kube, &subject.namespace, &[secret]).await;
    made.map(drop).map_err(|error| error.to_string())
}

async fn lives(subject: &Subject, list: &mut Checklist) -> Result<(), RunError> {
    let policy = json!({ "backupRepoName": subject.namespace });
    backup::choose(subject, &policy).await?;
    fill(subject, 0).await?;
    full(subject, "kept", "Retain").await?;
    full(subject, "gone", "Delete").await?;
    backup::make(subject, "log", "archive", "Delete").await?;
    ended(subject, "log", "begun", |told| told.phase == "Running").await?;
    fill(subject, KEYS).await?;
    let was = backup::held(subject, CLUSTER, None).await?;
    deletions(subject, list).await?;
    archive::through(subject, was.revision).await?;

    let limit = timeouts::patient(timeouts::OPERATION);
    let mut other = EtcdCluster::new(&subject.namespace, WITH_TLS, 3);
    other.guard = Guard::Tls;
    let mut manifest = other.manifest();
    manifest["spec"]["restore"] = json!({ "source": { "kind": "Backup", "name": "gone" } });
    backup::begin(subject, WITH_TLS, manifest, limit).await?;
    let is = backup::held_by(subject, WITH_TLS, Guard::Tls, None).await?;
    let at = is.revision - backup::BUMP;
    let was_then = backup::held(subject, CLUSTER, Some(at)).await?;
    let wrong = backup::difference(&was_then, &is, at);
    list.equals("what differs in the Cluster with TLS", &wrong, &None);
    remove_cluster(subject, WITH_TLS).await?;

    // The Cluster goes below its archive: what is there stays, can be restored, and says so.
    remove_cluster(subject, CLUSTER).await?;
    let told = ended(subject, "log", "ended", Told::has_ended).await?;
    list.equals("phase of the archive", &told.phase.as_str(), &"Completed");
    let says = told.reason.contains("is gone") && told.reason.contains("can be restored");
    list.holds(
        format!("the archive says what became: {}", told.reason),
        says,
    );
    let mut manifest = EtcdCluster::new(&subject.namespace, LATE, 1).manifest();
    manifest["spec"]["restore"] = json!({ "source": { "kind": "Backup", "name": "log" } });
    backup::begin(subject, LATE, manifest, limit).await?;
    let is = backup::held(subject, LATE, None).await?;
    let wrong = backup::difference(&was, &is, was.revision);
    list.equals("what differs after all", &wrong, &None);
    remove_cluster(subject, LATE).await?;
    remove_backup(subject, "log").await
}

/// The data of one goes with its object, that of the other stays: as a Backup of the same name then finds.
async fn deletions(subject: &Subject, list: &mut Checklist) -> Result<(), RunError> {
    for name in ["kept", "gone"] {
        remove_backup(subject, name).await?;
    }
    full(subject, "gone", "Delete").await?;
    backup::make(subject, "kept", "datafile", "Retain").await?;
    let told = ended(subject, "kept", "ended", Told::has_ended).await?;
    list.equals("phase over retained data", &told.phase.as_str(), &"Failed");
    let says = told.reason.contains("belongs to another backup");
    list.holds(format!("it says whose it is: {}", told.reason), says);
    Ok(())
}

async fn full(subject: &Subject, name: &str, deletion: &str) -> Result<(), RunError> {
    backup::make(subject, name, "datafile", deletion).await?;
    let told = ended(subject, name, "ended", Told::has_ended).await?;
    told.must_be_verified(name)
}

async fn ended(
    subject: &Subject,
    name: &str,
    what: &str,
    fits: impl Fn(&Told) -> bool,
) -> Result<Told, RunError> {
    let limit = timeouts::patient(timeouts::OPERATION);
    backup::wait(subject, name, what, limit, fits).await
}

/// Writes keys, each once more when it was there.
async fn fill(subject: &Subject, from: usize) -> Result<(), RunError> {
    let pod = format!("{CLUSTER}-{COMPONENT}-0");
    for number in from..from + KEYS {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        let put = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        let done = subject.etcd_call(&pod, "v3/kv/put", &put.to_string()).await;
        done.map_err(|error| RunError::api("write a key", &error))?;
    }
    Ok(())
}

async fn remove_cluster(subject: &Subject, name: &str) -> Result<(), RunError> {
    backup::remove(&subject.clusters(), name).await
}

async fn remove_backup(subject: &Subject, name: &str) -> Result<(), RunError> {
    backup::remove(&backup::of_run(subject, "Backup"), name).await
}
