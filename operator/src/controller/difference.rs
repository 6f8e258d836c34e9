//! Tells whether an object in the API server already is what is wanted, so that a steady state writes nothing.
//!
//! Two signs: the wanted fields hold in the live object (an edit by hand is seen), and the live object
//! carries the fingerprint of the whole wanted object (a field that is no longer wanted is seen). Pure.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Annotation with the fingerprint of the wanted object that was last written.
pub(crate) const APPLIED: &str = "apps.kubeblocks.io/applied-fingerprint";

/// The wanted object with its fingerprint in it.
pub(crate) fn with_fingerprint(mut wanted: Value) -> Value {
    wanted["metadata"]["annotations"][APPLIED] = Value::String(fingerprint(&wanted));
    wanted
}

/// The fingerprint of a wanted object.
pub(crate) fn fingerprint(wanted: &Value) -> String {
    let digest = Sha256::digest(wanted.to_string());
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Whether every wanted field holds in the live object. Lists must agree in length and order; fields that
/// only the live object has (defaults, status, other managers) do not matter.
pub(crate) fn holds(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(key, value)| {
            let empty = is_empty(value);
            live.get(key).map_or(empty, |live| {
                (empty && is_empty(live)) || holds(value, live)
            })
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted
                    .iter()
                    .zip(live)
                    .all(|(wanted, live)| holds(wanted, live))
        }
        (wanted, live) => wanted == live,
    }
}

/// What the API server may drop: null and empty collections.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_server_do_not_matter_and_edits_do() {
        let wanted = json!({"spec": {"ports": [{"port": 2379}], "selector": {"a": "b"}, "x": {}}});
        let live = json!({"spec": {"ports": [{"port": 2379, "protocol": "TCP"}], "selector": {"a": "b"}, "clusterIP": "10.0.0.1"}});
        assert!(holds(&wanted, &live));
        let edited = json!({"spec": {"ports": [{"port": 2380}], "selector": {"a": "b"}}});
        assert!(!holds(&wanted, &edited));
        let longer =
            json!({"spec": {"ports": [{"port": 2379}, {"port": 1}], "selector": {"a": "b"}}});
        assert!(!holds(&wanted, &longer));
    }

    #[test]
    fn a_dropped_field_changes_the_fingerprint() {
        let all = with_fingerprint(json!({"metadata": {"name": "x", "labels": {"a": "b"}}}));
        let fewer = with_fingerprint(json!({"metadata": {"name": "x"}}));
        assert!(!holds(&fewer, &all));
        assert!(holds(
            &fewer,
            &with_fingerprint(json!({"metadata": {"name": "x"}}))
        ));
    }
}
