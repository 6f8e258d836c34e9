//! PURE: certificates that cert-manager issues: who is named as the issuer, what is asked of it, and what it says.

use etcd_operator_api::labels;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::certificates::Names;

/// cert-manager's API group, which its issuers are in.
const GROUP: &str = "cert-manager.io";
/// Kinds of issuers.
const KINDS: [&str; 2] = ["Issuer", "ClusterIssuer"];
/// Longest name of an issuer.
const LONGEST: usize = 253;
/// Longest text of cert-manager that is told, in characters.
const TEXT: usize = 600;

/// The annotation names no issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "metadata.annotations[{}] {text:?} names no issuer: it is Issuer/NAME, of the Cluster's namespace, or ClusterIssuer/NAME",
    labels::CERT_MANAGER_ISSUER
)]
pub(super) struct NoIssuer {
    text: String,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IssuerRef {
    /// Its group.
    pub group: String,
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl IssuerRef {
    /// As the annotation has it.
    pub(super) fn read(text: &str) -> Result<Self, NoIssuer> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        let named = |name: &str| (1..=LONGEST).contains(&name.len()) && name.chars().all(plain);
        match text.split_once('/') {
            Some((kind, name)) if KINDS.contains(&kind) && named(name) => Ok(Self {
                group: GROUP.to_owned(),
                kind: kind.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(NoIssuer {
                text: text.to_owned(),
            }),
        }
    }
}

/// What is asked of cert-manager. It writes the Secret, and renews it by itself.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    root = "Request",
    plural = "certificates",
    namespaced,
    status = "RequestStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestSpec {
    /// The Secret that it writes.
    pub secret_name: String,
    /// The common name, by which etcd may know the members.
    pub common_name: String,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<String>,
    /// What it may be used for.
    pub usages: Vec<String>,
    /// The key.
    pub private_key: PrivateKey,
    /// Who signs.
    pub issuer_ref: IssuerRef,
}

/// How the key is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PrivateKey {
    algorithm: String,
    size: i32,
    rotation_policy: String,
}

/// What cert-manager says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestStatus {
    /// Its conditions; `Ready` counts.
    #[serde(default)]
    pub conditions: Vec<Said>,
}

/// A condition of cert-manager's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    message: Option<String>,
}

/// What a member's certificate must be: for these names, as server and client. `member` is no other cluster's name, for
/// the issuer may sign for many.
#[must_use]
pub(super) fn request(secret: &str, member: &str, names: &Names, issuer: IssuerRef) -> RequestSpec {
    let usages = ["digital signature", "server auth", "client auth"];
    RequestSpec {
        secret_name: secret.to_owned(),
        common_name: member.to_owned(),
        dns_names: names.dns.iter().cloned().collect(),
        ip_addresses: names.addresses.iter().map(ToString::to_string).collect(),
        usages: usages.map(str::to_owned).to_vec(),
        private_key: PrivateKey {
            algorithm: "ECDSA".to_owned(),
            size: 256,
            rotation_policy: "Always".to_owned(),
        },
        issuer_ref: issuer,
    }
}

/// Why the certificate is not as it was asked for; `None` when it is.
#[must_use]
pub(super) fn obstacle(live: &Request) -> Option<String> {
    let conditions = live.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|said| said.kind == "Ready");
    let text = match ready.next() {
        Some(said) if said.status == "True" => return None,
        Some(said) => said.message.clone().unwrap_or_default(),
        None => "cert-manager has not looked at it yet: is its controller running?".to_owned(),
    };
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = plain.take(TEXT).collect();
    let RequestSpec {
        issuer_ref: IssuerRef { kind, name, .. },
        ..
    } = &live.spec;
    Some(format!("not ready, by {kind} {name}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_named_by_kind_and_name_and_nothing_else_is_taken() {
        let read = IssuerRef::read("ClusterIssuer/company-ca").expect("an issuer");
        assert_eq!(
            (read.kind.as_str(), read.name.as_str()),
            ("ClusterIssuer", "company-ca")
        );
        assert!(IssuerRef::read("Issuer/ca.example").is_ok());
        for text in [
            "",
            "ca",
            "Issuer/",
            "Issuer/a/b",
            "issuer/a",
            "Issuer/A",
            "Secret/a",
        ] {
            let why = IssuerRef::read(text).expect_err("refused").to_string();
            assert!(why.contains("ClusterIssuer/NAME"), "{why}");
        }
    }

    #[test]
    fn what_cert_manager_says_is_told_until_it_is_ready() {
        let with = |status: serde_json::Value| {
            let issuer = IssuerRef::read("Issuer/ca").expect("an issuer");
            let mut live = Request::new("c", request("s", "m", &Names::default(), issuer));
            live.status = serde_json::from_value(status).expect("a status");
            obstacle(&live)
        };
        let said = |status: &str| {
            serde_json::json!({ "conditions": [{ "type": "Issuing", "status": "True" },
                { "type": "Ready", "status": status, "message": "issuer not found\n", "reason": "x" }] })
        };
        assert_eq!(with(said("True")), None);
        let text = with(said("False")).expect("an obstacle");
        assert!(text.contains("by Issuer ca: issuer not found"), "{text}");
        let text = with(serde_json::Value::Null).expect("an obstacle");
        assert!(text.contains("controller"), "{text}");
    }
}
