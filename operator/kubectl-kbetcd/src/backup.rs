//! PURE: a look at a cluster and at where its backups go -> the Backup, or what is missing and what to do; and what
//! becomes of it, in one line.

use anyhow::bail;
use etcd_operator_api::backup::{ArchiveGap, BackupPhase, BackupStage, BackupStatus};
use etcd_operator_api::backup_policy::{ARCHIVE, DATAFILE};
use etcd_operator_api::backup_repo::{BackupRepoPhase, DEFAULT, NAMESPACES};
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{Backup, BackupPolicy, BackupRepo, BackupSpec, DeletionPolicy, labels};
use kube::ResourceExt;

use crate::cli::{self, Deletion, Method};
use crate::follow::{End, Followed};
use crate::look::{Seen, Stores};
use crate::request::{component_of, set};
use crate::table::bytes;

/// A Backup that can be made, and what its owner must know of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) backup: Backup,
    pub(crate) notes: Vec<String>,
}

/// The Backup, with the beginning of its name: the rest is drawn when it is made.
pub(crate) fn planned(
    seen: &Seen,
    stores: &Stores,
    asked: &cli::Backup,
) -> anyhow::Result<Planned> {
    let set = set(seen, asked.change.component.as_deref())?;
    let (cluster, component) = (seen.cluster.name_any(), component_of(set));
    let made = ComponentName::existing(&set.name_any()).backup_policy();
    let name = asked.policy.as_ref().unwrap_or(&made);
    let policy = policy(stores, name, (&cluster, &component))?;
    let method = match asked.method {
        Method::Datafile => DATAFILE,
        Method::Archive => ARCHIVE,
    };
    let methods: Vec<&str> = policy
        .spec
        .backup_methods
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    if !methods.contains(&method) {
        let methods = methods.join(", ");
        bail!("BackupPolicy {name} has no method {method}: --method one of {methods}");
    }
    let notes = repo(stores, policy)?;
    let spec = BackupSpec {
        backup_policy_name: name.clone(),
        backup_method: method.to_owned(),
        deletion_policy: match asked.deletion_policy {
            Deletion::Delete => DeletionPolicy::Delete,
            Deletion::Retain => DeletionPolicy::Retain,
        },
        retention_period: asked.retention_period.clone(),
        ..BackupSpec::default()
    };
    let mut backup = Backup::new("", spec);
    backup.metadata.name = None;
    backup.metadata.generate_name = Some(match asked.method {
        Method::Datafile => format!("{cluster}-backup-"),
        Method::Archive => format!("{cluster}-archive-"),
    });
    backup.metadata.namespace = seen.cluster.namespace();
    Ok(Planned {
        backup,
        notes: notes.into_iter().collect(),
    })
}

/// The policy of this name, which must be about this component.
fn policy<'a>(
    stores: &'a Stores,
    name: &str,
    (cluster, component): (&str, &str),
) -> anyhow::Result<&'a BackupPolicy> {
    let is_about = |policy: &&BackupPolicy| {
        let target = &policy.spec.target.pod_selector.match_labels;
        let is = |label: &str, value: &str| target.get(label).is_some_and(|known| known == value);
        is(labels::INSTANCE, cluster) && is(labels::COMPONENT_NAME, component)
    };
    let fitting = stores.policies.iter().filter(is_about);
    let fitting: Vec<String> = fitting.map(ResourceExt::name_any).collect();
    let found = stores
        .policies
        .iter()
        .find(|policy| policy.name_any() == name);
    match (found, fitting.join(", ")) {
        (Some(policy), _) if is_about(&policy) => Ok(policy),
        (Some(_), known) => bail!(
            "BackupPolicy {name} is not about component {component} of cluster {cluster}{}",
            instead(&known)
        ),
        (None, known) if known.is_empty() => bail!(
            "there is no BackupPolicy {name}: the operator makes it when the component is there; is the operator of this \
             release running? kubectl get bp"
        ),
        (None, known) => bail!("there is no BackupPolicy {name}{}", instead(&known)),
    }
}

fn instead(known: &str) -> String {
    match known.is_empty() {
        true => ": leave out --policy, or see kubectl get bp".to_owned(),
        false => format!(": --policy one of {known}"),
    }
}

