//! What an agent says of itself.

use serde::{Deserialize, Serialize};

use crate::ElectionReport;

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// Version of the agent.
    pub version: String,
    /// Random number of this agent process.
    pub agent_incarnation: u64,
    /// Whether the agent can cut clients of a deposed leader, and what it did.
    pub fencing: FencingReport,
    /// What it did when leaders died.
    #[serde(default)]
    pub elections: ElectionReport,
    /// What it did for clients of its dead etcd.
    #[serde(default)]
    pub relay: RelayReport,
    /// Until when its certificates are valid; with TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateReport>,
}

/// Clients that the agent accepts in front of its etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayReport {
    /// False when the setting `relayClients` is `false`.
    pub enabled: bool,
    /// True when the agent accepts clients at the pod's address.
    pub listens: bool,
    /// Why not, when it is enabled and does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Connections that were held until a member could answer, and then passed on to it.
    pub passed: u64,
    /// Connections that were closed because there was no leader.
    pub given_up: u64,
}

/// Ends of the certificates that etcd and the agent use, and when their renewal is due, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    /// Of the member's certificate.
    pub certificate_ends: i64,
    /// Of the CA that it believes.
    pub ca_ends: i64,
    /// When the renewal of the member's certificate is due; agents of earlier releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_due: Option<i64>,
    /// When that of the CA is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_due: Option<i64>,
}

/// Fencing of the own member (design: a deposed leader is fenced).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FencingReport {
    /// True when the launcher takes demands.
    pub supported: bool,
    /// Why not, when it does not.
    pub unsupported_reason: Option<String>,
    /// True when the agent has the addresses of all other voters, which it asks whether the majority is elsewhere.
    #[serde(default)]
    pub voters_known: bool,
    /// True while a restart of etcd is wanted.
    pub active: bool,
    /// Restarts of etcd since the agent came up.
    #[serde(default)]
    pub restarts: u64,
}
