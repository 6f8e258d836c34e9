//! Users of etcd: what the operator writes into the members' Secret, and what the leader's agent says of it. Data only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Key of the Secret, and name of the file in the pod.
pub const ACCOUNTS_FILE: &str = "accounts.json";
/// Longest file that is read.
pub const LARGEST_ACCOUNTS: u64 = 1 << 19;
/// etcd's administrator, user and role. Authentication cannot be switched on without it.
pub const ROOT: &str = "root";
/// Roles that the agents keep begin with this: a user that has the role of its own name is theirs to change and delete.
pub const ROLE_PREFIX: &str = "kb.";

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// All users that are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accounts {
    /// A new one with every change; drawn, so that it tells nothing of the passwords.
    pub generation: String,
    /// The users.
    pub accounts: Vec<Account>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its name.
    pub name: String,
    /// True for all rights, those over members and users among them.
    #[serde(default)]
    pub admin: bool,
    /// Rights over keys.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Its password; without one it is known by the common name of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

/// A right over keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// One key, or where its prefix begins.
    pub key: String,
    /// True for all keys that begin with it; with an empty one, all keys.
    #[serde(default)]
    pub prefix: bool,
    /// What may be done.
    pub access: Access,
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// Reading and watching.
    Read,
    /// Writing and deleting.
    Write,
    /// Both.
    ReadWrite,
}

/// What the leader's agent says of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountsReport {
    /// The generation that etcd has in full, with authentication switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Why it has not the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