/// Whether there is a place to put it; what is known to be wrong with that.
fn repo(stores: &Stores, policy: &BackupPolicy) -> anyhow::Result<Option<String>> {
    let of = policy.name_any();
    let repos = match &stores.repos {
        Ok(repos) => repos,
        Err(why) => {
            return Ok(Some(format!(
                "BackupRepos were not looked at ({why}): the Backup says when there is none"
            )));
        }
    };
    let how = format!(
        "name one (kubectl patch bp {of} --type merge -p '{{\"spec\":{{\"backupRepoName\":\"NAME\"}}}}'), or have an \
         administrator make one: docs/tasks.md, \"Back up\""
    );
    let named = policy
        .spec
        .backup_repo_name
        .as_ref()
        .filter(|name| !name.is_empty());
    let is_default = |repo: &&BackupRepo| {
        repo.annotations()
            .get(DEFAULT)
            .is_some_and(|value| value == "true")
    };
    let meant: Vec<&BackupRepo> = match named {
        Some(name) => repos
            .iter()
            .filter(|repo| repo.name_any() == *name)
            .collect(),
        None => repos.iter().filter(is_default).collect(),
    };
    let namespace = policy.namespace().unwrap_or_default();
    match (meant.as_slice(), named) {
        ([repo], _) if !repo.serves(&namespace) => bail!(
            "BackupRepo {} is not for namespace {namespace}, which its annotation {NAMESPACES} does not name: {how}",
            repo.name_any()
        ),
        ([repo], _) => Ok(fault(repo)),
        ([], Some(name)) => {
            bail!("BackupPolicy {of} names BackupRepo {name}, which is not there: {how}")
        }
        ([], None) => bail!(
            "BackupPolicy {of} names no BackupRepo, and none has the annotation {DEFAULT}: {how}"
        ),
        (several, _) => {
            let names: Vec<String> = several.iter().map(|repo| repo.name_any()).collect();
            bail!(
                "BackupPolicy {of} names no BackupRepo, and several have the annotation {DEFAULT}: {}; {how}",
                names.join(", ")
            )
        }
    }
}

/// Why the repository is known not to take anything now. The operator tries it nevertheless: it may have come back.
fn fault(repo: &BackupRepo) -> Option<String> {
    let status = repo.status.as_ref()?;
    if status.phase != Some(BackupRepoPhase::Failed) {
        return None;
    }
    let mut told = status
        .conditions
        .iter()
        .filter(|known| known.status == "False");
    let why = told.next().map_or("", |known| known.message.as_str());
    Some(format!(
        "BackupRepo {} could not be used when it was last tried: {why}",
        repo.name_any()
    ))
}

impl Followed for Backup {
    const RESOURCE: &'static str = "backup";

    fn is_taken_up(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|status| status.phase.is_some())
    }

    fn line(&self) -> String {
        let status = self.status.clone().unwrap_or_default();
        let Some(phase) = status.phase else {
            return "not taken up yet".to_owned();
        };
        let text = match phase {
            BackupPhase::New | BackupPhase::Failed => status.failure_reason,
            BackupPhase::Running if self.spec.backup_method == ARCHIVE => {
                Some(missing(&status).unwrap_or_else(|| kept(&status)))
            }
            BackupPhase::Running => progress(&status),
            BackupPhase::Completed => Some(done(&status)),
            BackupPhase::Deleting => None,
        };
        match text {
            Some(text) => format!("{phase:?}: {text}"),
            None => format!("{phase:?}"),
        }
    }

    /// An archive is done when it is kept: it has no other end.
    fn end(&self) -> Option<End> {
        match self.status.as_ref()?.phase? {
            BackupPhase::Completed => Some(End::Succeeded),
            BackupPhase::Failed | BackupPhase::Deleting => Some(End::Otherwise),
            BackupPhase::New => None,
            BackupPhase::Running => {
                let status = self.status.as_ref()?;
                let is_archive = self.spec.backup_method == ARCHIVE;
                (is_archive && missing(status).is_none()).then_some(End::Succeeded)
            }
        }
    }
}

fn progress(status: &BackupStatus) -> Option<String> {
    let progress = status.progress?;
    let size = |count: i64| bytes(u64::try_from(count).unwrap_or_default());
    let stage = match progress.stage {
        BackupStage::Writing => "writing",
        BackupStage::Verifying => "verifying",
    };
    let written = size(progress.written_bytes);
    Some(match progress.total_bytes {
        Some(total) => format!("{stage}, {written} of {}", size(total)),
        None => format!("{stage}, {written}"),
    })
}

/// Why an archive whose pod runs cannot be restored to what happens now.
fn missing(status: &BackupStatus) -> Option<String> {
    let gap = |gap: &ArchiveGap| format!("there is a gap: {}", gap.reason);
    let reason = status.failure_reason.clone();
    let why = reason.or_else(|| status.gap.as_ref().map(gap));
    match (why, &status.time_range) {
        (None, None) => Some("no change is kept yet".to_owned()),
        (why, _) => why,
    }
}

fn kept(status: &BackupStatus) -> String {
    let of = status
        .target
        .as_ref()
        .map(|target| format!(" of {}", target.name));
    format!(
        "every change{} is kept until it is deleted",
        of.unwrap_or_default()
    )
}

