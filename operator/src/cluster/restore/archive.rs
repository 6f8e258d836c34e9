//! Pure: the full backup that an archive is put over, or why there is none.

use std::collections::BTreeMap;

use etcd_operator_api::backup::BackupPhase;
use etcd_operator_api::backup_policy::DATAFILE;
use etcd_operator_api::restore::SeedArchive;
use etcd_operator_api::{Backup, labels};
use kube::ResourceExt;

use super::source::{Source, Until};

/// The newest full backup that is not past the target, and what is put over it.
pub(super) fn base<'a>(
    source: &Source,
    archive: &Backup,
    all: &'a BTreeMap<String, Backup>,
) -> Result<(SeedArchive, &'a Backup), String> {
    let refuse = |why: String| {
        Err(format!(
            "{}: archive {:?} {why}",
            source.field, source.backup
        ))
    };
    if archive.metadata.deletion_timestamp.is_some() {
        return refuse("is being deleted".to_owned());
    }
    let status = archive.status.clone().unwrap_or_default();
    let (Some(path), Some(range)) = (status.path.clone(), status.time_range.clone()) else {
        return refuse(
            "has no status.timeRange: wait for it, or see its status.failureReason".to_owned(),
        );
    };
    let encryption = status.encryption_config.clone();
    let mut over = SeedArchive {
        path,
        encryption: encryption.map(|config| config.pass_phrase_secret_key_ref),
        ..SeedArchive::default()
    };
    match &source.until {
        // A repository may list less than it was given.
        Until::End => over.at_least = status.revision,
        Until::Revision(revision) => over.revision = Some(*revision),
        Until::Time(time) => {
            if let Some(start) = range.start.filter(|start| *time < start.0) {
                return refuse(format!("begins at {}, and {time} is before", start.0));
            }
            over.time = Some(time.to_string());
        }
    }
    let same = |backup: &&Backup| {
        let of = |label: &str| backup.labels().get(label) == archive.labels().get(label);
        of(labels::INSTANCE) && of(labels::COMPONENT_NAME)
    };
    let fits = |backup: &&Backup| {
        let found = backup.status.clone().unwrap_or_default();
        let revision = found.revision.unwrap_or(i64::MAX);
        let ready = found.phase == Some(BackupPhase::Completed)
            && found.verified == Some(true)
            && found.place() == status.place()
            && backup.metadata.deletion_timestamp.is_none();
        let early = match &source.until {
            // One that is newer than the archive's end needs no archive.
            Until::End => revision <= status.revision.unwrap_or_default(),
            Until::Revision(until) => revision <= *until,
            // Its snapshot was taken before it was completed.
            Until::Time(time) => found.completion_timestamp.is_some_and(|at| at.0 <= *time),
        };
        backup.spec.backup_method == DATAFILE && ready && early
    };
    let base = all.values().filter(same).filter(fits);
    let base = base.max_by_key(|backup| backup.status.as_ref().and_then(|status| status.revision));
    match base {
        Some(base) => Ok((over, base)),
        None => refuse(
            "has no full backup to be put over: one of the same cluster and repository, Completed, verified, and not later \
             than what is asked for"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::Cluster;
    use serde_json::{Value, json};

    use super::super::{requested, seed};
    use super::*;

    fn backup(name: &str, method: &str, status: &Value) -> Backup {
        let labelled = json!({ labels::INSTANCE: "shop", labels::COMPONENT_NAME: "etcd" });
        let mut all = json!({ "phase": "Completed", "verified": true, "backupRepoName": "r", "sha256": "s",
            "etcdVersion": "3.6.16", "path": format!("demo/shop-u/etcd/{name}") });
        for (key, value) in status.as_object().expect("fields") {
            all[key] = value.clone();
        }
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "demo", "uid": name, "labels": labelled },
            "spec": { "backupPolicyName": "p", "backupMethod": method }, "status": all }))
        .expect("a Backup")
    }

    fn all() -> BTreeMap<String, Backup> {
        let archive = json!({ "phase": "Running", "verified": null, "revision": 900,
            "timeRange": { "start": "2026-01-01T09:00:00Z", "end": "2026-01-03T00:00:00Z" } });
        let at =
            |revision: i64, at: &str| json!({ "revision": revision, "completionTimestamp": at });
        let mut other = backup("other", DATAFILE, &at(450, "2026-01-01T17:00:00Z"));
        other
            .labels_mut()
            .insert(labels::INSTANCE.into(), "another".into());
        let mut before = at(440, "2026-01-01T17:00:00Z");
        before["path"] = json!("demo/shop-earlier/etcd/before");
        let mut unproven = at(460, "2026-01-01T17:00:00Z");
        unproven["verified"] = json!(false);
        let backups = [
            backup("pitr", "archive", &archive),
            backup("first", DATAFILE, &at(100, "2026-01-01T08:00:00Z")),
            backup("second", DATAFILE, &at(400, "2026-01-01T16:00:00Z")),
            backup("third", DATAFILE, &at(800, "2026-01-02T16:00:00Z")),
            backup("beyond", DATAFILE, &at(999, "2026-01-03T16:00:00Z")),
            backup("before", DATAFILE, &before),
            backup("unproven", DATAFILE, &unproven),
            other,
        ];
        backups.map(|backup| (backup.name_any(), backup)).into()
    }

    fn found(until: &Value, name: &str) -> Result<(String, SeedArchive), String> {
        let mut asked = json!({ "source": { "name": name } });
        for (field, value) in until.as_object().into_iter().flatten() {
            asked[field] = value.clone();
        }
        let cluster: Cluster =
            serde_json::from_value(json!({ "metadata": { "name": "new", "namespace": "demo" },
            "spec": { "terminationPolicy": "Delete", "restore": asked,
                "componentSpecs": [{ "name": "etcd", "replicas": 3 }] } }))
            .expect("a Cluster");
        let source = requested(&cluster)?.remove(0);
        let seed = seed(&cluster, &source, &all(), "3.6.1")?;
        Ok((seed.backup, seed.archive.expect("an archive")))
    }

    #[test]
    fn an_archive_is_put_over_the_newest_full_backup_that_is_not_past_the_target() {
        let base = |pitr: Value| found(&pitr, "pitr").expect("a seed");
        let (full, over) = base(json!({ "revision": 700 }));
        assert_eq!(
            (full.as_str(), over.revision, over.time),
            ("second", Some(700), None)
        );
        assert_eq!(over.path, "demo/shop-u/etcd/pitr");
        assert_eq!(base(json!({ "revision": 800 })).0, "third");
        let (full, over) = base(json!({ "pitr": "2026-01-02T12:00:00+01:00" }));
        assert_eq!(
            (full.as_str(), over.time.as_deref(), over.at_least),
            ("second", Some("2026-01-02T11:00:00Z"), None)
        );
        let (full, over) = base(Value::Null);
        assert_eq!(
            (full.as_str(), over.revision, over.time, over.at_least),
            ("third", None, None, Some(900)),
            "an archive of fewer revisions is not all of it"
        );
    }

    #[test]
    fn what_no_archive_leads_to_is_refused_before_anything_is_made() {
        for (pitr, name, told) in [
            (json!({ "revision": 99 }), "pitr", "no full backup"),
            (
                json!({ "pitr": "2026-01-01T08:59:59Z" }),
                "pitr",
                "begins at 2026-01-01T09:00:00Z",
            ),
            (json!({ "pitr": "noon" }), "pitr", "spec.restore.pitr"),
            (json!({ "revision": 0 }), "pitr", "at least 1"),
            (json!({ "revision": 500 }), "second", "is no archive"),
            (Value::Null, "missing", "is not there"),
        ] {
            let why = found(&pitr, name).expect_err("refused");
            assert!(why.contains(told), "{why}");
        }
    }
}
