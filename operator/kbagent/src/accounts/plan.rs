//! Pure: from the users that are wanted and those that etcd has to the changes that are due, in their order.
//!
//! Rights are given before others are taken, so that no moment has fewer than both sides agree on. Authentication is
//! switched on when nothing else is to be done: a write that was proposed before the last change would be refused for
//! its old revision after it.

use std::collections::{BTreeMap, BTreeSet};

use kbagent_protocol::{Account, Accounts, Password, ROLE_PREFIX, ROOT};

use crate::etcd::{Grant, Tried};

/// What etcd has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The common name of the member's own certificate, by which etcd knows the agent.
    pub own: Option<String>,
    /// Whether it asks who calls.
    pub enabled: bool,
    /// Users with their roles.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Roles of our kind with what they may do.
    pub roles: BTreeMap<String, BTreeSet<Grant>>,
    /// What came of passwords that were tried, by user. Without an entry it is not known.
    pub passwords: BTreeMap<String, Tried>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Makes a role.
    AddRole(String),
    /// Lets a role do something.
    Grant(String, Grant),
    /// Makes a user.
    AddUser(String, Option<Password>),
    /// Gives a user a role.
    GiveRole(String, String),
    /// Gives a user another password.
    SetPassword(String, Password),
    /// Takes a role from a user.
    TakeRole(String, String),
    /// Takes a range of keys from a role.
    Revoke(String, Grant),
    /// Deletes a user.
    DeleteUser(String),
    /// Deletes a role.
    DeleteRole(String),
    /// Switches authentication on.
    Enable,
}

/// Users that would shut their own keeper out, or that etcd cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// Authentication needs it.
    #[error(
        "the accounts hold no administrator named {ROOT}, without which etcd's authentication cannot be on"
    )]
    NoRoot,
    /// The agents would be refused.
    #[error(
        "the accounts hold no administrator that is known by its certificate: the members' agents would be refused"
    )]
    NoKeeper,
    /// This agent would be refused.
    #[error(
        "the accounts hold no administrator {0:?} that is known by its certificate, and that is the common name of this \
         member's: its agent would be refused"
    )]
    Unlisted(String),
    /// etcd neither sets a password for such a user nor deletes this one.
    #[error(
        "etcd's user {ROOT} was made without a password and cannot be given one while authentication is on: \
         `etcdctl auth disable` with a member's certificate, then `etcdctl user delete {ROOT}`"
    )]
    RootHasNone,
}

/// The role of an account's own.
#[must_use]
pub(crate) fn role_of(account: &str) -> String {
    format!("{ROLE_PREFIX}{account}")
}

/// What is to be done; nothing when etcd has what is wanted.
///
/// # Errors
/// When it must not or cannot be done.
pub(crate) fn plan(wanted: &Accounts, found: &Found) -> Result<Vec<Change>, Unfit> {
    let accounts = &wanted.accounts;
    if !accounts.iter().any(|of| of.name == ROOT && of.admin) {
        return Err(Unfit::NoRoot);
    }
    if !accounts.iter().any(|of| of.admin && of.password.is_none()) {
        return Err(Unfit::NoKeeper);
    }
    let mut keepers = accounts
        .iter()
        .filter(|of| of.admin && of.password.is_none());
    if let Some(own) = found.own.as_ref()
        && !keepers.any(|of| of.name == *own)
    {
        return Err(Unfit::Unlisted(own.clone()));
    }
    let (mut gives, mut takes) = (Vec::new(), Vec::new());
    for account in accounts {
        role(account, found, &mut gives, &mut takes);
        user(account, found, &mut gives, &mut takes)?;
    }
    takes.extend(unwanted(accounts, found));
    gives.extend(takes);
    if gives.is_empty() && !found.enabled {
        gives.push(Change::Enable);
    }
    Ok(gives)
}

fn role(account: &Account, found: &Found, gives: &mut Vec<Change>, takes: &mut Vec<Change>) {
    let name = role_of(&account.name);
    let none = BTreeSet::new();
    let has = found.roles.get(&name);
    if has.is_none() {
        gives.push(Change::AddRole(name.clone()));
    }
    let has = has.unwrap_or(&none);
    let wanted = grants(account);
    let missing = wanted.difference(has).cloned();
    gives.extend(missing.map(|grant| Change::Grant(name.clone(), grant)));
    // A grant of the same range has replaced what was there.
    let range = |grant: &Grant| (grant.key.clone(), grant.end.clone());
    let ranges: BTreeSet<_> = wanted.iter().map(range).collect();
    let obsolete = has.iter().filter(|grant| !ranges.contains(&range(grant)));
    takes.extend(obsolete.map(|grant| Change::Revoke(name.clone(), grant.clone())));
}

fn user(
    account: &Account,
    found: &Found,
    gives: &mut Vec<Change>,
    takes: &mut Vec<Change>,
) -> Result<(), Unfit> {
    let name = &account.name;
    let none = BTreeSet::new();
    let mut has = found.users.get(name);
    if let (Some(_), Some(password)) = (has, &account.password) {
        match found.passwords.get(name) {
            Some(Tried::Right) => {}
            None | Some(Tried::Wrong) => {
                gives.push(Change::SetPassword(name.clone(), password.clone()));
            }
            Some(Tried::HasNone) if name == ROOT => return Err(Unfit::RootHasNone),
            Some(Tried::HasNone) => {
                gives.push(Change::DeleteUser(name.clone()));
                has = None;
            }
        }
    }
    if has.is_none() {
        gives.push(Change::AddUser(name.clone(), account.password.clone()));
    }
    let has = has.unwrap_or(&none);
    let mut wanted = BTreeSet::from([role_of(name)]);
    if account.admin {
        wanted.insert(ROOT.to_owned());
    }
    let missing = wanted.difference(has).cloned();
    gives.extend(missing.map(|role| Change::GiveRole(name.clone(), role)));
    let beyond = has.difference(&wanted).cloned();
    takes.extend(beyond.map(|role| Change::TakeRole(name.clone(), role)));
    Ok(())
}

/// Users and roles of our kind that are wanted no longer. Those that were made by hand stay.
fn unwanted(accounts: &[Account], found: &Found) -> Vec<Change> {
    let wanted = |name: &str| accounts.iter().any(|account| account.name == name);
    let users = found.users.iter();
    let users = users.filter(|(name, roles)| !wanted(name) && roles.contains(&role_of(name)));
    let users = users.map(|(name, _)| Change::DeleteUser(name.clone()));
    let roles = found.roles.keys();
    let roles = roles.filter(|role| role.strip_prefix(ROLE_PREFIX).is_some_and(|of| !wanted(of)));
    let roles = roles.map(|role| Change::DeleteRole(role.clone()));
    users.chain(roles).collect()
}

fn grants(account: &Account) -> BTreeSet<Grant> {
    let mut ranges = BTreeMap::new();
    for permission in &account.permissions {
        let key = permission.key.clone().into_bytes();
        let range = match (permission.prefix, key.is_empty()) {
            (false, _) => (key, Vec::new()),
            // etcd's way to write all keys.
            (true, true) => (vec![0], vec![0]),
            (true, false) => {
                let end = after(&key);
                (key, end)
            }
        };
        // The same range twice: the last one counts, as in etcd.
        ranges.insert(range, permission.access);
    }
    let grant = |((key, end), access)| Grant { key, end, access };
    ranges.into_iter().map(grant).collect()
}

/// The first key that does not begin with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
