//! Admission rules (CEL, evaluated by the API server) that more than one kind shares.
//!
//! Builders of `x-kubernetes-validations` entries only. A rule's message names the field and the way out.

use serde_json::{Value, json};

/// Largest number of members. etcd advises against more than seven: each further voter slows every write.
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

/// The rule that `replicas` may be 0 only while `stop` is true.
#[must_use]
pub fn zero_when_stopped() -> Value {
    rule(
        "self.replicas != 0 || (has(self.stop) && self.stop)",
        "replicas must be odd: 1, 3, 5 or 7; 0 is for what is stopped",
    )
}

/// The rule that the list or map `field` is empty.
#[must_use]
pub fn unsupported_entries(field: &str) -> Value {
    unsupported(
        field,
        &format!("!has(self.{field}) || size(self.{field}) == 0"),
    )
}

/// The rule that the boolean `field` is not true.
#[must_use]
pub fn unsupported_true(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field}) || !self.{field}"))
}

/// The rule that `field` is absent.
#[must_use]
pub fn unsupported_field(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field})"))
}

/// The rule that the string `field` is empty.
#[must_use]
pub fn unsupported_text(field: &str) -> Value {
    unsupported(field, &format!("!has(self.{field}) || self.{field} == ''"))
}

/// A rule in CEL whose message says that `field` is not supported.
#[must_use]
pub fn unsupported(field: &str, rule: &str) -> Value {
    json!({
        "rule": rule,
        "message": format!("{field} is not supported yet: leave it out"),
        "reason": "FieldValueForbidden",
    })
}

/// The rule that `podUpdatePolicy` is not `StrictInPlace`.
#[must_use]
pub fn pod_update_policy() -> Value {
    json!({
        "rule": "!has(self.podUpdatePolicy) || self.podUpdatePolicy != 'StrictInPlace'",
        "message": "podUpdatePolicy: StrictInPlace is not supported: say PreferInPlace (labels, annotations, cpu and memory \
                    in place, anything else by a new pod) or ReCreate",
        "reason": "FieldValueForbidden",
    })
}

/// A validation rule of a CRD: an expression in CEL, and the message with which the API server refuses an object for
/// which it is false.
#[must_use]
pub fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// The rule that `field` does not change.
#[must_use]
pub fn fixed(field: &str) -> Value {
    rule(
        &format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        &format!("{field} cannot be changed: make another OpsRequest"),
    )
}

/// The rule that operations of type `kind` have `field`, and no others.
#[must_use]
pub fn goes_with(kind: &str, field: &str) -> Value {
    rule(
        &format!("(self.type == '{kind}') == has(self.{field})"),
        &format!("{field} goes with type {kind}, and with no other"),
    )
}