fn done(status: &BackupStatus) -> String {
    let mut words = Vec::new();
    words.extend(status.duration.as_ref().map(|took| format!("after {took}")));
    let size = status
        .total_size
        .as_ref()
        .and_then(|size| size.parse().ok());
    words.extend(size.map(|size| format!("{} in the repository", bytes(size))));
    words.extend(
        status
            .revision
            .map(|revision| format!("revision {revision}")),
    );
    let place = status.backup_repo_name.as_ref().zip(status.path.as_ref());
    words.extend(place.map(|(repo, path)| format!("{path} in BackupRepo {repo}")));
    words.push(match status.verified {
        Some(true) => "read back, restored and compared".to_owned(),
        _ => "not verified".to_owned(),
    });
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::test_support::seen;

    fn asked(line: &str) -> cli::Backup {
        use clap::Parser as _;
        let words = ["kubectl-kbetcd", "backup", "db"].into_iter();
        let words = words.chain(line.split_whitespace());
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Backup(asked)) => asked,
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
    }

    fn policy(name: &str, component: &str, repo: Option<&str>) -> BackupPolicy {
        let selected = json!({ labels::INSTANCE: "db", labels::COMPONENT_NAME: component });
        let object = json!({ "metadata": { "name": name },
            "spec": { "backupRepoName": repo, "backupMethods": [{ "name": "datafile" }],
                "target": { "podSelector": { "matchLabels": selected } } } });
        serde_json::from_value(object).expect("a policy")
    }

    fn repository(name: &str, default: bool, status: &Value) -> BackupRepo {
        let object = json!({ "metadata": { "name": name, "annotations": { DEFAULT: default.to_string() } },
            "spec": { "storageProviderRef": "s3", "pvReclaimPolicy": "Retain" }, "status": status });
        serde_json::from_value(object).expect("a repository")
    }

    fn stores() -> Stores {
        Stores {
            policies: vec![policy("db-etcd-backup-policy", "etcd", None)],
            repos: Ok(vec![repository("s3", true, &json!({ "phase": "Ready" }))]),
        }
    }

    fn refusal(stores: &Stores, line: &str) -> String {
        let refused = planned(&seen(), stores, &asked(line));
        refused.expect_err("a refusal").to_string()
    }

    #[test]
    fn a_backup_is_of_the_component_s_own_policy_and_has_the_beginning_of_a_name() {
        let made = planned(&seen(), &stores(), &asked("")).expect("a Backup");
        assert_eq!(made.notes, Vec::<String>::new());
        let object = serde_json::to_value(&made.backup).expect("JSON");
        assert_eq!(
            object["metadata"],
            json!({ "generateName": "db-backup-", "namespace": "ns" })
        );
        let expected = json!({ "backupPolicyName": "db-etcd-backup-policy", "backupMethod": "datafile", "deletionPolicy": "Delete" });
        assert_eq!(object["spec"], expected);
        let kept = asked("--retention-period 7d --deletion-policy retain");
        let kept = planned(&seen(), &stores(), &kept).expect("a Backup");
        let spec = serde_json::to_value(&kept.backup.spec).expect("JSON");
        assert_eq!(
            (&spec["retentionPeriod"], &spec["deletionPolicy"]),
            (&json!("7d"), &json!("Retain"))
        );
    }

    #[test]
    fn a_policy_must_be_there_and_about_the_component() {
        let mut stores = stores();
        let text = refusal(&stores, "--policy other");
        assert_eq!(
            text,
            "there is no BackupPolicy other: --policy one of db-etcd-backup-policy"
        );
        stores.policies.push(policy("other", "web", None));
        let text = refusal(&stores, "--policy other");
        assert!(
            text.contains("not about component etcd of cluster db"),
            "{text}"
        );
        let text = refusal(&stores, "--method archive");
        assert!(
            text.ends_with("no method archive: --method one of datafile"),
            "{text}"
        );
        stores.policies.clear();
        let text = refusal(&stores, "");
        assert!(
            text.contains("there is no BackupPolicy db-etcd-backup-policy: the operator makes it"),
            "{text}"
        );
        let text = refusal(&stores, "--component web");
        assert!(text.ends_with("--component one of etcd"), "{text}");
    }

    #[test]
    fn without_a_repository_it_is_said_how_to_get_one() {
        let mut stores = stores();
        let mut with = |repos: Vec<BackupRepo>, named| {
            stores.policies = vec![policy("db-etcd-backup-policy", "etcd", named)];
            stores.repos = Ok(repos);
            planned(&seen(), &stores, &asked("")).map_err(|error| error.to_string())
        };
        let ready = json!({ "phase": "Ready" });
        let repo = |name: &str, default| repository(name, default, &ready);
        let none = with(vec![repo("a", false)], None).expect_err("no default");
        assert!(
            none.contains("names no BackupRepo, and none has the annotation"),
            "{none}"
        );
        assert!(
            none.contains("kubectl patch bp db-etcd-backup-policy"),
            "{none}"
        );
        let two = with(vec![repo("a", true), repo("b", true)], None).expect_err("two defaults");
        assert!(
            two.contains("several have the annotation") && two.contains("a, b;"),
            "{two}"
        );
        let gone = with(vec![repo("a", true)], Some("b")).expect_err("another name");
        assert!(
            gone.contains("names BackupRepo b, which is not there"),
            "{gone}"
        );
        assert!(with(vec![repo("a", true), repo("b", true)], Some("b")).is_ok());
    }

    #[test]
    fn a_repository_of_other_namespaces_is_said_before_anything_is_made() {
        let mut stores = stores();
        stores.policies[0].metadata.namespace = Some("ns".to_owned());
        for (named, serves) in [("ns", true), ("other", false)] {
            let mut repo = repository("s3", true, &json!({ "phase": "Ready" }));
            let annotation = (NAMESPACES.to_owned(), named.to_owned());
            let annotations = repo.metadata.annotations.get_or_insert_default();
            annotations.extend([annotation]);
            stores.repos = Ok(vec![repo]);
            let made = planned(&seen(), &stores, &asked(""));
            assert_eq!(made.is_ok(), serves, "{named}");
            if let Err(why) = made {
                assert!(
                    why.to_string()
                        .contains("BackupRepo s3 is not for namespace ns")
                );
            }
        }
    }

    #[test]
    fn a_repository_that_fails_or_is_not_seen_is_noted() {
        let mut stores = stores();
        stores.repos = Err("forbidden".to_owned());
        let notes = planned(&seen(), &stores, &asked(""))
            .expect("a Backup")
            .notes;
        assert!(
            notes[0].contains("were not looked at (forbidden)"),
            "{notes:?}"
        );
        let failed = json!({ "phase": "Failed", "conditions": [{ "type": "Reachable", "status": "False",
            "reason": "r", "message": "no route", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        stores.repos = Ok(vec![repository("s3", true, &failed)]);
        let notes = planned(&seen(), &stores, &asked(""))
            .expect("a Backup")
            .notes;
        assert!(
            notes[0].contains("s3 could not be used") && notes[0].ends_with("no route"),
            "{notes:?}"
        );
    }

    fn backup(method: &str, status: &Value) -> Backup {
        let object = json!({ "metadata": { "name": "b" },
            "spec": { "backupPolicyName": "p", "backupMethod": method }, "status": status });
        serde_json::from_value(object).expect("a Backup")
    }

    #[test]
    fn each_step_is_told_until_the_end() {
        let range = json!({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z" });
        let table = [
            ("datafile", json!({}), "not taken up yet", None),
            (
                "datafile",
                json!({ "phase": "New", "failureReason": "waits" }),
                "New: waits",
                None,
            ),
            ("datafile", json!({ "phase": "Running" }), "Running", None),
            (
                "datafile",
                json!({ "phase": "Running", "progress": { "stage": "Writing", "writtenBytes": 2048, "totalBytes": 4096 } }),
                "Running: writing, 2 KiB of 4 KiB",
                None,
            ),
            (
                "datafile",
                json!({ "phase": "Failed", "failureReason": "no route" }),
                "Failed: no route",
                Some(End::Otherwise),
            ),
            (
                "datafile",
                json!({ "phase": "Completed", "duration": "12s", "totalSize": "4096", "revision": 7, "verified": true,
                "backupRepoName": "s3", "path": "/a/b" }),
                "Completed: after 12s, 4 KiB in the repository, revision 7, /a/b in BackupRepo s3, read back, restored and compared",
                Some(End::Succeeded),
            ),
            (
                "archive",
                json!({ "phase": "Running" }),
                "Running: no change is kept yet",
                None,
            ),
            (
                "archive",
                json!({ "phase": "Running", "failureReason": "more than 10 s behind: no route" }),
                "Running: more than 10 s behind: no route",
                None,
            ),
            (
                "archive",
                json!({ "phase": "Running", "failureReason": "no route", "timeRange": range }),
                "Running: no route",
                None,
            ),
            (
                "archive",
                json!({ "phase": "Running", "gap": { "revision": 9, "reason": "3 to 9 were compacted" }, "timeRange": range }),
                "Running: there is a gap: 3 to 9 were compacted",
                None,
            ),
            (
                "archive",
                json!({ "phase": "Running", "timeRange": range }),
                "Running: every change is kept until it is deleted",
                Some(End::Succeeded),
            ),
        ];
        for (method, status, line, end) in table {
            let backup = backup(method, &status);
            assert_eq!((backup.line().as_str(), backup.end()), (line, end));
            assert_eq!(backup.is_taken_up(), status.get("phase").is_some());
        }
    }
}
