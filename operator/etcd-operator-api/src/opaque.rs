//! A piece of another API (PodSpec, Affinity, ...) that is stored as it was written.
//!
//! Its schema is an open object, which keeps the CRDs small. It is parsed where it is used: a mistake in
//! one object must not break the watch of all others, and must end in a condition that names the field.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object of a type of Kubernetes, such as a `PodSpec`, which the schema of the CRD does not check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(pub Value);

/// The object in a field does not have the type that the field demands.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {field}: {reason}")]
pub struct NotOfType {
    /// Path of the field.
    pub field: String,
    /// What the parser says.
    pub reason: String,
}

impl Opaque {
    /// Makes one of a typed object.
    ///
    /// # Errors
    /// When the object does not serialize to JSON, which types of Kubernetes always do.
    pub fn of<T: Serialize>(object: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_value(object).map(Opaque)
    }

    /// Reads the object as a `T`. `field` is the path that an error names.
    ///
    /// # Errors
    /// When the object is not a `T`.
    pub fn parse<T: DeserializeOwned + Serialize>(&self, field: &str) -> Result<T, NotOfType> {
        let wrong = |reason| NotOfType {
            field: field.to_owned(),
            reason,
        };
        let read = T::deserialize(&self.0).map_err(|error| wrong(error.to_string()))?;
        let known = serde_json::to_value(&read).map_err(|error| wrong(error.to_string()))?;
        match unknown(&self.0, &known) {
            Some(path) => Err(wrong(format!(
                "{path} is no field that this operator knows: correct or remove it"
            ))),
            None => Ok(read),
        }
    }
}

/// Path of the first key of `written` that reading it has dropped.
fn unknown(written: &Value, known: &Value) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            written.iter().find_map(|(key, value)| {
                let below = |path: String| match path.strip_prefix('[') {
                    Some(_) => format!("{key}{path}"),
                    None => format!("{key}.{path}"),
                };
                match known.get(key) {
                    Some(known) => unknown(value, known).map(below),
                    None => (!value.is_null()).then(|| key.clone()),
                }
            })
        }
        (Value::Array(written), Value::Array(known)) => {
            let mut pairs = written.iter().zip(known).enumerate();
            pairs.find_map(|(at, (written, known))| {
                unknown(written, known).map(|path| format!("[{at}].{path}"))
            })
        }
        _ => None,
    }
}

impl JsonSchema for Opaque {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    #[test]
    fn a_key_that_nobody_knows_is_named_with_its_path() {
        let text = |spec: serde_json::Value| {
            let read = Opaque(spec).parse::<PodSpec>("spec.runtime");
            read.err().map(|error| error.to_string())
        };
        let spec = serde_json::json!({ "containers": [
            { "name": "a", "resources": { "limits": { "cpu": "1" } }, "env": [], "command": null },
            { "name": "b", "livenessProbe": { "httpGet": { "prot": 1, "port": "x" } } },
        ]});
        let told = text(spec).expect("it is refused");
        assert!(
            told.contains("containers[1].livenessProbe.httpGet.prot is no field"),
            "{told}"
        );
        let spec = serde_json::json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 80 }] }] });
        assert_eq!(text(spec), None);
    }

    #[test]
    fn a_wrong_type_is_blamed_on_its_field() {
        let opaque = Opaque(serde_json::json!({ "containers": 5 }));
        let error = opaque
            .parse::<PodSpec>("spec.runtime")
            .expect_err("must not parse");
        assert!(
            error
                .to_string()
                .starts_with("failed to read spec.runtime: "),
            "{error}"
        );
    }
}
