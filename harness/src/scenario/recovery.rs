//! The cost of losing everything, measured: what an archive has at moments of a load, and restores of a large backup
//! beside bare etcdutl.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::bench::RestoreReport;
use crate::bench::restore::{Restored, lost};
use crate::bench::statistics::Summary;
use crate::deploy::{Reach, wait_quiet};
use crate::scenario::backup::{self, Told};
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::scenario::{Lab, RunError, archive};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Bytes of a value: etcd takes 1.5 MiB a request.
const VALUE: usize = 1 << 20;
/// Values that are written at a time.
const WRITERS: usize = 4;
/// Names of the Backups and of what is restored.
const FULL: &str = "full";
const ARCHIVE: &str = "archive";
const RESTORED: &str = "restored";
/// The pod with bare etcdutl.
const BARE: &str = "bare-restore";
/// How long a large backup or restore may take.
const LARGE: Duration = Duration::from_secs(900);
/// Spacing of the moments at which the archive is looked at.
const SPACING: Duration = Duration::from_millis(700);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub members: u32,
    /// Mebibytes of values.
    pub mebibytes: usize,
    /// Moments at which the archive is looked at.
    pub moments: u32,
    /// Restores.
    pub times: u32,
}

/// Measures.
///
/// # Errors
/// When something does not come up, or a backup is not verified.
pub(crate) async fn measure(lab: &Lab, amount: Amount) -> Result<RestoreReport, RunError> {
    wait_quiet(&lab.cluster.kube).await?;
    let subject =
        Subject::create(&lab.cluster, "bench::restore", amount.members, Reach::Usual).await?;
    let measured = Box::pin(measured(lab, &subject, amount));
    let measured = Box::pin(lab.live.telling(measured)).await;
    let deleted = subject.delete().await;
    let report = measured?;
    deleted.map(|()| report)
}

async fn measured(lab: &Lab, subject: &Subject, amount: Amount) -> Result<RestoreReport, RunError> {
    let wanted = large(subject);
    backup::begin(subject, CLUSTER, wanted, timeouts::CLUSTER_RUNNING).await?;
    lab.live
        .say(format!("{} MiB are written", amount.mebibytes));
    fill(subject, amount.mebibytes).await?;
    let spec = json!({ "storageProviderRef": "pvc", "accessMethod": "Mount", "volumeCapacity": "8Gi",
        "pvReclaimPolicy": "Retain" });
    backup::repository(subject, &subject.namespace, &spec).await?;
    let policy = json!({ "backupRepoName": subject.namespace });
    backup::choose(subject, &policy).await?;
    lab.live
        .say("they are backed up, and the backup is verified");
    let begun = Instant::now();
    backup::make(subject, FULL, "datafile", "Retain").await?;
    let told = backup::wait(subject, FULL, "ended", LARGE, Told::has_ended).await?;
    told.must_be_verified(FULL)?;
    let backup_s = begun.elapsed().as_secs_f64();
    lab.live.say(format!("backed up in {backup_s:.0} s"));
    let (object, bytes) = object(subject).await?;

    backup::make(subject, ARCHIVE, "archive", "Retain").await?;
    let running = |told: &Told| told.phase == "Running";
    backup::wait(subject, ARCHIVE, "begun", LARGE, running).await?;
    archive::through(subject, told.revision).await?;
    let (moments, writes_s) = Box::pin(looked_at(subject, amount.moments)).await?;
    lab.live.say(format!("{} moments", moments.len()));
    let mut restores = Vec::new();
    for turn in 1..=amount.times {
        let one = Box::pin(restored(subject, &object)).await?;
        lab.live
            .say(format!("restore {turn} of {}: {one:?}", amount.times));
        restores.push(one);
    }
    Ok(RestoreReport {
        members: amount.members,
        bytes,
        backup_s,
        lost_ms: Summary::of(moments),
        writes_s,
        restores,
    })
}

/// The Cluster, with space for a large database.
fn large(subject: &Subject) -> Value {
    let mut etcd = subject.etcd(None);
    "8Gi".clone_into(&mut etcd.storage);
    etcd.memory = ("64Mi".into(), "3Gi".into());
    etcd.settings = vec![("quota-backend-bytes".into(), (4_u64 << 30).to_string())];
    etcd.manifest()
}

