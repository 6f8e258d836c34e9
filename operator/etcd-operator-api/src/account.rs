//! Users of etcd, in KubeBlocks' shape, with their rights over keys. Data and admission rules only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::opaque::Opaque;
use crate::rules;

/// Name of etcd's administrator, who has all rights.
pub const ROOT: &str = "root";
/// The user that an application is when it connects with the certificate of the Secret `{component}-client` and does
/// not log in as another user.
pub const CLIENT: &str = "etcd-client";
/// The user that members and their agents are. No account may have this name.
pub const MEMBER: &str = "etcd-member";
/// The user that the Jobs of backups are. No account may have this name.
pub const BACKUP: &str = "etcd-backup";

/// A user of etcd.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("passwordConfig"),
    rules::rule(
        "self.name != 'etcd-member'",
        "systemAccounts: etcd-member is the members' own user: take another name"
    ),
    rules::rule(
        "self.name != 'etcd-backup'",
        "systemAccounts: etcd-backup is the user of backups' Jobs: take another name"
    ),
    rules::rule(
        "self.name != 'root' || !has(self.permissions) || size(self.permissions) == 0",
        "systemAccounts: root has all rights, permissions are for others: leave them out"
    ),
    rules::rule(
        "self.name != 'root' || !has(self.disabled) || !self.disabled",
        "systemAccounts: root cannot be disabled, etcd needs it; give its Secret to no one instead"
    ),
    rules::rule(
        "self.name == 'root' || (has(self.disabled) && self.disabled) || (has(self.permissions) && size(self.permissions) > 0)",
        "systemAccounts: permissions are needed, or the account may do nothing, e.g. permissions: [{prefix: /app/, access: ReadWrite}]"
    ),
    rules::rule(
        "self.name != 'etcd-client' || !has(self.secretRef)",
        "systemAccounts: etcd-client is known by its certificate and has no password: leave secretRef out"
    ),
]))]
pub struct SystemAccount {
    /// Its name. `root` has all rights; `etcd-client` is who has the certificate of the Secret `{component}-client` and
    /// does not log in as another: unless it is named here it may read and write all keys.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// True deletes the user from etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Not supported yet: generated passwords have 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_config: Option<Opaque>,
    /// The Secret with its password. Without one a password is generated, in the Secret `{component}-account-{name}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<PasswordSecretRef>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub permissions: Vec<KeyPermission>,
}

impl SystemAccount {
    /// True when etcd is to have the user: it is not disabled.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.disabled != Some(true)
    }
}

/// A right over keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule(
        "has(self.key) != has(self.prefix)",
        "permissions: say key for one key or prefix for all that begin with it, and not both"
    ),
]))]
pub struct KeyPermission {
    /// One key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub key: Option<String>,
    /// All keys that begin with it; an empty one means all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// What may be done.
    pub access: KeyAccess,
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAccess {
    /// Reading and watching.
    #[default]
    Read,
    /// Writing and deleting.
    Write,
    /// Both.
    ReadWrite,
}

/// A Secret with a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace: the Cluster's own, or leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Key of the password in it.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
}

fn password_key() -> String {
    PASSWORD_KEY.to_owned()
}

/// Key of the password in a Secret that the operator makes for an account, as KubeBlocks names it.
pub const PASSWORD_KEY: &str = "password";
/// Key of the account's name in the same Secret.
pub const USERNAME_KEY: &str = "username";
