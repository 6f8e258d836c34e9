//! A backup that is made under load and restored into a second Cluster beside the first, asked for as an owner asks.
//! What the second one holds is compared with what the first one's etcd says it held at the backup's revision.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::deploy::Guard;
use crate::scenario::RunError;
use crate::scenario::inside::Inside;
use crate::scenario::subject::{CLUSTER, COMPONENT, MANAGER, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Name of the Cluster that is made of the backup.
const RESTORED: &str = "restored";
/// By how much a restored cluster's revision is ahead of the backup's at least: no watch of the old one goes back.
pub(super) const BUMP: i64 = 1_000_000_000;
/// How etcdctl in a member's pod gets in where certificates are asked for: as the member, which may read all keys.
const MEMBERS_ACCESS: [&str; 4] = [
    "--endpoints=https://127.0.0.1:2379",
    "--cacert=/etc/pki/tls/ca.pem",
    "--cert=/etc/pki/tls/cert.pem",
    "--key=/etc/pki/tls/key.pem",
];

/// A backup that was asked for.
pub(super) struct BackUp {
    subject: Subject,
    name: String,
}

/// What the status of a backup says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) phase: String,
    pub(super) revision: i64,
    pub(super) verified: bool,
    pub(super) reason: String,
}

/// A key as etcd's gateway and etcdctl give it, bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(deserialize_with = "number")]
    create_revision: i64,
    #[serde(deserialize_with = "number")]
    mod_revision: i64,
    #[serde(deserialize_with = "number")]
    version: i64,
    /// 0: none.
    #[serde(default, deserialize_with = "number")]
    lease: i64,
}

/// A number, which the gateway writes as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    read_number(&Value::deserialize(from)?).ok_or_else(|| D::Error::custom("no number"))
}

fn read_number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

/// All keys of one cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) revision: i64,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl BackUp {
    /// Makes a repository on a claim and asks for a backup in it.
    pub(super) async fn ask(subject: &Subject, number: u32) -> Result<Self, RunError> {
        let name = format!("backup-{number}");
        on_a_claim(subject).await?;
        make(subject, &name, "datafile", "Retain").await?;
        Ok(Self {
            subject: subject.clone(),
            name,
        })
    }

    /// Waits until it runs, or has ended already.
    pub(super) async fn begun(&self) -> Result<String, RunError> {
        let begun = |told: &Told| told.phase == "Running" || told.has_ended();
        let limit = timeouts::patient(timeouts::EFFECT_SLOW);
        let told = wait(&self.subject, &self.name, "begun", limit, begun).await?;
        Ok(told.phase)
    }

    /// Waits until it has succeeded, restores it, and compares. Tells what was compared.
    pub(super) async fn ended(&self, limit: Duration) -> Result<String, RunError> {
        let told = wait(&self.subject, &self.name, "ended", limit, Told::has_ended).await?;
        told.must_be_verified(&self.name)?;
        let was = held(&self.subject, CLUSTER, Some(told.revision)).await?;
        let mut cluster = self.subject.etcd(None).manifest();
        cluster["spec"]["restore"] = json!({ "source": { "kind": "Backup", "name": self.name } });
        begin(&self.subject, RESTORED, cluster, limit).await?;
        let is = held(&self.subject, RESTORED, None).await?;
        remove(&self.subject.clusters(), RESTORED).await?;
        match difference(&was, &is, told.revision) {
            None => Ok(format!(
                "{} keys at revision {} are those of the backup",
                is.entries.len(),
                told.revision
            )),
            Some(wrong) => Err(RunError::Wait(format!(
                "the restored Cluster hold what the first held at revision {}: {wrong}",
                told.revision
            ))),
        }
    }
}

