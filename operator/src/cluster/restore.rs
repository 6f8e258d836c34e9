//! Pure: the backup that a new Cluster begins with, or why it cannot.

use std::collections::BTreeMap;

use etcd_operator_api::backup::BackupPhase;
use etcd_operator_api::backup_policy::ARCHIVE;
use etcd_operator_api::restore::{ALLOW_UNVERIFIED, Seed};
use etcd_operator_api::{Backup, Cluster, labels};
use kube::ResourceExt;

mod archive;
mod source;

use source::Until;
pub(super) use source::{Source, requested};

/// The first etcd whose tools raise the revision of restored data, by minor version (D1).
const FLOOR: [(u32, u32, u32); 2] = [(3, 5, 10), (3, 6, 0)];

/// Why a component that is there does not begin again.
pub(super) fn in_place(component: &str) -> String {
    format!(
        "component {component:?} is there already and is not restored in place: make another Cluster with the same \
         annotation or spec.restore, lead clients there, and delete this one"
    )
}

/// A seed as an annotation has it.
pub(super) fn text(seed: &Seed) -> String {
    serde_json::to_string(seed).unwrap_or_default()
}

/// What the component begins with; `version` is the etcd that it gets, `all` are the Backups that were read.
pub(super) fn seed(
    cluster: &Cluster,
    source: &Source,
    all: &BTreeMap<String, Backup>,
    version: &str,
) -> Result<Seed, String> {
    let named = all.get(&source.backup);
    let label = |backup: &Backup| backup.labels().get(labels::COMPONENT_NAME).cloned();
    if let (Some(wanted), Some(of)) = (&source.of, named.and_then(label))
        && *wanted != of
    {
        return Err(format!(
            "{}: Backup {:?} is of component {of:?}, and spec.restore.parameters name {wanted:?}",
            source.field, source.backup
        ));
    }
    let Some(archive) = named.filter(|named| named.spec.backup_method == ARCHIVE) else {
        if source.until != Until::End {
            return Err(format!(
                "{}: Backup {:?} is no archive (backupMethod: archive): only one has a time or a revision to go to",
                source.field, source.backup
            ));
        }
        return full(cluster, source, named, version);
    };
    let (over, base) = archive::base(source, archive, all)?;
    let base_source = Source {
        backup: base.name_any(),
        ..source.clone()
    };
    let mut seed = full(cluster, &base_source, Some(base), version)?;
    seed.archive = Some(over);
    Ok(seed)
}

/// A full backup as the component's beginning.
fn full(
    cluster: &Cluster,
    source: &Source,
    backup: Option<&Backup>,
    version: &str,
) -> Result<Seed, String> {
    let (field, name) = (&source.field, &source.backup);
    let refuse = |why: String| Err(format!("{field}: Backup {name:?} {why}"));
    let Some(backup) = backup else {
        return refuse("is not there".to_owned());
    };
    if backup.metadata.deletion_timestamp.is_some() {
        return refuse("is being deleted".to_owned());
    }
    let status = backup.status.clone().unwrap_or_default();
    if status.phase != Some(BackupPhase::Completed) {
        let phase = status
            .phase
            .map_or("New".to_owned(), |phase| format!("{phase:?}"));
        return refuse(format!("is {phase}: restore from one that is Completed"));
    }
    let allowed = cluster
        .annotations()
        .get(ALLOW_UNVERIFIED)
        .map(String::as_str)
        == Some("true");
    if status.verified != Some(true) && !allowed {
        return refuse(format!(
            "was never verified: choose another, or set the annotation {ALLOW_UNVERIFIED}: \"true\" on this Cluster"
        ));
    }
    if status.authentication == Some(true) && !has_users(cluster, source) {
        return refuse(
            "has users, and etcd's authentication is on in it: without users the members' agents would be refused. Give the \
             component systemAccounts, e.g. [{name: root}], with tls: true"
                .to_owned(),
        );
    }
    let (Some(repo), Some(path), Some(sha256)) =
        (status.backup_repo_name, status.path, status.sha256)
    else {
        return refuse("does not say where its data is".to_owned());
    };
    let of = status.etcd_version.unwrap_or_default();
    if let Err(why) = fits(&of, version) {
        return refuse(why);
    }
    Ok(Seed {
        backup: name.clone(),
        backup_uid: backup.uid().unwrap_or_default(),
        repo,
        path,
        sha256,
        revision: status.revision.unwrap_or_default(),
        bytes: status.total_size.and_then(|size| size.parse().ok()),
        encryption: status
            .encryption_config
            .map(|config| config.pass_phrase_secret_key_ref),
        archive: None,
    })
}

