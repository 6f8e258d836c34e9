//! Pure: the backups that a Cluster asks for, and up to where.

use std::collections::BTreeMap;

use etcd_operator_api::{Cluster, labels};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Deserialize;

/// What the names of parameters begin with.
const PARAMETER: &str = "dataprotection.kubeblocks.io/";
/// How volumes may be filled: one member's is, so it makes no difference.
const ANY_POLICY: [&str; 2] = ["Parallel", "Serial"];

/// What a component is to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Source {
    /// The component.
    pub(in crate::cluster) component: String,
    /// The Backup.
    pub(in crate::cluster) backup: String,
    /// The component that the backup must be of, where that is asked for.
    pub(super) of: Option<String>,
    /// Up to where, of an archive.
    pub(super) until: Until,
    /// The field that says so.
    pub(super) field: String,
}

/// Up to where an archive is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Until {
    /// Its end.
    #[default]
    End,
    /// A revision.
    Revision(i64),
    /// A time.
    Time(Timestamp),
}

impl Until {
    fn read(field: &str, time: Option<&str>, revision: Option<i64>) -> Result<Self, String> {
        match (time.filter(|time| !time.is_empty()), revision) {
            (None, None) => Ok(Until::End),
            (None, Some(revision)) if revision > 0 => Ok(Until::Revision(revision)),
            (Some(time), None) => time.parse().map(Until::Time).map_err(|error| {
                format!("{field} {time:?} is no time such as 2026-11-28T12:00:00Z: {error}")
            }),
            _ => Err(format!(
                "{field}: give a time or a revision that is at least 1"
            )),
        }
    }
}

/// One component's entry of KubeBlocks' annotation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    /// Of an archive.
    #[serde(default)]
    restore_time: Option<String>,
    /// Of an archive. Not KubeBlocks'.
    #[serde(default)]
    restore_revision: Option<i64>,
    /// One member's volume is filled: whether that is parallel makes no difference.
    #[serde(default)]
    volume_restore_policy: Option<String>,
    #[serde(default)]
    do_ready_restore_after_cluster_running: Option<serde_json::Value>,
}

/// The backups that a Cluster asks for.
pub(in crate::cluster) fn requested(cluster: &Cluster) -> Result<Vec<Source>, String> {
    let annotation = cluster.annotations().get(labels::RESTORE);
    let sources = match (annotation, &cluster.spec.restore) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => {
            return Err(format!(
                "spec.restore and metadata.annotations[{}] are both there: keep one",
                labels::RESTORE
            ));
        }
        (Some(text), None) => annotated(text)?,
        (None, Some(restore)) => {
            let [component] = cluster.spec.component_specs.as_slice() else {
                return Err("spec.restore is for a Cluster with one component".to_owned());
            };
            let until = "spec.restore.pitr or .revision";
            let source = Source {
                component: component.name.clone(),
                backup: restore.source.name.clone(),
                of: parameters(&restore.parameters)?,
                until: Until::read(until, restore.pitr.as_deref(), restore.revision)?,
                field: "spec.restore.source".to_owned(),
            };
            vec![(source, restore.source.namespace.clone())]
        }
    };
    let own = cluster.namespace().unwrap_or_default();
    let there = |name: &String| {
        cluster
            .spec
            .component_specs
            .iter()
            .any(|spec| spec.name == *name)
    };
    for (source, namespace) in &sources {
        if let Some(other) = namespace
            .as_ref()
            .filter(|other| !other.is_empty() && **other != own)
        {
            return Err(format!(
                "{}.namespace {other:?} is not this Cluster's: a backup is restored in its own namespace",
                source.field
            ));
        }
        if !there(&source.component) {
            return Err(format!(
                "{} names no component of spec.componentSpecs",
                source.field
            ));
        }
    }
    Ok(sources.into_iter().map(|(source, _)| source).collect())
}

/// The component that the backup must be of.
fn parameters(given: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    let mut of = None;
    for (name, value) in given {
        match name.strip_prefix(PARAMETER) {
            Some("source-target-name") => of = Some(value.clone()),
            Some("volume-restore-policy") if ANY_POLICY.contains(&value.as_str()) => {}
            Some("volume-restore-policy") => {
                return Err(format!(
                    "spec.restore.parameters[{name}] {value:?} must be {}",
                    ANY_POLICY.join(" or ")
                ));
            }
            _ => {
                return Err(format!(
                    "spec.restore.parameters[{name}] is not supported: {PARAMETER}source-target-name and \
                     {PARAMETER}volume-restore-policy are"
                ));
            }
        }
    }
    Ok(of)
}

fn annotated(text: &str) -> Result<Vec<(Source, Option<String>)>, String> {
    let field = format!("metadata.annotations[{}]", labels::RESTORE);
    let entries: BTreeMap<String, Entry> =
        serde_json::from_str(text).map_err(|error| format!("{field} cannot be read: {error}"))?;
    let read = |(component, entry): (String, Entry)| {
        let field = format!("{field}.{component}");
        let policy = entry
            .volume_restore_policy
            .filter(|policy| !policy.is_empty());
        if policy.is_some_and(|policy| !ANY_POLICY.contains(&policy.as_str())) {
            return Err(format!(
                "{field}.volumeRestorePolicy must be {}",
                ANY_POLICY.join(" or ")
            ));
        }
        let after = entry.do_ready_restore_after_cluster_running;
        let off = after.is_none_or(|after| after == false || after == "false");
        if !off {
            return Err(format!(
                "{field}.doReadyRestoreAfterClusterRunning is not supported: nothing is left to do then"
            ));
        }
        let time = entry.restore_time.as_deref();
        let until = format!("{field}.restoreTime or .restoreRevision");
        let source = Source {
            component,
            backup: entry.name,
            of: None,
            until: Until::read(&until, time, entry.restore_revision)?,
            field,
        };
        Ok((source, entry.namespace))
    };
    entries.into_iter().map(read).collect()
}
