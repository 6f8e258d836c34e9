//! TLS of a component: who issues its certificates. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Who issues the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "(has(self.name) && self.name == 'UserProvided') == has(self.secretRef)",
        "issuer: secretRef goes with name UserProvided, and with no other"
    ),
]))]
pub struct Issuer {
    /// `KubeBlocks`: the operator, from a CA of the component's own; `UserProvided`: the Secret of `secretRef`.
    #[serde(default)]
    pub name: IssuerName,
    /// The user's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<TlsSecretRef>,
}

/// Name of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerName {
    /// The operator.
    #[default]
    KubeBlocks,
    /// The user.
    UserProvided,
}

impl IssuerName {
    /// The name as it is written in a spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            IssuerName::KubeBlocks => "KubeBlocks",
            IssuerName::UserProvided => "UserProvided",
        }
    }
}

/// A Secret with a CA, a certificate and its key, each in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSecretRef {
    /// Its namespace: the Cluster's own, or leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the CA's certificate.
    #[schemars(length(min = 1, max = 253))]
    pub ca: String,
    /// Key of the certificate.
    #[schemars(length(min = 1, max = 253))]
    pub cert: String,
    /// Key of the certificate's private key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// TLS as a Component has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// Whether members, clients and agents speak TLS.
    #[serde(default)]
    pub enable: bool,
    /// Who issues the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
}
