//! PURE: which events are about a cluster, and their text.

use etcd_operator_api::InstanceSet;
use etcd_operator_api::names::claim;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::table::{NONE, table};

const HEAD: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// Names that a cluster's objects are known by.
pub(crate) struct Names {
    pub(crate) cluster: String,
    /// Of its InstanceSets, which are those of its Components and services too.
    pub(crate) sets: Vec<String>,
    /// Of claims of these, without the numbers.
    pub(crate) claims: Vec<String>,
    pub(crate) requests: Vec<String>,
}

/// Names of the claims of an InstanceSet, without the numbers.
pub(crate) fn claims(set: &InstanceSet) -> Vec<String> {
    let templates = set.spec.volume_claim_templates.iter();
    templates
        .map(|template| claim(&template.name, &set.name_any()))
        .collect()
}

/// Whether an event is about the cluster. Pods and claims are known by their names, because they may be gone.
pub(crate) fn concerns(event: &Event, names: &Names) -> bool {
    let object = &event.involved_object;
    let name = object.name.as_deref().unwrap_or_default();
    let is_set = |name: &str| names.sets.iter().any(|set| set == name);
    match object.kind.as_deref().unwrap_or_default() {
        "Cluster" => name == names.cluster,
        "OpsRequest" => names.requests.iter().any(|request| request == name),
        "Pod" => without_number(name).is_some_and(is_set),
        "PersistentVolumeClaim" => {
            let known = |name: &str| names.claims.iter().any(|claim| claim == name);
            without_number(name).is_some_and(known)
        }
        _ => is_set(name) || name.strip_suffix("-headless").is_some_and(is_set),
    }
}

/// A name such as `db-etcd-0` without its number.
fn without_number(name: &str) -> Option<&str> {
    let (head, number) = name.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(head)
}

/// When it was last seen.
pub(crate) fn at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref();
    let series = series.and_then(|s| Some(s.last_observed_time.as_ref()?.0));
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let begun = event.event_time.as_ref().map(|time| time.0);
    series.max(last).max(begun)
}

/// The newest events, oldest first.
pub(crate) fn newest(mut events: Vec<Event>, count: usize) -> Vec<Event> {
    events.sort_by_key(at);
    let older = events.len().saturating_sub(count);
    events.split_off(older)
}

/// Events as a table.
pub(crate) fn text(events: &[Event]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(events.iter().map(row));
    table(&rows) + "\n"
}

fn row(event: &Event) -> [String; 5] {
    let object = &event.involved_object;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    let time = at(event).map(|time| format!("{time:.0}"));
    let seen = event.series.as_ref().and_then(|s| s.count).or(event.count);
    let times = seen
        .filter(|count| *count > 1)
        .map(|count| format!(" (x{count})"));
    let message = event.message.clone().unwrap_or_default().replace('\n', " ");
    [
        time.unwrap_or_else(|| NONE.to_owned()),
        or_none(&event.type_),
        or_none(&event.reason),
        format!("{}/{}", or_none(&object.kind), or_none(&object.name)),
        message + &times.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, name: &str, last: &str) -> Event {
        serde_json::from_value(json!({ "metadata": {}, "involvedObject": { "kind": kind, "name": name },
            "lastTimestamp": last, "type": "Normal", "reason": "R", "message": "two\nlines", "count": 3 }))
        .expect("an event")
    }

    #[test]
    fn events_of_other_clusters_are_left_out() {
        let names = Names {
            cluster: "db".to_owned(),
            sets: vec!["db-etcd".to_owned()],
            claims: vec!["data-db-etcd".to_owned(), "wal-db-etcd".to_owned()],
            requests: vec!["r".to_owned()],
        };
        let told = |kind, name| concerns(&event(kind, name, "2026-01-01T00:00:00Z"), &names);
        for (kind, name) in [
            ("Cluster", "db"),
            ("Component", "db-etcd"),
            ("InstanceSet", "db-etcd"),
            ("Service", "db-etcd-headless"),
            ("Pod", "db-etcd-12"),
            ("PersistentVolumeClaim", "data-db-etcd-0"),
            ("PersistentVolumeClaim", "wal-db-etcd-12"),
            ("OpsRequest", "r"),
        ] {
            assert!(told(kind, name), "{kind}/{name}");
        }
        for (kind, name) in [
            ("Cluster", "db2"),
            ("InstanceSet", "db-etcd2"),
            ("Pod", "db-etcd-x"),
            ("Pod", "db-etcd-"),
            ("Pod", "my-db-etcd-0"),
            ("PersistentVolumeClaim", "data-db2-etcd-0"),
            // Of the cluster `my-db`.
            ("PersistentVolumeClaim", "data-my-db-etcd-0"),
            ("PersistentVolumeClaim", "data-db-etcd"),
            ("OpsRequest", "s"),
            ("Node", "n1"),
        ] {
            assert!(!told(kind, name), "{kind}/{name}");
        }
    }

    #[test]
    fn claims_are_those_of_the_set_s_templates() {
        let set = json!({ "metadata": { "name": "db-etcd" }, "spec": { "replicas": 1, "selector": {}, "template": {},
            "volumeClaimTemplates": [{ "name": "data" }, { "name": "wal" }] } });
        let set: InstanceSet = serde_json::from_value(set).expect("a set");
        assert_eq!(claims(&set), ["data-db-etcd", "wal-db-etcd"]);
    }

    #[test]
    fn the_newest_come_last() {
        let times = [
            "2026-01-01T00:00:02Z",
            "2026-01-01T00:00:01Z",
            "2026-01-01T00:00:03Z",
        ];
        let events = times.map(|time| event("Pod", "db-etcd-0", time)).to_vec();
        let expected = "\
LAST SEEN             TYPE    REASON  OBJECT         MESSAGE
2026-01-01T00:00:02Z  Normal  R       Pod/db-etcd-0  two lines (x3)
2026-01-01T00:00:03Z  Normal  R       Pod/db-etcd-0  two lines (x3)
";
        assert_eq!(text(&newest(events, 2)), expected);
    }

    #[test]
    fn a_series_is_as_young_as_its_last_event() {
        let series: Event = serde_json::from_value(json!({ "metadata": {}, "involvedObject": {},
            "eventTime": "2026-01-01T00:00:00.000001Z",
            "series": { "count": 9, "lastObservedTime": "2026-01-01T01:00:00.000000Z" } }))
        .expect("an event");
        assert_eq!(
            at(&series).map(|time| time.to_string()).as_deref(),
            Some("2026-01-01T01:00:00Z")
        );
        assert!(text(&[series]).contains("-/-"));
    }
}