/// Writes so many values of a mebibyte, which do not compress.
async fn fill(subject: &Subject, count: usize) -> Result<(), RunError> {
    let pod = format!("{CLUSTER}-{COMPONENT}-0");
    let mut writes = futures::stream::iter(0..count)
        .map(|number| {
            let pod = &pod;
            async move {
                let words = (0..VALUE / 16).flat_map(|_| rand::random::<u128>().to_le_bytes());
                let value: Vec<u8> = words.collect();
                put(subject, pod, &format!("large-{number}"), &value, LARGE).await
            }
        })
        .buffer_unordered(WRITERS);
    while let Some(written) = writes.next().await {
        written?;
    }
    Ok(())
}

/// Writes a key until it is written; tells the revision.
async fn put(
    subject: &Subject,
    pod: &str,
    key: &str,
    value: &[u8],
    limit: Duration,
) -> Result<i64, RunError> {
    let request =
        json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) }).to_string();
    let written = wait_until(
        format!("{key} to be written"),
        limit,
        async || match subject.etcd_call(pod, "v3/kv/put", &request).await {
            Ok(answer) => match revision(&answer) {
                Some(revision) => Poll::Ready(revision),
                None => Poll::NotYet::<_, String>(answer),
            },
            Err(error) => Poll::NotYet(error),
        },
    );
    written
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

fn revision(answer: &str) -> Option<i64> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    answer["header"]["revision"].as_str()?.parse().ok()
}

/// What would be lost at moments of a load, in milliseconds; and its writes a second.
async fn looked_at(subject: &Subject, moments: u32) -> Result<(Vec<f64>, f64), RunError> {
    let (writes, ended) = (Arc::new(Mutex::new(Vec::new())), AtomicBool::new(false));
    let begun = Instant::now();
    let at = || begun.elapsed().as_secs_f64() * 1000.0;
    let load = async {
        let pod = format!("{CLUSTER}-{COMPONENT}-0");
        for number in 0_u64.. {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            let written = put(subject, &pod, "small", &number.to_le_bytes(), LARGE).await?;
            let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            writes.push((at(), written));
        }
        Ok::<_, RunError>(())
    };
    let looks = async {
        let mut found = Vec::new();
        for _ in 0..moments {
            crate::wait::pause(SPACING).await;
            // What it has is at least what it says, so a late answer makes the loss look larger, never smaller.
            let through = archive::has(subject).await?;
            let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            found.push(lost(&writes, through, at()));
        }
        ended.store(true, Ordering::Relaxed);
        Ok::<_, RunError>(found)
    };
    let ((), found) = futures::try_join!(load, looks)?;
    let count = writes.lock().unwrap_or_else(PoisonError::into_inner).len();
    Ok((found, count as f64 / begun.elapsed().as_secs_f64()))
}

/// Path of the snapshot in the repository, and its bytes.
async fn object(subject: &Subject) -> Result<(String, u64), RunError> {
    let backups: Api<DynamicObject> = backup::of_run(subject, "Backup");
    let made = backups.get(FULL).await;
    let made = made.map_err(|error| RunError::api("read the Backup", &error))?;
    let status = &made.data["status"];
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let of = format!("batch.kubernetes.io/job-name={}", text("job"));
    let listed = pods.list(&ListParams::default().labels(&of)).await;
    let listed = listed.map_err(|error| RunError::api("list the Job's pods", &error))?;
    let done = |pod: &&Pod| {
        let status = pod.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Succeeded")
    };
    let pod = listed.items.iter().find(done).map(ResourceExt::name_any);
    let pod = pod.ok_or_else(|| RunError::Wait("the backup's pod is there".to_owned()))?;
    let bytes = text("totalSize").parse().unwrap_or_default();
    Ok((format!("{}/snapshot-{pod}.db", text("path")), bytes))
}

