//! What the template gives all children of a pod: their labels, and the record of which keys it gave.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use serde::{Deserialize, Serialize};

use crate::instanceset::desired::Desired;
use crate::instanceset::names::TEMPLATE_KEYS;

type Map = BTreeMap<String, String>;

/// Keys that a template gave.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// Of labels.
    pub labels: Vec<String>,
    /// Of annotations.
    pub annotations: Vec<String>,
}

/// Labels of all children that belong to a pod.
pub(crate) fn labels(desired: &Desired, pod: &str) -> Map {
    let meta = desired.template.metadata.as_ref();
    let mut all = meta
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    all.extend(desired.labels.clone());
    let own = [
        (labels::POD_NAME, pod),
        (
            labels::WORKLOAD_MANAGED_BY,
            labels::WORKLOAD_MANAGED_BY_VALUE,
        ),
        (labels::WORKLOAD_INSTANCE, desired.name.as_str()),
        (labels::RELEASE_PHASE, labels::RELEASE_PHASE_STABLE),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // The role is the role path's to write.
    all.remove(labels::ROLE);
    all
}

/// Puts on record, in `annotations`, which keys the template gave.
pub(crate) fn record(labels: &Map, annotations: &mut Map) {
    let keys = Keys {
        labels: labels.keys().cloned().collect(),
        annotations: annotations.keys().cloned().collect(),
    };
    let text = serde_json::to_string(&keys).unwrap_or_default();
    annotations.insert(TEMPLATE_KEYS.to_owned(), text);
}

/// The keys that are on record in `annotations`.
pub(crate) fn recorded(annotations: &Map) -> Keys {
    let text = annotations.get(TEMPLATE_KEYS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