/// Makes a repository. It belongs to no namespace: it goes with that of the run.
pub(super) async fn repository(
    subject: &Subject,
    name: &str,
    spec: &Value,
) -> Result<(), RunError> {
    let api: Api<Namespace> = Api::all(subject.kube.clone());
    let owner = api
        .get(&subject.namespace)
        .await
        .map_err(|error| RunError::api("read the run's namespace", &error))?;
    let object = json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "BackupRepo",
        "metadata": { "name": name, "ownerReferences": owner.owner_ref(&()).as_slice() },
        "spec": spec,
    });
    let repositories = Api::all_with(subject.kube.clone(), &resource("BackupRepo"));
    apply(&repositories, name, &object).await
}

/// Makes a repository on a claim, for the backups of the run's Cluster.
pub(super) async fn on_a_claim(subject: &Subject) -> Result<(), RunError> {
    let spec = json!({ "storageProviderRef": "pvc", "accessMethod": "Mount", "volumeCapacity": "1Gi",
        "pvReclaimPolicy": "Retain" });
    repository(subject, &subject.namespace, &spec).await?;
    choose(subject, &json!({ "backupRepoName": subject.namespace })).await
}

/// Waits until a repository says whether it can be reached; tells what it says.
pub(super) async fn reachable(
    subject: &Subject,
    name: &str,
    phase: &str,
) -> Result<String, RunError> {
    let api: Api<DynamicObject> = Api::all_with(subject.kube.clone(), &resource("BackupRepo"));
    let what = format!("BackupRepo {name} say {phase}");
    let limit = timeouts::patient(timeouts::EFFECT_SLOW);
    let found = wait_until(what, limit, async || match api.get(name).await {
        Ok(repo) => {
            let status = &repo.data["status"];
            match status["phase"].as_str() {
                Some(now) if now == phase => Poll::Ready(status["conditions"].to_string()),
                _ => Poll::NotYet::<_, String>(status.to_string()),
            }
        }
        Err(error) => Poll::NotYet(error.to_string()),
    });
    found
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

/// Changes the BackupPolicy of the run's cluster.
pub(super) async fn choose(subject: &Subject, spec: &Value) -> Result<(), RunError> {
    let policy = format!("{CLUSTER}-{COMPONENT}-backup-policy");
    let policies: Api<DynamicObject> = of_run(subject, "BackupPolicy");
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "spec": spec }));
    let patched = policies.patch(&policy, &params, &patch).await;
    patched
        .map(drop)
        .map_err(|error| RunError::api(format!("change {policy}"), &error))
}

/// Asks for a Backup.
pub(super) async fn make(
    subject: &Subject,
    name: &str,
    method: &str,
    deletion: &str,
) -> Result<(), RunError> {
    let backup = json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "Backup",
        "metadata": { "name": name, "namespace": subject.namespace },
        "spec": { "backupPolicyName": format!("{CLUSTER}-{COMPONENT}-backup-policy"), "backupMethod": method,
            "deletionPolicy": deletion },
    });
    apply(&of_run(subject, "Backup"), name, &backup).await
}

/// Makes a Cluster of this manifest and waits until it runs.
pub(super) async fn begin(
    subject: &Subject,
    name: &str,
    mut cluster: Value,
    limit: Duration,
) -> Result<(), RunError> {
    cluster["metadata"]["name"] = json!(name);
    let clusters = subject.clusters();
    apply(&clusters, name, &cluster).await?;
    let what = format!("Cluster {name} run");
    let runs = wait_until(what, limit, async || match clusters.get(name).await {
        Ok(cluster) if cluster.data["status"]["phase"] == "Running" => Poll::Ready(()),
        Ok(cluster) => Poll::NotYet::<(), String>(cluster.data["status"].to_string()),
        Err(error) => Poll::NotYet(error.to_string()),
    });
    runs.await
        .map_err(|error| RunError::Wait(error.to_string()))
}

