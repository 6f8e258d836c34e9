//! PURE: users of etcd: what is refused, who etcd is given, and what the pods get. Passwords are added by
//! [`super::credentials`].

use etcd_operator_api::account::{
    BACKUP, CLIENT, KeyAccess, KeyPermission, MEMBER, ROOT, SystemAccount,
};
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::{Component, InstanceSet, labels};
use k8s_openapi::api::core::v1::PodSpec;
use kbagent_protocol::{Access, Account, Permission};
use kube::ResourceExt;

use super::part::{mount, secret_volume};
use super::tls::Tls;

/// Volume of the users, and where the agent reads them.
const VOLUME: &str = "kb-accounts";
const DIRECTORY: &str = "/etc/kbagent-accounts";
/// Tells the agent where they are.
const DIRECTORY_VARIABLE: &str = "KB_ACCOUNTS_DIR";
/// What [`labels::ACCOUNTS`] says.
const ON: &str = "on";

/// Users cannot be had so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccountsError {
    #[error(
        "systemAccounts need tls: true, e.g. with issuer: {{name: KubeBlocks}}: passwords would travel in clear, and members \
         are known by their certificates"
    )]
    NoTls,
    #[error(
        "systemAccounts cannot be emptied: etcd's authentication stays on once it is, or every client would have all rights. \
         Put an account back, e.g. {{name: root}}"
    )]
    Emptied,
    #[error(
        "systemAccounts[{name}]: etcd-member and etcd-backup are users of the operator's own: take another name"
    )]
    Reserved { name: String },
    #[error(
        "systemAccounts[{name}]: that is the common name of the members' certificate, by which etcd knows them as an \
         administrator: name the account otherwise, or put another common name into the certificate"
    )]
    MembersOwn { name: String },
    #[error(
        "systemAccounts[{name}].secretRef.namespace {namespace:?} is another namespace than the Cluster's, from which nothing \
         is read: copy the Secret, and leave the field out"
    )]
    Namespace { name: String, namespace: String },
}

/// Where the password of a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It has none: it is known by its certificate.
    Certificate,
    /// In a Secret of the operator's own.
    Generated { secret: String },
    /// In a Secret of the owner's.
    Given { secret: String, key: String },
}

/// A user, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) account: Account,
    pub(super) source: Source,
}

/// Whether the component has users.
pub(super) fn check(
    component: &Component,
    tls: Option<&Tls>,
    running: Option<&InstanceSet>,
) -> Result<bool, AccountsError> {
    let accounts = &component.spec.system_accounts;
    if accounts.is_empty() {
        let on = running.is_some_and(|its| its.annotations().contains_key(labels::ACCOUNTS));
        return if on {
            Err(AccountsError::Emptied)
        } else {
            Ok(false)
        };
    }
    if tls.is_none() {
        return Err(AccountsError::NoTls);
    }
    for account in accounts {
        let name = account.name.clone();
        if [MEMBER, BACKUP].contains(&name.as_str()) {
            return Err(AccountsError::Reserved { name });
        }
        let other = account
            .secret_ref
            .as_ref()
            .and_then(|of| of.namespace.as_ref());
        let other = other.filter(|namespace| !namespace.is_empty());
        if let Some(namespace) = other.filter(|of| Some(*of) != component.namespace().as_ref()) {
            let namespace = namespace.clone();
            return Err(AccountsError::Namespace { name, namespace });
        }
    }
    Ok(true)
}

/// What is recorded of them in the InstanceSet.
pub(super) fn record() -> (String, String) {
    (labels::ACCOUNTS.to_owned(), ON.to_owned())
}

/// Everyone etcd is to have. Members and root are needed; who has the applications' certificate keeps its keys until
/// the owner says otherwise, so that authentication takes no client's rights by being switched on. Where the operator
/// signs no certificates, members are added by [`as_user`], and what else the user's CA signs is not known.
pub(super) fn planned(component: &Component, tls: Option<&Tls>) -> Vec<Planned> {
    let name = ComponentName::existing(&component.name_any());
    let accounts = &component.spec.system_accounts;
    let own = tls == Some(&Tls::Own);
    let mut all = Vec::new();
    if own {
        all.push(by_certificate(MEMBER, true, Vec::new()));
        // Snapshots and their hashes are for administrators.
        all.push(by_certificate(BACKUP, true, Vec::new()));
    }
    let declared = |name: &str| accounts.iter().any(|account| account.name == name);
    if !declared(ROOT) {
        let root = SystemAccount {
            name: ROOT.to_owned(),
            ..SystemAccount::default()
        };
        all.push(of(&root, &name));
    }
    if own && !declared(CLIENT) {
        let everything = Permission {
            key: String::new(),
            prefix: true,
            access: Access::ReadWrite,
        };
        all.push(by_certificate(CLIENT, false, vec![everything]));
    }
    let wanted = accounts.iter().filter(|account| account.is_wanted());
    all.extend(wanted.map(|account| of(account, &name)));
    all
}

fn by_certificate(name: &str, admin: bool, permissions: Vec<Permission>) -> Planned {
    Planned {
        account: Account {
            name: name.to_owned(),
            admin,
            permissions,
            password: None,
        },
        source: Source::Certificate,
    }
}

/// Makes members the user that their certificate names. One that has a password would have it tried by others.
pub(super) fn as_user(planned: &mut Vec<Planned>, member: &str) -> Result<(), AccountsError> {
    if planned.iter().any(|known| known.account.name == member) {
        let name = member.to_owned();
        return Err(AccountsError::MembersOwn { name });
    }
    planned.insert(0, by_certificate(member, true, Vec::new()));
    Ok(())
}

fn of(account: &SystemAccount, name: &ComponentName) -> Planned {
    let source = match &account.secret_ref {
        _ if account.name == CLIENT => Source::Certificate,
        Some(given) => Source::Given {
            secret: given.name.clone(),
            key: given.password.clone(),
        },
        None => Source::Generated {
            secret: name.account_secret(&account.name),
        },
    };
    let permissions = account.permissions.iter().map(permission).collect();
    Planned {
        account: Account {
            name: account.name.clone(),
            admin: account.name == ROOT,
            permissions,
            password: None,
        },
        source,
    }
}

fn permission(of: &KeyPermission) -> Permission {
    let key = of.key.as_ref().or(of.prefix.as_ref());
    Permission {
        key: key.cloned().unwrap_or_default(),
        prefix: of.key.is_none(),
        access: match of.access {
            KeyAccess::Read => Access::Read,
            KeyAccess::Write => Access::Write,
            KeyAccess::ReadWrite => Access::ReadWrite,
        },
    }
}

/// Gives the users to the agent, and to no other container.
pub(super) fn put_into(pod: &mut PodSpec, secret: String, agent: &str) {
    let volumes = pod.volumes.get_or_insert_default();
    volumes.push(secret_volume(VOLUME, secret));
    let mut containers = pod.containers.iter_mut();
    if let Some(agent) = containers.find(|container| container.name == agent) {
        mount(agent, VOLUME, DIRECTORY, DIRECTORY_VARIABLE);
    }
}
