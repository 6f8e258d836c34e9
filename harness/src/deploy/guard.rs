//! What an etcd cluster is closed with, and the Secrets that open it. Their contents are mounted where they are needed
//! and are never read here.

use etcd_operator_api::account::ROOT;
use serde::Serialize;
use serde_json::{Value, json};

/// The user that may read and write the keys of a run, and nothing else.
const USER: &str = "harness";
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
}

/// Names of the Secrets that a client mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// CA, certificate and key of applications.
    pub tls: String,
    /// Users of who reads and writes, and of who asks members.
    pub users: Option<[String; 2]>,
}

impl Guard {
    /// True where TLS is spoken.
    pub fn has_tls(self) -> bool {
        self != Self::Open
    }

    /// True where clients log in.
    pub fn has_users(self) -> bool {
        self == Self::TlsAndUsers
    }

    /// Writes it into a component of a Cluster's spec.
    pub(crate) fn write(self, component: &mut Value) {
        if self.has_tls() {
            component["tls"] = json!(true);
            component["issuer"] = json!({ "name": "KubeBlocks" });
        }
        if self.has_users() {
            let permissions = json!([{ "prefix": KEYS, "access": "ReadWrite" }]);
            component["systemAccounts"] =
                json!([{ "name": ROOT }, { "name": USER, "permissions": permissions }]);
        }
    }

    /// What opens a component of this name; nothing where it is open.
    pub(crate) fn keys(self, component: &str) -> Option<Keys> {
        let user = |name: &str| format!("{component}-account-{name}");
        self.has_tls().then(|| Keys {
            tls: format!("{component}-client"),
            users: self.has_users().then(|| [user(USER), user(ROOT)]),
        })
    }

    /// Conditions of a Cluster that are true when it is closed.
    pub(crate) fn conditions(self) -> &'static [&'static str] {
        match self {
            Self::Open => &[],
            Self::Tls => &["CertificatesValid"],
            Self::TlsAndUsers => &["CertificatesValid", "AccountsReady"],
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
        let accounts = &written(Guard::TlsAndUsers)["systemAccounts"];
        assert_eq!(accounts[1]["permissions"][0]["prefix"], "run/");
        assert_eq!(Guard::Open.keys("q-etcd"), None);
        let keys = Guard::TlsAndUsers.keys("q-etcd").expect("keys");
        assert_eq!(keys.tls, "q-etcd-client");
        let users = keys.users.expect("users");
        assert_eq!(users, ["q-etcd-account-harness", "q-etcd-account-root"]);
    }
}