/// A restore, and bare etcdutl after it.
async fn restored(subject: &Subject, object: &str) -> Result<Restored, RunError> {
    let mut cluster = large(subject);
    cluster["metadata"]["name"] = json!(RESTORED);
    cluster["spec"]["restore"] = json!({ "source": { "kind": "Backup", "name": FULL } });
    let begun = Instant::now();
    let serves = async {
        let pod = format!("{RESTORED}-{COMPONENT}-0");
        let request = json!({ "key": STANDARD.encode("large-0"), "keys_only": true }).to_string();
        let serves = wait_until(format!("{pod} to serve"), LARGE, async || {
            match subject.etcd_call(&pod, "v3/kv/range", &request).await {
                Ok(answer) if answer.contains("kvs") => Poll::Ready(begun.elapsed()),
                Ok(answer) | Err(answer) => Poll::NotYet::<_, String>(answer),
            }
        });
        let serves = serves.await;
        serves.map_err(|error| RunError::Wait(error.to_string()))
    };
    let whole = backup::begin(subject, RESTORED, cluster, LARGE);
    let (serves, ()) = futures::try_join!(serves, whole)?;
    let whole = begun.elapsed();
    backup::remove(&subject.clusters(), RESTORED).await?;
    Ok(Restored {
        serves_s: serves.as_secs_f64(),
        whole_s: whole.as_secs_f64(),
        bare_s: bare(subject, object).await?,
    })
}

/// Seconds of bare etcdutl over the same object.
async fn bare(subject: &Subject, object: &str) -> Result<f64, RunError> {
    let pods = subject.pods().await.map_err(RunError::Wait)?;
    let image = pods.iter().find_map(crate::scenario::creation::etcd_image);
    let image = image.ok_or_else(|| RunError::Wait("no pod has an etcd container".into()))?;
    let api: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let pod = serde_json::from_value(bare_pod(&subject.namespace, &image, object));
    let pod = pod.map_err(|error| RunError::api("build the bare pod", &error))?;
    let made = api.create(&PostParams::default(), &pod).await;
    made.map_err(|error| RunError::api("create the bare pod", &error))?;
    let took = wait_until("etcdutl to end", LARGE, async || {
        match api.get(BARE).await {
            Ok(pod) => ended(&pod).map_or_else(
                || Poll::NotYet::<Result<f64, String>, String>(format!("{:?}", pod.status)),
                Poll::Ready,
            ),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    let took = took.await;
    let took = took.map_err(|error| RunError::Wait(error.to_string()))?;
    let gone = api.delete(BARE, &DeleteParams::default()).await;
    gone.map_err(|error| RunError::api("delete the bare pod", &error))?;
    took.map_err(RunError::Wait)
}

/// How long its container ran, in whole seconds, or why it failed.
fn ended(pod: &Pod) -> Option<Result<f64, String>> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    if ended.exit_code != 0 {
        return Some(Err(format!(
            "etcdutl succeed: it ended {}",
            ended.exit_code
        )));
    }
    let took = ended
        .finished_at
        .as_ref()?
        .0
        .duration_since(ended.started_at.as_ref()?.0);
    Some(Ok(took.as_secs_f64()))
}

fn bare_pod(repository: &str, image: &str, object: &str) -> Value {
    json!({
        "metadata": { "name": BARE },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000,
                "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "etcdutl",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["etcdutl", "snapshot", "restore", format!("/repository/{object}"),
                    "--data-dir=/scratch/data"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [
                    { "name": "repository", "mountPath": "/repository", "readOnly": true },
                    { "name": "scratch", "mountPath": "/scratch" },
                ],
            }],
            "volumes": [
                { "name": "repository",
                    "persistentVolumeClaim": { "claimName": format!("backup-repo-{repository}") } },
                { "name": "scratch", "emptyDir": { "sizeLimit": "8Gi" } },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcdutl_took_is_read_and_its_failure_is_one() {
        let pod = |code: i32| -> Pod {
            serde_json::from_value(json!({ "status": { "containerStatuses": [{ "name": "etcdutl", "image": "",
                "imageID": "", "ready": false, "restartCount": 0, "state": { "terminated": { "exitCode": code,
                "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:09Z" } } }] } }))
            .expect("a pod")
        };
        assert_eq!(ended(&pod(0)), Some(Ok(8.0)));
        assert!(ended(&pod(1)).is_some_and(|ended| ended.is_err()));
        assert_eq!(ended(&Pod::default()), None);
    }

    #[test]
    fn an_answer_of_a_put_has_a_revision() {
        assert_eq!(revision(r#"{"header":{"revision":"12"}}"#), Some(12));
        assert_eq!(revision(r#"{"error":"no leader"}"#), None);
    }
}
