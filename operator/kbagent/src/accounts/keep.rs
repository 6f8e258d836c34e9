//! Keeps etcd's users as the mounted Secret has them, while the own member leads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use kbagent_protocol::{
    ACCOUNTS_FILE, Accounts, AccountsReport, LARGEST_ACCOUNTS, ROLE_PREFIX, Role,
};
use tokio::sync::watch;

use super::plan::{Change, Found, Unfit, plan, role_of};
use crate::config::Config;
use crate::etcd::{Client, EtcdError, Tried};
use crate::tls::Tls;
use crate::watch::{Knowledge, Own};

/// How often the file is read.
const LOOK: Duration = Duration::from_secs(2);
/// A new leader has better things to do: passwords cost processor time.
const SETTLED: Duration = Duration::from_secs(10);
/// Users that were changed by hand are corrected after so long. Every look is a dozen entries of raft's log.
const AGAIN: Duration = Duration::from_secs(600);
/// After a failure.
const RETRY: Duration = Duration::from_secs(10);
/// A status older than this says nothing about who leads.
const FRESH: Duration = Duration::from_secs(1);
/// Rounds of looking and changing in one go; the third finds nothing to do.
const ROUNDS: usize = 6;
/// Between the last change of a user and authentication: longer than a write takes from its proposal to its end.
const QUIET: Duration = Duration::from_secs(8);

/// Why etcd has not what is wanted.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to read {path}: it has {size} bytes, {LARGEST_ACCOUNTS} are read at most")]
    TooLarge { path: PathBuf, size: u64 },
    /// The parser's words may quote what it has read.
    #[error("failed to read {path}: it is no list of accounts (line {line})")]
    NoAccounts { path: PathBuf, line: usize },
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(
        "users still differ after {ROUNDS} rounds of changes: another client changes them, too"
    )]
    Restless,
}

/// Keeps users as the mounted Secret has them, where there is one. etcd knows the agent by the member's certificate.
pub(crate) fn start(
    config: &Config,
    own: &Client,
    knowledge: watch::Receiver<Knowledge>,
    shown: watch::Sender<Own>,
) {
    let Some(directory) = &config.accounts_dir else {
        return;
    };
    let keeper = Keeper {
        path: directory.join(ACCOUNTS_FILE),
        tls: config.tls.clone(),
        own: own.clone(),
        knowledge,
        shown,
        passwords: Passwords::default(),
        applied: None,
        next: None,
        leads_since: None,
    };
    tokio::spawn(keeper.run());
}

struct Keeper {
    path: PathBuf,
    tls: Tls,
    own: Client,
    knowledge: watch::Receiver<Knowledge>,
    shown: watch::Sender<Own>,
    passwords: Passwords,
    applied: Option<String>,
    next: Option<Instant>,
    leads_since: Option<Instant>,
}

/// Which passwords of a generation are known to be right, so that none is tried twice.
#[derive(Default)]
struct Passwords {
    generation: String,
    known: BTreeMap<String, Tried>,
}

impl Keeper {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            if !self.leads(now) {
                self.leads_since = None;
                self.applied = None;
                self.next = None;
                self.show(None);
                continue;
            }
            let since = *self.leads_since.get_or_insert(now);
            if now.duration_since(since) >= SETTLED {
                self.look(now).await;
            }
        }
    }

    fn leads(&self, now: Instant) -> bool {
        let known = self.knowledge.borrow();
        let status = known.fresh(FRESH, now);
        status.is_some_and(|status| status.role() == Role::Leader)
    }

    async fn look(&mut self, now: Instant) {
        let wanted = match read(&self.path) {
            Ok(wanted) => wanted,
            Err(error) => return self.failed(&error, now),
        };
        let known = self.applied.as_ref() == Some(&wanted.generation);
        let changed = !known && self.passwords.generation != wanted.generation;
        if !changed && self.next.is_some_and(|next| now < next) {
            return;
        }
        if changed {
            self.passwords = Passwords {
                generation: wanted.generation.clone(),
                known: BTreeMap::new(),
            };
        }
        let by = (&self.own, self.tls.common_name());
        match converge(&by, &wanted, &mut self.passwords).await {
            Ok(()) => {
                if !known {
                    tracing::info!(accounts = wanted.accounts.len(), "etcd has its users");
                }
                self.applied = Some(wanted.generation);
                self.next = Some(Instant::now() + AGAIN);
                self.show(Some(AccountsReport {
                    applied: self.applied.clone(),
                    fault: None,
                }));
            }
            Err(error) => self.failed(&error, Instant::now()),
        }
    }

    fn failed(&mut self, error: &KeepError, now: Instant) {
        tracing::warn!(%error, "etcd's users are not as they must be");
        self.next = Some(now + RETRY);
        self.show(Some(AccountsReport {
            applied: self.applied.clone(),
            fault: Some(error.to_string()),
        }));
    }

    fn show(&self, report: Option<AccountsReport>) {
        self.shown.send_if_modified(|own| {
            let differs = own.accounts != report;
            own.accounts = report;
            differs
        });
    }
}

