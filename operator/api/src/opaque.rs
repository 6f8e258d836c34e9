//! A piece of another API (PodSpec, Affinity, ...) that is stored as it was written.
//!
//! Its schema is an open object, which keeps the CRDs small. It is parsed where it is used: a mistake in
//! one object must not break the watch of all others, and must end in a condition that names the field.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object of a foreign type, not checked by the schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(pub Value);

/// A foreign object does not have the type that its field demands.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {field}: {reason}")]
pub struct NotOfType {
    /// Path of the field.
    pub field: String,
    /// What the parser says.
    pub reason: String,
}

impl Opaque {
    /// Wraps a typed object.
    ///
    /// # Errors
    /// When the object does not serialize to JSON, which types of Kubernetes always do.
    pub fn of<T: Serialize>(object: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_value(object).map(Opaque)
    }

    /// Reads the object as `T`; `field` is the path to blame.
    ///
    /// # Errors
    /// When the object is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self, field: &str) -> Result<T, NotOfType> {
        T::deserialize(&self.0).map_err(|error| NotOfType {
            field: field.to_owned(),
            reason: error.to_string(),
        })
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
