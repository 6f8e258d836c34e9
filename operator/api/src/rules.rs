//! Admission rules (CEL, evaluated by the API server) that more than one kind shares.
//!
//! Builders of `x-kubernetes-validations` entries only. A rule's message names the field and the way out.

use serde_json::{Value, json};

/// Largest member count. etcd's own advice is seven at most: each further voter slows every write.
pub const MAX_REPLICAS: i32 = 7;

/// Member counts are odd: 1, 3, 5 or 7. `zero_when` is a CEL condition under which 0 is let through.
///
/// The message names the two odd neighbours of an even count.
#[must_use]
pub fn odd_replicas(zero_when: &str) -> Value {
    let rule = format!("self.replicas in [1, 3, 5, 7] || (self.replicas == 0 && ({zero_when}))");
    let message = "self.replicas in [2, 4, 6] \
         ? 'replicas must be odd: ' + string(self.replicas - 1) + ' or ' + string(self.replicas + 1) + ', not ' + string(self.replicas) \
         : (self.replicas == 0 \
         ? 'replicas must be odd: 1, 3, 5 or 7, not 0 (to stop the component set stop: true)' \
         : 'replicas must be odd: 1, 3, 5 or 7, not ' + string(self.replicas))";
    json!({
        "rule": rule,
        "message": "replicas must be odd: 1, 3, 5 or 7",
        "messageExpression": message,
        "fieldPath": ".replicas",
        "reason": "FieldValueInvalid",
    })
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

/// A rule with a fixed message.
#[must_use]
pub fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}