fn read(path: &Path) -> Result<Accounts, KeepError> {
    let failed = |source| KeepError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_ACCOUNTS {
        return Err(KeepError::TooLarge {
            path: path.to_owned(),
            size,
        });
    }
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| KeepError::NoAccounts {
        path: path.to_owned(),
        line: error.line(),
    })
}

/// Until etcd has what is wanted.
async fn converge(
    (own, name): &(&Client, Option<String>),
    wanted: &Accounts,
    passwords: &mut Passwords,
) -> Result<(), KeepError> {
    let mut changed = None;
    for _ in 0..ROUNDS {
        let found = Found {
            own: name.clone(),
            ..found(own, wanted, passwords).await?
        };
        let changes = plan(wanted, &found)?;
        if changes.is_empty() {
            return Ok(());
        }
        if let ([Change::Enable], Some(changed)) = (changes.as_slice(), changed) {
            tokio::time::sleep_until(changed).await;
        }
        for change in changes {
            carry_out(own, &change).await?;
            match change {
                Change::SetPassword(name, _) | Change::AddUser(name, Some(_)) => {
                    passwords.known.insert(name, Tried::Right);
                }
                // What was set before was set unseen: from here on it can be tried.
                Change::Enable => passwords.known.clear(),
                _ => {}
            }
        }
        changed = Some(tokio::time::Instant::now() + QUIET);
    }
    Err(KeepError::Restless)
}

async fn found(
    own: &Client,
    wanted: &Accounts,
    passwords: &mut Passwords,
) -> Result<Found, KeepError> {
    let mut found = Found {
        enabled: own.auth_enabled().await?,
        ..Found::default()
    };
    let users = own.users().await?;
    let ours = own.roles().await?;
    let ours: Vec<_> = ours
        .into_iter()
        .filter(|role| role.starts_with(ROLE_PREFIX))
        .collect();
    let named = |user: &str| wanted.accounts.iter().any(|account| account.name == user);
    // Of the others only those matter that have a role of ours.
    let matter = users
        .iter()
        .filter(|user| named(user) || ours.contains(&role_of(user)));
    for user in matter {
        found.users.insert(user.clone(), own.roles_of(user).await?);
    }
    for role in ours {
        let grants = own.grants_of(&role).await?;
        found.roles.insert(role, grants);
    }
    for account in &wanted.accounts {
        let there = found.users.contains_key(&account.name);
        let Some(password) = account.password.as_ref().filter(|_| there) else {
            continue;
        };
        if found.enabled && passwords.known.get(&account.name) != Some(&Tried::Right) {
            let tried = own.try_password(&account.name, password).await?;
            passwords.known.insert(account.name.clone(), tried);
        }
    }
    found.passwords.clone_from(&passwords.known);
    Ok(found)
}

async fn carry_out(own: &Client, change: &Change) -> Result<(), EtcdError> {
    match change {
        Change::AddRole(role) => own.add_role(role).await?,
        Change::Grant(role, grant) => own.grant(role, grant).await?,
        Change::AddUser(user, password) => own.add_user(user, password.as_ref()).await?,
        Change::GiveRole(user, role) => own.give_role(user, role).await?,
        Change::SetPassword(user, password) => own.set_password(user, password).await?,
        Change::TakeRole(user, role) => own.take_role(user, role).await?,
        Change::Revoke(role, grant) => own.revoke(role, &grant.key, &grant.end).await?,
        Change::DeleteUser(user) => own.delete_user(user).await?,
        Change::DeleteRole(role) => own.delete_role(role).await?,
        Change::Enable => own.auth_enable().await?,
    }
    tracing::info!(?change, "etcd's users were changed");
    Ok(())
}
