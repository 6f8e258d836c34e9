//! Sizes of what a tenant writes: a list, map or text without a bound of its own gets one, so that a few objects cannot
//! fill the operator's memory. Parts of other APIs that are stored as they are (see [`crate::opaque`]) are not reached.

use schemars::Schema;
use serde_json::{Value, json};

/// Entries of a list or map.
const ENTRIES: u64 = 64;
/// Characters of a text: a certificate fits.
const CHARACTERS: u64 = 4096;

/// Gives each text, list and map of a schema that has no upper bound one: 4096 characters, 64 entries.
pub fn fill(schema: &mut Schema) {
    if let Some(fields) = schema.as_object_mut() {
        let mut whole = Value::Object(std::mem::take(fields));
        bound(&mut whole);
        if let Value::Object(bounded) = whole {
            *fields = bounded;
        }
    }
}

fn bound(schema: &mut Value) {
    let is = |schema: &Value, kind: &str| {
        let types = &schema["type"];
        types == kind
            || types
                .as_array()
                .is_some_and(|types| types.contains(&json!(kind)))
    };
    if is(schema, "array") {
        limit(schema, "maxItems", ENTRIES);
    } else if is(schema, "object") && schema["additionalProperties"].is_object() {
        limit(schema, "maxProperties", ENTRIES);
    } else if is(schema, "string") && schema.get("enum").is_none() && schema.get("format").is_none()
    {
        limit(schema, "maxLength", CHARACTERS);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            bound(&mut schema[below]);
        }
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        bound(property);
    }
}

fn limit(schema: &mut Value, name: &str, most: u64) {
    if schema.get(name).is_none() {
        schema[name] = most.into();
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;
    use crate::{Backup, BackupPolicy, BackupRepo, BackupSchedule, Cluster, OpsRequest};

    /// Paths of lists, maps and texts without a bound.
    fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
        let missing = match schema["type"].as_str() {
            Some("array") => schema.get("maxItems").is_none(),
            Some("object") if schema["additionalProperties"].is_object() => {
                schema.get("maxProperties").is_none()
            }
            Some("string") => ["maxLength", "enum", "format"]
                .iter()
                .all(|name| schema.get(*name).is_none()),
            _ => false,
        };
        if missing {
            found.push(path.to_owned());
        }
        for below in ["items", "additionalProperties"] {
            open_if_there(&schema[below], &format!("{path}[]"), found);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            open_if_there(property, &format!("{path}.{name}"), found);
        }
    }

    fn open_if_there(schema: &Value, path: &str, found: &mut Vec<String>) {
        if schema.is_object() {
            open(schema, path, found);
        }
    }

    #[test]
    fn nothing_that_a_tenant_writes_is_without_a_bound() {
        for crd in [
            Cluster::crd(),
            OpsRequest::crd(),
            Backup::crd(),
            BackupPolicy::crd(),
            BackupRepo::crd(),
            BackupSchedule::crd(),
        ] {
            let crd = serde_json::to_value(crd).expect("a definition is JSON");
            let all = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            let mut found = Vec::new();
            open(&all["spec"], "spec", &mut found);
            assert!(found.is_empty(), "{found:#?}");
        }
    }

    #[test]
    fn a_bound_of_its_own_stays() {
        let mut schema =
            json!({ "type": "array", "maxItems": 3, "items": { "type": ["string", "null"] } });
        bound(&mut schema);
        assert_eq!(schema["maxItems"], 3);
        assert_eq!(schema["items"]["maxLength"], CHARACTERS);
    }
}
