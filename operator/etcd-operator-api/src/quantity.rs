//! Amounts of cpu, memory and storage: the schema that refuses bad ones at admission, and their size.
//!
//! Kubernetes itself checks quantities only once a pod or claim is made, which is too late for the user.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Non-negative quantities as Kubernetes writes them.
const PATTERN: &str =
    r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]+))?$";

/// Compute resources of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Upper bounds by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// Reserved amounts by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
}

/// Schema of a map of quantities.
pub fn quantities(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": quantity(generator),
    })
}

/// Schema of a quantity.
pub fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": PATTERN,
        "maxLength": 32,
        "x-kubernetes-int-or-string": true,
    })
}

/// The quantity as a number of bytes, cores or the like; `None` when the text is no quantity.
///
/// A float is exact up to 2^53 bytes (8 PiB) and serves comparisons only.
#[must_use]
pub fn amount(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let end = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && (c == '+' || c == '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    Some(number.parse::<f64>().ok()? * factor(suffix)?)
}

fn factor(suffix: &str) -> Option<f64> {
    let binary = |power: i32| Some(1024_f64.powi(power));
    let decimal = |power: i32| Some(10_f64.powi(power));
    match suffix {
        "" => Some(1.0),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => suffix
            .strip_prefix(['e', 'E'])?
            .parse()
            .ok()
            .and_then(decimal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_compare_across_suffixes() {
        let of = |text: &str| amount(&Quantity(text.to_owned()));
        assert_eq!(of("1Gi"), of("1024Mi"));
        assert_eq!(of("0.5"), of("500m"));
        assert_eq!(of("1e3"), of("1k"));
        assert_eq!(of("+3"), Some(3.0));
        assert_eq!(of("ten"), None);
        assert_eq!(of("1Gb"), None);
        assert!(of("20Gi") > of("20G"));
    }
}