/// Deletes an object and waits until it is gone.
pub(super) async fn remove(api: &Api<DynamicObject>, name: &str) -> Result<(), RunError> {
    let gone = api.delete(name, &DeleteParams::background()).await;
    gone.map_err(|error| RunError::api(format!("delete {name}"), &error))?;
    let limit = timeouts::patient(timeouts::EFFECT_SLOW);
    let gone = wait_until(format!("{name} to be gone"), limit, async || {
        match api.get_opt(name).await {
            Ok(None) => Poll::Ready(()),
            Ok(Some(object)) => Poll::NotYet::<(), String>(object.data["status"].to_string()),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    gone.await
        .map_err(|error| RunError::Wait(error.to_string()))
}

/// Waits until a Backup's status fits.
pub(super) async fn wait(
    subject: &Subject,
    name: &str,
    what: &str,
    limit: Duration,
    fits: impl Fn(&Told) -> bool,
) -> Result<Told, RunError> {
    let backups: Api<DynamicObject> = of_run(subject, "Backup");
    let what = format!("Backup {name} has {what}");
    let found = wait_until(what, limit, async || match backups.get(name).await {
        Ok(backup) => match Told::of(&backup.data["status"]) {
            told if fits(&told) => Poll::Ready(told),
            told => Poll::NotYet::<_, String>(format!("{told:?}")),
        },
        Err(error) => Poll::NotYet(error.to_string()),
    });
    found
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

impl Told {
    fn of(status: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            phase: text(&status["phase"]),
            revision: status["revision"].as_i64().unwrap_or_default(),
            verified: status["verified"] == true,
            reason: text(&status["failureReason"]),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "Failed")
    }

    /// Whether it is there and was proved.
    pub(super) fn must_be_verified(&self, name: &str) -> Result<(), RunError> {
        if self.phase == "Completed" && self.verified {
            return Ok(());
        }
        Err(RunError::Wait(format!(
            "Backup {name} Completed and verified: it is {self:?}"
        )))
    }
}

/// What the restored cluster has otherwise than the first had at this revision. Keys of a lease may have ended with it.
pub(super) fn difference(was: &Held, is: &Held, revision: i64) -> Option<String> {
    if was.entries.is_empty() {
        return Some("there was no key".to_owned());
    }
    if is.revision < revision + BUMP {
        return Some(format!(
            "its revision is {}, less than {BUMP} above",
            is.revision
        ));
    }
    let mut lost = was.entries.iter();
    let lost = lost.find(|(key, entry)| match is.entries.get(*key) {
        Some(now) => now != *entry,
        None => entry.lease == 0,
    });
    if let Some((key, entry)) = lost {
        let now = is.entries.get(key);
        return Some(format!("{} was {entry:?} and is {now:?}", plain(key)));
    }
    let more = is
        .entries
        .keys()
        .find(|key| !was.entries.contains_key(*key));
    more.map(|key| format!("{} was not there", plain(key)))
}

/// A key as text.
fn plain(key: &str) -> String {
    let bytes = STANDARD.decode(key).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All keys of a Cluster of the run that is closed like the first, at a revision or now, read through its quorum.
pub(super) async fn held(
    subject: &Subject,
    cluster: &str,
    revision: Option<i64>,
) -> Result<Held, RunError> {
    held_by(subject, cluster, subject.guard, revision).await
}

/// The same of one that is closed with this.
pub(super) async fn held_by(
    subject: &Subject,
    cluster: &str,
    guard: Guard,
    revision: Option<i64>,
) -> Result<Held, RunError> {
    let pod = format!("{cluster}-{COMPONENT}-0");
    let at = revision.unwrap_or_default().to_string();
    let action = || format!("read all keys of {pod}");
    let answer = if guard.has_tls() {
        let inside = Inside::member(&subject.kube, &subject.namespace, &pod);
        let rev = format!("--rev={at}");
        let arguments = [
            &MEMBERS_ACCESS[..],
            &["get", "", "--from-key", "-w=json", &rev],
        ]
        .concat();
        let answer = inside.exec(&arguments, timeouts::NODE_COMMAND).await;
        answer.map(|answer| String::from_utf8_lossy(&answer).into_owned())
    } else {
        let everything = STANDARD.encode([0]);
        let request = json!({ "key": everything, "range_end": everything, "revision": at });
        let request = request.to_string();
        let answer = subject.etcd_call(&pod, "v3/kv/range", &request).await;
        answer.map_err(|error| RunError::api(action(), &error))
    }?;
    parse(&answer).map_err(|error| RunError::api(action(), &error))
}

fn parse(answer: &str) -> Result<Held, String> {
    let answer: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let revision = read_number(&answer["header"]["revision"]);
    let entries = match &answer["kvs"] {
        Value::Null => Vec::new(),
        entries => Vec::<Entry>::deserialize(entries).map_err(|error| error.to_string())?,
    };
    Ok(Held {
        revision: revision.ok_or("the answer has no revision")?,
        entries: entries
            .into_iter()
            .map(|entry| (entry.key.clone(), entry))
            .collect(),
    })
}

pub(super) fn of_run(subject: &Subject, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource(kind))
}

fn resource(kind: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("dataprotection.kubeblocks.io", "v1alpha1", kind);
    ApiResource::from_gvk(&gvk)
}

async fn apply(api: &Api<DynamicObject>, name: &str, object: &Value) -> Result<(), RunError> {
    let params = PatchParams::apply(MANAGER);
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    let kind = object["kind"].as_str().unwrap_or_default();
    applied
        .map(drop)
        .map_err(|error| RunError::api(format!("apply {kind} {name}"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(revision: i64, keys: &[(&str, &str, i64)]) -> Held {
        let entries = keys.iter().map(|(key, value, lease)| {
            let entry = Entry {
                key: STANDARD.encode(key),
                value: STANDARD.encode(value),
                create_revision: 2,
                mod_revision: 7,
                version: 3,
                lease: *lease,
            };
            (entry.key.clone(), entry)
        });
        Held {
            revision,
            entries: entries.collect(),
        }
    }

    #[test]
    fn what_differs_from_the_backup_is_found() {
        let was = held(9, &[("a", "1", 0), ("b", "2", 0), ("leased", "3", 5)]);
        let after = 9 + BUMP;
        let same = [("a", "1", 0), ("b", "2", 0), ("leased", "3", 5)];
        assert_eq!(difference(&was, &held(after, &same), 9), None);
        assert_eq!(
            difference(&was, &held(after, &same[..2]), 9),
            None,
            "its lease has ended"
        );
        let wrong = [
            ("b was", vec![same[0], same[2]]),
            ("a was", vec![("a", "0", 0), same[1], same[2]]),
            ("leased was", vec![same[0], same[1], ("leased", "0", 5)]),
            (
                "c was not there",
                vec![same[0], same[1], same[2], ("c", "", 0)],
            ),
        ];
        for (told, keys) in wrong {
            let found = difference(&was, &held(after, &keys), 9).unwrap_or_default();
            assert!(found.starts_with(told), "{told}: {found}");
        }
        let back = difference(&was, &held(after - 1, &same), 9).unwrap_or_default();
        assert!(back.contains("its revision is"), "{back}");
        let nothing = held(9, &[]);
        assert!(difference(&nothing, &held(after, &[]), 9).is_some());
    }

    #[test]
    fn an_answer_of_the_gateway_is_read() {
        let text = r#"{"header":{"revision":"12"},"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"3",
            "version":"2","value":"MQ=="}],"count":"1"}"#;
        let held = parse(text).expect("an answer");
        assert_eq!(held.revision, 12);
        assert_eq!(held.entries["YQ=="].value, "MQ==");
        let etcdctl = r#"{"header":{"revision":12},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,
            "version":2,"value":"MQ=="}],"count":1}"#;
        assert_eq!(parse(etcdctl).expect("an answer"), held);
        let empty = parse(r#"{"header":{"revision":"1"}}"#).expect("an answer");
        assert!(empty.entries.is_empty());
        assert!(
            parse(r#"{"error":"etcdserver: mvcc: required revision has been compacted"}"#).is_err()
        );
    }
}
