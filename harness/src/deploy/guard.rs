//! What an etcd cluster is closed with, and the Secrets that open it. Their contents are mounted where they are needed
//! and are never read here.

use etcd_operator_api::account::ROOT;
use etcd_operator_api::names::{CA_KEY, CERTIFICATE_KEY, ComponentName, PRIVATE_KEY};
use serde::Serialize;
use serde_json::{Value, json};

use crate::deploy::own_ca;

/// The user that may read and write the keys of a run, and nothing else.
const USER: &str = "harness";
/// A user whose password is changed: no traffic needs it.
const AUDITOR: &str = "auditor";
/// First characters of the keys of a run, as the recording client has them by default.
const KEYS: &str = "run/";

/// What an etcd cluster is closed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Nothing: who reaches it may do all.
    #[default]
    Open,
    /// Clients and members need a certificate.
    Tls,
    /// And clients log in as users with rights by prefix.
    TlsAndUsers,
    /// The same with certificates of a user's own CA (issuer UserProvided).
    OwnCa,
}

/// Names of the Secrets that a client mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// CA, certificate and key of applications.
    pub tls: String,
    /// Users: the one that reads and writes, the one that asks members, and one that no traffic needs.
    pub users: Option<[String; 3]>,
}

impl Guard {
    /// True where TLS is spoken.
    pub fn has_tls(self) -> bool {
        self != Self::Open
    }

    /// True where clients log in.
    pub fn has_users(self) -> bool {
        matches!(self, Self::TlsAndUsers | Self::OwnCa)
    }

    /// Writes it into a component of a Cluster's spec.
    pub(crate) fn write(self, component: &mut Value) {
        if self.has_tls() {
            component["tls"] = json!(true);
            component["issuer"] = match self {
                Self::OwnCa => {
                    json!({ "name": "UserProvided", "secretRef": { "name": own_ca::MEMBERS,
                    "ca": CA_KEY, "cert": CERTIFICATE_KEY, "key": PRIVATE_KEY } })
                }
                _ => json!({ "name": "KubeBlocks" }),
            };
        }
        if self.has_users() {
            let may = |access: &str| json!([{ "prefix": KEYS, "access": access }]);
            component["systemAccounts"] = json!([
                { "name": ROOT },
                { "name": USER, "permissions": may("ReadWrite") },
                { "name": AUDITOR, "permissions": may("Read") },
            ]);
        }
    }

    /// What opens a component of this name; nothing where it is open.
    pub(crate) fn keys(self, component: &str) -> Option<Keys> {
        let component = ComponentName::existing(component);
        let user = |name: &str| component.account_secret(name);
        self.has_tls().then(|| Keys {
            tls: match self {
                Self::OwnCa => own_ca::CLIENTS.to_owned(),
                _ => component.client_secret(),
            },
            users: self.has_users().then(|| [USER, ROOT, AUDITOR].map(user)),
        })
    }

    /// Conditions of a Cluster that are true when it is closed.
    pub(crate) fn conditions(self) -> &'static [&'static str] {
        match self {
            Self::Open => &[],
            Self::Tls => &["CertificatesValid"],
            Self::TlsAndUsers | Self::OwnCa => &["CertificatesValid", "AccountsReady"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_how_it_is_closed_and_an_open_one_says_nothing() {
        let written = |guard: Guard| {
            let mut component = json!({});
            guard.write(&mut component);
            component
        };
        assert_eq!(written(Guard::Open), json!({}));
        let tls = written(Guard::Tls);
        assert_eq!(tls["tls"], true);
        assert_eq!(tls["systemAccounts"], Value::Null);
        let accounts = written(Guard::TlsAndUsers)["systemAccounts"].take();
        assert_eq!(accounts[1]["permissions"][0]["prefix"], "run/");
        let own = written(Guard::OwnCa);
        assert_eq!(own["issuer"]["secretRef"]["name"], own_ca::MEMBERS);
        assert_eq!(own["systemAccounts"], accounts);
        let keys = Guard::OwnCa.keys("q-etcd").expect("keys");
        assert_eq!(keys.tls, own_ca::CLIENTS);
        assert_eq!(Guard::Open.keys("q-etcd"), None);
        let keys = Guard::TlsAndUsers.keys("q-etcd").expect("keys");
        assert_eq!(keys.tls, "q-etcd-client");
        let users = keys.users.expect("users");
        assert_eq!(
            users,
            [
                "q-etcd-account-harness",
                "q-etcd-account-root",
                "q-etcd-account-auditor"
            ]
        );
    }
}
