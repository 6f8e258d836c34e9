//! Actions that a ComponentDefinition declares for joining, leaving, switching over and probing. Data only.
//!
//! The actions themselves run in kbagent; a definition decides which exist, their time limits and periods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

/// What the operator may ask a member's agent to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("postProvision"),
    rules::unsupported_field("preTerminate"),
    rules::unsupported_field("availableProbe"),
    rules::unsupported_field("readonly"),
    rules::unsupported_field("readwrite"),
    rules::unsupported_field("dataDump"),
    rules::unsupported_field("dataLoad"),
    rules::unsupported_field("reconfigure"),
    rules::unsupported_field("accountProvision"),
]))]
pub struct LifecycleActions {
    /// How the role of a member is found. Without it no pod gets a role label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_probe: Option<Probe>,
    /// How leadership is moved before a leader's pod is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<Action>,
    /// How a new member joins. Without it the component cannot grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_join: Option<Action>,
    /// How a member leaves. Without it the component cannot shrink, and a lost member is not replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_leave: Option<Action>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_provision: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_terminate: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_probe: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readwrite: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dump: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_load: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconfigure: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_provision: Option<Opaque>,
}

/// One action, carried out by the agent over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("exec"),
    rules::unsupported_field("grpc"),
    rules::unsupported_field("retryPolicy"),
    rules::unsupported_text("preCondition"),
    rules::rule(
        "!has(self.http) || !has(self.http.path) || self.http.path == '/v1.0/action'",
        "http.path must be /v1.0/action: the agent carries out actions nowhere else",
    ),
]))]
pub struct Action {
    /// The request to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAction>,
    /// Seconds after which the action is given up; 0 means the agent's default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 60))]
    pub timeout_seconds: i32,
    /// Not supported: after a failed action the next plan is made from what is then observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<Opaque>,
    /// Not supported: actions are built into the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Opaque>,
    /// Not supported: actions are built into the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Opaque>,
    /// Not supported: the operator knows when each action is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub pre_condition: Option<String>,
}

/// A request to the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "self.port in ['http', '5001']",
        "port must be http or 5001: the agent listens nowhere else",
    ),
]))]
pub struct HttpAction {
    /// Name or number of the agent's port.
    #[schemars(length(max = 15))]
    pub port: String,
    /// Path of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub path: Option<String>,
}

/// An action that is repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("exec"),
    rules::unsupported_field("grpc"),
    rules::rule(
        "!has(self.http) || !has(self.http.path) || self.http.path == '/v1.0/getrole'",
        "http.path must be /v1.0/getrole: the agent reports the role nowhere else",
    ),
]))]
pub struct Probe {
    /// The request to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAction>,
    /// Seconds after which one try is given up; 0 means 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 60))]
    pub timeout_seconds: i32,
    /// Seconds between two tries; 0 means 5. Changes of role are pushed and do not wait for it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub period_seconds: i32,
    /// Not supported: actions are built into the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Opaque>,
    /// Not supported: actions are built into the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Opaque>,
}
