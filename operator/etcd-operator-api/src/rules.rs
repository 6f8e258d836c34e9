//! Admission rules (CEL, evaluated by the API server) that more than one kind shares.
//!
//! Builders of `x-kubernetes-validations` entries only. A rule's message names the field and the way out.

use serde_json::{Value, json};

/// Largest member count. etcd's own advice is seven at most: each further voter slows every write.
pub const MAX_REPLICAS: i32 = 7;

/// Rules of a field `replicas`: odd, 1 to [`MAX_REPLICAS`], or 0 where [`zero_when_stopped`] allows it.
///
/// One rule for each even count, so that its message names the two odd neighbours: a message that is computed
/// costs more than the API server grants.
#[must_use]
pub fn odd_replicas() -> Value {
    json!([
        rule("self != 2", "replicas must be odd: 1 or 3, not 2"),
        rule("self != 4", "replicas must be odd: 3 or 5, not 4"),
        rule("self != 6", "replicas must be odd: 5 or 7, not 6"),
        rule(
            "self >= 0 && self <= 7",
            "replicas must be odd and at most 7: 1, 3, 5 or 7"
        ),
    ])
}

/// As [`odd_replicas`], and 0 is refused.
#[must_use]
pub fn odd_replicas_not_zero() -> Value {
    let mut rules = odd_replicas();
    if let Value::Array(rules) = &mut rules {
        rules.push(rule(
            "self != 0",
            "replicas must be odd: 1, 3, 5 or 7, not 0; to stop the component set stop: true",
        ));
    }
    rules
}

/// No members only while stopped.
#[must_use]
pub fn zero_when_stopped() -> Value {
    rule(
        "self.replicas != 0 || (has(self.stop) && self.stop)",
        "replicas must be odd: 1, 3, 5 or 7; 0 is for what is stopped",
    )
}

/// Refuses a list or map that has entries.
#[must_use]
pub fn unsupported_entries(field: &str) -> Value {
    unsupported(
        field,
        &format!("!has(self.{field}) || size(self.{field}) == 0"),
    )
}

/// Refuses a boolean that is true.
#[must_use]
pub fn unsupported_true(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field}) || !self.{field}"))
}

/// Refuses a field that is there at all.
#[must_use]
pub fn unsupported_field(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field})"))
}

/// Refuses a string that is not empty.
#[must_use]
pub fn unsupported_text(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field}) || self.{field} == ''"))
}

/// Refuses `field` unless `rule` holds.
#[must_use]
pub fn unsupported(field: &str, rule: &str) -> Value {
    json!({
        "rule": rule,
        "message": format!("{field} is not supported yet: leave it out"),
        "reason": "FieldValueForbidden",
    })
}

/// Refuses the one `podUpdatePolicy` that cannot be kept.
#[must_use]
pub fn pod_update_policy() -> Value {
    json!({
        "rule": "!has(self.podUpdatePolicy) || self.podUpdatePolicy != 'StrictInPlace'",
        "message": "podUpdatePolicy: StrictInPlace is not supported: say PreferInPlace (labels, annotations, cpu and memory \
                    in place, anything else by a new pod) or ReCreate",
        "reason": "FieldValueForbidden",
    })
}

/// A rule with a fixed message.
#[must_use]
pub fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// Refuses a change of `field`.
#[must_use]
pub fn fixed(field: &str) -> Value {
    rule(
        &format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        &format!("{field} cannot be changed: make another OpsRequest"),
    )
}

/// Demands `field` with operations of this type, and refuses it with others.
#[must_use]
pub fn goes_with(kind: &str, field: &str) -> Value {
    rule(
        &format!("(self.type == '{kind}') == has(self.{field})"),
        &format!("{field} goes with type {kind}, and with no other"),
    )
}
