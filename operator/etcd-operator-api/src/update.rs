//! How changes reach running pods. Data only.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Order and number of pods that are made at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodManagementPolicy {
    /// The next pod only once the one before is available. Refused: no member is ready before a quorum runs.
    OrderedReady,
    /// All at once.
    #[default]
    Parallel,
}

/// How many members may be updated at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberUpdateStrategy {
    /// One by one, leader last.
    #[default]
    Serial,
    /// As many at a time as the quorum can miss, leader last.
    BestEffortParallel,
    /// Refused: all at once would take the quorum.
    Parallel,
}

/// Whether a change that could be made in a running pod recreates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodUpdatePolicy {
    /// In place where possible (labels and annotations; amounts of cpu and memory where Kubernetes does it), else by a
    /// new pod.
    #[default]
    PreferInPlace,
    /// Refused: what cannot be changed in place needs a new pod.
    StrictInPlace,
    /// By a new pod.
    ReCreate,
}

/// Who starts an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceUpdateStrategyType {
    /// The operator.
    #[default]
    RollingUpdate,
    /// The user, by deleting pods.
    OnDelete,
}

/// How pods are updated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceUpdateStrategy {
    /// Who starts an update.
    #[serde(default, rename = "type")]
    pub kind: InstanceUpdateStrategyType,
    /// Bounds of a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// Bounds of a rolling update. Quorum is kept whatever they say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many pods are updated; the rest keep their revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_percent")]
    pub replicas: Option<IntOrString>,
    /// How many pods may be unavailable at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_percent")]
    pub max_unavailable: Option<IntOrString>,
}

/// The number of pods that `value` stands for: a percentage is one of `whole`, rounded up.
#[must_use]
pub fn amount(value: &IntOrString, whole: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => match text.strip_suffix('%') {
            Some(percent) => {
                let percent: usize = percent.parse().unwrap_or(100);
                whole.saturating_mul(percent).div_ceil(100)
            }
            // Definitions of earlier releases let a number through that is written as text.
            None => text.parse().unwrap_or(whole),
        },
    }
}

/// Schema of a number of pods or a percentage of them, e.g. `50%`. The pattern applies to texts only, the bounds to
/// numbers only.
pub fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": "^[0-9]{1,3}%$",
        "maxLength": 4,
        "minimum": 0,
        "maximum": 999,
        "x-kubernetes-int-or-string": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_share_where_it_says_percent_and_else_a_number() {
        let text = |text: &str| IntOrString::String(text.to_owned());
        let table = [
            (IntOrString::Int(3), 3),
            (IntOrString::Int(-1), 0),
            (text("50%"), 3),
            (text("1%"), 1),
            (text("0%"), 0),
            (text("100%"), 5),
            (text("3"), 3),
            (text("0"), 0),
            (text("many"), 5),
        ];
        for (value, pods) in table {
            assert_eq!(amount(&value, 5), pods, "{value:?}");
        }
    }

    #[test]
    fn a_number_of_pods_is_not_taken_as_text() {
        let schema = int_or_percent(&mut SchemaGenerator::default());
        let pattern = schema.get("pattern").and_then(|pattern| pattern.as_str());
        assert_eq!(pattern, Some("^[0-9]{1,3}%$"));
    }
}
