//! etcd's users, roles and the switch of authentication. All of these go through raft, reads too: they are asked
//! seldom.

use std::collections::BTreeSet;
use std::time::Duration;

use kbagent_protocol::{Access, Password};

use super::client::{Call, Client};
use super::error::EtcdError;
use super::messages::{Done, Empty};

/// Deadline of one call: a commit, and a password's hash on a slow processor.
const DEADLINE: Duration = Duration::from_secs(5);

/// A range of keys with what may be done in it, as etcd stores it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// First key.
    pub key: Vec<u8>,
    /// End of the range; empty for the one key.
    pub end: Vec<u8>,
    /// What may be done.
    pub access: Access,
}

/// What came of a password that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is the user's.
    Right,
    /// The user has another one.
    Wrong,
    /// The user was made without a password, and etcd takes none for it.
    HasNone,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct UserOptions {
    #[prost(bool, tag = "1")]
    no_password: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UserAdd {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
    #[prost(message, optional, tag = "3")]
    options: Option<UserOptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Permission {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GrantRequest {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(message, optional, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RevokeRequest {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Names {
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Grants {
    #[prost(message, repeated, tag = "2")]
    grants: Vec<Permission>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Switch {
    #[prost(bool, tag = "2")]
    enabled: bool,
}

impl Client {
    /// Whether etcd asks who calls.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn auth_enabled(&self) -> Result<bool, EtcdError> {
        let path = "/etcdserverpb.Auth/AuthStatus";
        let call = call("read whether authentication is on", path);
        let switch: Switch = self.unary(call, Empty {}).await?;
        Ok(switch.enabled)
    }

    /// Switches authentication on.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn auth_enable(&self) -> Result<(), EtcdError> {
        let call = call("switch authentication on", "/etcdserverpb.Auth/AuthEnable");
        self.unary(call, Empty {}).await.map(done)
    }

    /// Names of all users.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn users(&self) -> Result<BTreeSet<String>, EtcdError> {
        let call = call("list the users", "/etcdserverpb.Auth/UserList");
        self.unary(call, Empty {}).await.map(names)
    }

    /// Names of all roles.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn roles(&self) -> Result<BTreeSet<String>, EtcdError> {
        let call = call("list the roles", "/etcdserverpb.Auth/RoleList");
        self.unary(call, Empty {}).await.map(names)
    }

    /// Roles of a user.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn roles_of(&self, user: &str) -> Result<BTreeSet<String>, EtcdError> {
        let call = call("read a user", "/etcdserverpb.Auth/UserGet");
        self.unary(call, named(user)).await.map(names)
    }

    /// What a role may do.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn grants_of(&self, role: &str) -> Result<BTreeSet<Grant>, EtcdError> {
        let call = call("read a role", "/etcdserverpb.Auth/RoleGet");
        let answer: Grants = self.unary(call, named(role)).await?;
        let grant = |of: Permission| Grant {
            access: match of.kind {
                0 => Access::Read,
                1 => Access::Write,
                _ => Access::ReadWrite,
            },
            key: of.key,
            end: of.end,
        };
        Ok(answer.grants.into_iter().map(grant).collect())
    }

    /// Makes a user, without a password one that is known by its certificate only.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn add_user(&self, name: &str, password: Option<&Password>) -> Result<(), EtcdError> {
        let call = call("add a user", "/etcdserverpb.Auth/UserAdd");
        let request = UserAdd {
            name: name.to_owned(),
            password: password.map(|of| of.0.clone()).unwrap_or_default(),
            options: Some(UserOptions {
                no_password: password.is_none(),
            }),
        };
        self.unary(call, request).await.map(done)
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn delete_user(&self, name: &str) -> Result<(), EtcdError> {
        let call = call("delete a user", "/etcdserverpb.Auth/UserDelete");
        self.unary(call, named(name)).await.map(done)
    }

    /// Gives a user another password. Its tokens end.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn set_password(&self, name: &str, password: &Password) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Auth/UserChangePassword";
        let call = call("change a password", path);
        self.unary(call, pair(name, &password.0)).await.map(done)
    }

    /// Tries a password.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn try_password(&self, name: &str, password: &Password) -> Result<Tried, EtcdError> {
        let call = call("try a password", "/etcdserverpb.Auth/Authenticate");
        let tried: Result<Done, _> = self.unary(call, pair(name, &password.0)).await;
        match tried {
            Ok(_) => Ok(Tried::Right),
            Err(error) if error.rejection().contains("no password user") => Ok(Tried::HasNone),
            Err(error) if error.rejection().contains("invalid user ID or password") => {
                Ok(Tried::Wrong)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn give_role(&self, user: &str, role: &str) -> Result<(), EtcdError> {
        let call = call("give a user a role", "/etcdserverpb.Auth/UserGrantRole");
        self.unary(call, pair(user, role)).await.map(done)
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn take_role(&self, user: &str, role: &str) -> Result<(), EtcdError> {
        let call = call(
            "take a role from a user",
            "/etcdserverpb.Auth/UserRevokeRole",
        );
        self.unary(call, pair(user, role)).await.map(done)
    }

    /// Makes a role.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn add_role(&self, role: &str) -> Result<(), EtcdError> {
        let call = call("add a role", "/etcdserverpb.Auth/RoleAdd");
        self.unary(call, named(role)).await.map(done)
    }

    /// Deletes a role.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn delete_role(&self, role: &str) -> Result<(), EtcdError> {
        let call = call("delete a role", "/etcdserverpb.Auth/RoleDelete");
        self.unary(call, named(role)).await.map(done)
    }

    /// Lets a role do something; of one range it may do one thing.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn grant(&self, role: &str, grant: &Grant) -> Result<(), EtcdError> {
        let call = call(
            "grant a role keys",
            "/etcdserverpb.Auth/RoleGrantPermission",
        );
        let request = GrantRequest {
            role: role.to_owned(),
            permission: Some(Permission {
                kind: match grant.access {
                    Access::Read => 0,
                    Access::Write => 1,
                    Access::ReadWrite => 2,
                },
                key: grant.key.clone(),
                end: grant.end.clone(),
            }),
        };
        self.unary(call, request).await.map(done)
    }

    /// Takes a range from a role.
    ///
    /// # Errors
    /// See [`EtcdError`]; it may have happened anyway (M6).
    pub async fn revoke(&self, role: &str, key: &[u8], end: &[u8]) -> Result<(), EtcdError> {
        let path = "/etcdserverpb.Auth/RoleRevokePermission";
        let call = call("take keys from a role", path);
        let request = RevokeRequest {
            role: role.to_owned(),
            key: key.to_vec(),
            end: end.to_vec(),
        };
        self.unary(call, request).await.map(done)
    }
}

fn call(name: &'static str, path: &'static str) -> Call {
    Call {
        name,
        path,
        deadline: DEADLINE,
    }
}

fn named(name: &str) -> Named {
    let name = name.to_owned();
    Named { name }
}

fn pair(first: &str, second: &str) -> Pair {
    Pair {
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

fn names(answer: Names) -> BTreeSet<String> {
    answer.names.into_iter().collect()
}

fn done(_: Done) {}