/// Whether a backup of one version can be restored by another.
fn fits(of: &str, version: &str) -> Result<(), String> {
    let (Some(old), Some(new)) = (parse(of), parse(version)) else {
        return Err(format!(
            "is of etcd {of:?}, and this Cluster's is {version:?}: one is no version"
        ));
    };
    if (old.0, old.1) != (new.0, new.1) {
        return Err(format!(
            "is of etcd {of}: set serviceVersion to one of {}.{} and upgrade when it runs, not {version}",
            old.0, old.1
        ));
    }
    let mut floors = FLOOR.iter();
    let floor = floors.find(|floor| (floor.0, floor.1) == (new.0, new.1));
    if floor.is_some_and(|floor| new < *floor) || (new.0, new.1) < (3, 5) {
        return Err(format!(
            "needs etcd 3.5.10 or later, which raises the revision of what it restores; serviceVersion is {version}"
        ));
    }
    Ok(())
}

fn has_users(cluster: &Cluster, source: &Source) -> bool {
    let mut specs = cluster.spec.component_specs.iter();
    let spec = specs.find(|spec| spec.name == source.component);
    spec.is_some_and(|spec| !spec.system_accounts.is_empty())
}

fn parse(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(annotation: Option<Value>, restore: &Value) -> Cluster {
        let mut cluster: Cluster = serde_json::from_value(json!({
            "metadata": { "name": "etcd-cluster-restore", "namespace": "demo" },
            "spec": { "terminationPolicy": "Delete", "restore": restore,
                "componentSpecs": [{ "name": "etcd", "replicas": 3 }] } }))
        .expect("a Cluster");
        if let Some(annotation) = annotation {
            cluster
                .annotations_mut()
                .insert(labels::RESTORE.into(), annotation.to_string());
        }
        cluster
    }

    fn backup(status: &Value) -> Backup {
        let mut all = json!({ "phase": "Completed", "verified": true, "backupRepoName": "r", "path": "p", "sha256": "s",
            "etcdVersion": "3.6.16", "revision": 7 });
        for (key, value) in status.as_object().expect("fields") {
            all[key] = value.clone();
        }
        serde_json::from_value(
            json!({ "metadata": { "name": "b", "namespace": "demo", "uid": "bu" },
            "spec": { "backupPolicyName": "p", "backupMethod": "datafile" }, "status": all }),
        )
        .expect("a Backup")
    }

    #[test]
    fn both_of_kubeblocks_ways_name_the_same_backup() {
        let entry = json!({ "etcd": { "name": "b", "namespace": "demo", "volumeRestorePolicy": "Parallel",
            "doReadyRestoreAfterClusterRunning": "false" } });
        let annotated = requested(&cluster(Some(entry), &Value::Null)).expect("a source");
        let source = json!({ "source": { "apiGroup": "dataprotection.kubeblocks.io", "kind": "Backup", "name": "b",
            "namespace": "demo" } });
        let written = requested(&cluster(None, &source)).expect("a source");
        let plain = |all: &[Source]| {
            all.iter()
                .map(|s| (s.component.clone(), s.backup.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&annotated), [("etcd".to_owned(), "b".to_owned())]);
        assert_eq!(plain(&written), plain(&annotated));
        assert_eq!(requested(&cluster(None, &Value::Null)), Ok(Vec::new()));
        let both = requested(&cluster(Some(json!({ "etcd": { "name": "b" } })), &source));
        assert!(both.is_err_and(|why| why.contains("keep one")));
    }

    /// The shape of KubeBlocks' restore.yaml, as its main branch has it.
    const RESTORE: &str = r#"
apiVersion: apps.kubeblocks.io/v1
kind: Cluster
metadata: {name: etcd-cluster-restore, namespace: demo}
spec:
  restore:
    source: {apiGroup: dataprotection.kubeblocks.io, kind: Backup, name: b, namespace: demo}
    parameters:
      dataprotection.kubeblocks.io/source-target-name: etcd
      dataprotection.kubeblocks.io/volume-restore-policy: Parallel
  terminationPolicy: Delete
  componentSpecs:
    - name: etcd
      componentDef: etcd
      serviceVersion: 3.6.12
      disableExporter: false
      replicas: 3
      resources:
        limits: {cpu: "0.5", memory: "0.5Gi"}
        requests: {cpu: "0.5", memory: "0.5Gi"}
      volumeClaimTemplates:
        - name: data
          spec:
            storageClassName: ""
            accessModes: [ReadWriteOnce]
            resources: {requests: {storage: 20Gi}}
"#;

    #[test]
    fn kubeblocks_own_restore_is_read_with_its_parameters_and_time() {
        let read: Value = serde_saphyr::from_str(RESTORE).expect("YAML");
        let asked = |change: &dyn Fn(&mut Value)| {
            let mut changed = read.clone();
            change(&mut changed["spec"]["restore"]);
            let cluster: Cluster = serde_json::from_value(changed).map_err(|e| e.to_string())?;
            let source = requested(&cluster)?.remove(0);
            let mut of = backup(&json!({}));
            of.labels_mut()
                .insert(labels::COMPONENT_NAME.into(), "etcd".into());
            seed(&cluster, &source, &[("b".into(), of)].into(), "3.6.12")
        };
        let good = asked(&|_| {}).expect("a seed");
        assert_eq!(good.backup, "b");
        let key = |name: &str| format!("dataprotection.kubeblocks.io/{name}");
        let set = |name: &'static str, value: &'static str| {
            move |restore: &mut Value| restore["parameters"][key(name)] = json!(value)
        };
        for (why, told) in [
            (
                asked(&set("source-target-name", "other")),
                "component \"etcd\"",
            ),
            (
                asked(&set("volume-restore-policy", "Never")),
                "Parallel or Serial",
            ),
            (
                asked(&set("restore-env", "[]")),
                "restore-env] is not supported",
            ),
            (
                asked(&|restore| restore["pitr"] = json!("2026-07-10T08:00:00Z")),
                "is no archive",
            ),
        ] {
            let why = why.expect_err("refused");
            assert!(why.contains(told), "{why}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (annotation, told) in [
            (
                json!({ "etcd": { "name": "b", "restoreTime": "2026-01-01" } }),
                "restoreTime",
            ),
            (
                json!({ "etcd": { "name": "b", "namespace": "other" } }),
                "own namespace",
            ),
            (json!({ "mysql": { "name": "b" } }), "names no component"),
            (
                json!({ "etcd": { "name": "b", "volumeRestorePolicy": "Never" } }),
                "volumeRestorePolicy",
            ),
            (
                json!({ "etcd": { "name": "b", "doReadyRestoreAfterClusterRunning": true } }),
                "doReadyRestore",
            ),
            (json!([]), "cannot be read"),
        ] {
            let why = requested(&cluster(Some(annotation), &Value::Null)).expect_err("refused");
            assert!(why.contains(told), "{why}");
        }
    }

    #[test]
    fn a_backup_with_users_is_restored_into_a_cluster_with_users_only() {
        let mut cluster = cluster(Some(json!({ "etcd": { "name": "b" } })), &Value::Null);
        let source = requested(&cluster).expect("a source").remove(0);
        let users = backup(&json!({ "authentication": true }));
        let why = full(&cluster, &source, Some(&users), "3.6.1").expect_err("refused");
        assert!(why.contains("systemAccounts"), "{why}");
        assert!(full(&cluster, &source, Some(&backup(&json!({}))), "3.6.1").is_ok());
        let root = serde_json::from_value(json!({ "name": "root" })).expect("an account");
        cluster.spec.component_specs[0].system_accounts = vec![root];
        assert!(full(&cluster, &source, Some(&users), "3.6.1").is_ok());
    }

    #[test]
    fn a_backup_that_cannot_be_restored_is_refused_before_anything_is_made() {
        let cluster = cluster(Some(json!({ "etcd": { "name": "b" } })), &Value::Null);
        let source = requested(&cluster).expect("a source").remove(0);
        let of =
            |status: Value, version: &str| full(&cluster, &source, Some(&backup(&status)), version);
        let good = of(json!({}), "3.6.1").expect("a seed");
        assert_eq!(
            (good.backup_uid.as_str(), good.path.as_str(), good.revision),
            ("bu", "p", 7)
        );
        for (status, version, told) in [
            (json!({ "phase": "Running" }), "3.6.1", "is Running"),
            (json!({ "verified": false }), "3.6.1", "never verified"),
            (json!({ "path": null }), "3.6.1", "where its data is"),
            (json!({}), "3.5.35", "set serviceVersion to one of 3.6"),
            (
                json!({ "etcdVersion": "3.5.6" }),
                "3.5.6",
                "3.5.10 or later",
            ),
            (json!({ "etcdVersion": "x" }), "3.6.1", "no version"),
        ] {
            let why = of(status, version).expect_err("refused");
            assert!(why.contains(told), "{why}");
        }
        assert!(
            full(&cluster, &source, None, "3.6.1").is_err_and(|why| why.contains("is not there"))
        );
        let mut trusting = cluster.clone();
        trusting
            .annotations_mut()
            .insert(ALLOW_UNVERIFIED.into(), "true".into());
        assert!(
            full(
                &trusting,
                &source,
                Some(&backup(&json!({ "verified": false }))),
                "3.6.1"
            )
            .is_ok()
        );
    }
}
